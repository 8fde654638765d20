"""What a cluster of our own needs is made private, or refused with the variable to change."""

from __future__ import annotations

import io
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO

import psutil
import pytest

from sweep.config import ConfigError
from sweep.engine import cluster_guard, worker_start
from sweep.engine.on_ray import own_cluster
from sweep.engine.on_ray.own_cluster import ROOM, OwnCluster, loopback_interface, private_folder


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


def test_the_interface_with_the_loopback_address_is_found_among_others(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"eth0": ["10.0.0.5", "fe80::1"], "loop": ["::1", "127.0.0.1"], "eth1": ["10.0.0.6"]}
    found = {name: [SimpleNamespace(address=each) for each in addresses] for name, addresses in given.items()}
    monkeypatch.setattr(psutil, "net_if_addrs", lambda: found)
    assert loopback_interface() == "loop"


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


def test_a_cluster_of_ones_own_listens_to_this_machine_and_to_those_that_know_its_token(
    above: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = {"RAY_TMPDIR": str(above)}
    monkeypatch.setattr(os, "environ", environment)
    monkeypatch.setattr(OwnCluster, "start_guard", lambda self: None)
    one, first = OwnCluster(), dict(environment)
    other = OwnCluster()
    assert one.folder != other.folder
    assert len(one.folder.name) == len(other.folder.name) == 8  # what the longest path to a socket leaves room for
    assert one.folder.parent == other.folder.parent == private_folder()
    assert first.items() >= own_cluster.SETTINGS.items()
    assert first["GLOO_SOCKET_IFNAME"] == first["NCCL_SOCKET_IFNAME"] == loopback_interface()
    assert first[cluster_guard.VARIABLE] == str(one.folder)
    assert environment[cluster_guard.VARIABLE] == str(other.folder)
    assert len(bytes.fromhex(first["RAY_AUTH_TOKEN"])) == 32
    assert environment["RAY_AUTH_TOKEN"] == first["RAY_AUTH_TOKEN"]  # Ray reads it once


def test_the_guard_of_a_cluster_outlives_no_close(above: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", dict(os.environ))
    cluster = OwnCluster()
    guard = cluster._guard
    assert guard.poll() is None
    cluster.close()
    assert guard.poll() is not None


@pytest.mark.parametrize("platform", ["linux", "darwin"])
def test_the_fork_server_of_a_cluster_has_what_its_workers_have_and_ends_with_it(
    above: Path, monkeypatch: pytest.MonkeyPatch, platform: str
) -> None:
    started, made = list[tuple[Path, dict[str, str], str]](), subprocess.Popen(["sleep", "300"])
    monkeypatch.setattr(os, "environ", {"RAY_TMPDIR": str(above)})
    monkeypatch.setattr(sys, "platform", platform)

    def start(path: Path, variables: dict[str, str], log: BinaryIO) -> subprocess.Popen[bytes]:
        log.write(b"trouble")
        started.append((path, variables, log.name))
        return made

    monkeypatch.setattr(own_cluster, "start_fork_server", start)
    monkeypatch.setattr(OwnCluster, "start_guard", lambda self: subprocess.Popen(["kill", str(made.pid)]))
    cluster = OwnCluster()
    before = dict(os.environ)
    cluster.start_fork_server({"OMP_NUM_THREADS": "1"})
    if platform == "linux":
        path = cluster.folder / "fork_server"
        assert started == [(path, {"OMP_NUM_THREADS": "1"}, f"{path}.log")]
        assert (cluster.folder / "fork_server.log").read_bytes() == b"trouble"
        assert os.environ == before | {worker_start.VARIABLE: str(path)}
    else:
        assert (started, os.environ) == ([], before)
    cluster.close()
    assert platform == "darwin" or made.returncode == -signal.SIGTERM
    made.wait()


def test_a_folder_is_tried_with_what_a_full_disk_refuses(above: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = list[int]()

    class File(io.BytesIO):
        def write(self, content: Any) -> int:
            written.append(len(content))
            return len(content)

    monkeypatch.setattr(tempfile, "TemporaryFile", lambda dir: File())
    usage = shutil.disk_usage(above)
    assert ROOM == 64 * 2**20
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=ROOM))
    own_cluster._try_to_write(above)
    assert written == [2**20]


def test_where_no_short_folder_works_the_last_refusal_is_told(
    above: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(own_cluster, "LONGEST", 5)
    monkeypatch.setattr(own_cluster, "SHORT_FOLDERS", (str(tmp_path / "one"), str(tmp_path / "two")))
    with pytest.raises(ConfigError, match=rf"logs in {tmp_path}/two/ray-\d+, which does not work"):
        private_folder()


def test_a_folder_of_somebody_else_is_not_used(above: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found, somebody = private_folder(), os.getuid() + 1
    monkeypatch.setattr(Path, "lstat", lambda self: os.stat_result((0o40700, 0, 0, 1, somebody, 0, 0, 0, 0, 0)))
    assert private_folder() != found


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("GCS failed.\nmore", "machine: GCS failed; its"),
        ("\n  late \n", "machine: late; its"),
        ("", "RuntimeError; its"),
    ],
)
def test_why_ray_did_not_start_is_said_in_its_first_words(above: Path, said: str, told: str) -> None:
    error = str(own_cluster.starting_error(RuntimeError(said)))
    assert told in error
    assert str(private_folder()) in error
