"""What a cluster of our own needs is made private, or refused with the variable to change."""

from __future__ import annotations

import shutil
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from sweep.config import ConfigError
from sweep.engine.on_ray import own_cluster
from sweep.engine.on_ray.own_cluster import ROOM, loopback_interface, private_folder


@pytest.fixture
def above(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A temporary folder that everybody may write to."""
    monkeypatch.setattr(own_cluster, "LONGEST", 1000)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    tmp_path.chmod(0o1777)
    return tmp_path


def test_the_folder_is_this_users_alone_also_where_it_was_opened_to_others(above: Path) -> None:
    own = private_folder()
    assert own.parent == above
    assert stat.S_IMODE(own.stat().st_mode) == 0o700
    own.chmod(0o777)
    assert private_folder() == own
    assert stat.S_IMODE(own.stat().st_mode) == 0o700


def test_a_link_in_its_place_is_not_followed(above: Path) -> None:
    planted, theirs = private_folder(), above / "theirs"
    planted.rmdir()
    theirs.mkdir()
    planted.symlink_to(theirs)
    found = private_folder()
    assert found.parent == above
    assert found != planted
    assert stat.S_IMODE(found.stat().st_mode) == 0o700
    assert list(theirs.iterdir()) == []


def test_a_path_that_is_too_long_for_sockets_is_replaced(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    short, long = tmp_path / "short", tmp_path / "much-too-long-a-name"
    short.mkdir()
    long.mkdir()
    monkeypatch.setattr(own_cluster, "SHORT_FOLDERS", (str(tmp_path / "absent"), str(short)))
    monkeypatch.setattr(own_cluster, "LONGEST", len(str(short)) + 10)
    monkeypatch.setenv("RAY_TMPDIR", str(long))
    assert private_folder().parent == short
    monkeypatch.undo()
    added = "/1a2b3c4d/session_2026-11-27_07-29-52_943251_4194304/sockets/plasma_store.10"
    assert own_cluster.LONGEST + len(added) <= 107


def refuse_folder(patch: pytest.MonkeyPatch, folder: Path) -> None:
    patch.setenv("RAY_TMPDIR", str(folder / "absent"))


def fill_disk(patch: pytest.MonkeyPatch, folder: Path) -> None:
    patch.setenv("RAY_TMPDIR", str(folder))
    usage = shutil.disk_usage(folder)
    patch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=ROOM - 1))


@pytest.mark.parametrize(
    ("trouble", "said"), [(refuse_folder, "No such file or directory"), (fill_disk, "No space left on device")]
)
def test_a_folder_that_does_not_work_is_named_with_the_variable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, trouble: Callable[[pytest.MonkeyPatch, Path], None], said: str
) -> None:
    trouble(monkeypatch, tmp_path)
    with pytest.raises(ConfigError, match=rf"logs in {tmp_path}.*\({said}\); free space there, or set RAY_TMPDIR"):
        private_folder()


def test_a_machine_without_loopback_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert loopback_interface() in {name for _, name in socket.if_nameindex()}

    def unreachable(*_: object) -> None:
        raise OSError(101, "Network is unreachable")

    monkeypatch.setattr(socket, "create_connection", unreachable)
    with pytest.raises(ConfigError, match=r"127.0.0.1, which does not answer \(Network is unreachable\).*--local"):
        loopback_interface()
