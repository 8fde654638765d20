"""Joining Ray, in words."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from support.command_desk import Desk

from sweep.config import ConfigError
from sweep.engine.on_ray import joining
from sweep.runs.environment import CODE_VARIABLE, check_packages
from sweep.runs.module_imports import PACKAGES


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("http://127.0.0.1:8265", "ray job submit"),
        ("ray://127.0.0.1:10001", "give HOST:PORT of its head"),
        ("localhost", "give HOST:PORT of its head, or auto"),
        ("127.0.0.1:70000", "no Ray cluster answers at 127.0.0.1:70000"),
    ],
)
def test_an_address_where_no_cluster_can_be_is_refused_with_what_to_give(address: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        joining.check_address(address)


def test_an_address_where_nobody_listens_is_refused_at_once(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.write(s={"method": "joint", "datasets": ["digits"]})
    code, _, err = desk.run("run", "s", "--no-report", "--address", f"127.0.0.1:{free_port()}")
    assert code == 2
    assert "ray start --head" in err
    assert "Traceback" not in err


def test_other_versions_are_told_from_rays_own_words() -> None:
    from ray._private.utils import check_version_info

    with pytest.raises(RuntimeError) as found:
        check_version_info({"ray_version": "2.40.0", "python_version": "3.10.1"}, "node 10.0.0.1")
    said = str(joining.joining_error(found.value, "head:6379"))
    assert "head:6379 runs Ray 2.40.0 and Python 3.10.1, this process Ray" in said
    assert "install the same versions" in said


@pytest.mark.parametrize(
    ("ray_said", "said"),
    [
        ("No node info found matching attributes: '10.0.0.9'", "this machine is no node"),
        ("some\nother trouble", "cannot join the Ray cluster at head:6379: other trouble"),
        ("", "cannot join the Ray cluster at head:6379: RuntimeError"),
    ],
)
def test_what_ray_says_is_explained(ray_said: str, said: str) -> None:
    assert said in str(joining.joining_error(RuntimeError(ray_said), "head:6379"))


def test_the_reason_is_found_behind_the_error_that_ray_raises_last(monkeypatch: pytest.MonkeyPatch) -> None:
    error = ConnectionError("Failed to connect to Ray cluster at head:6379")
    error.__cause__ = RuntimeError("Unauthenticated: RPC error: InvalidAuthToken")
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    assert "set RAY_AUTH_MODE=token" in str(joining.joining_error(error, "head:6379"))
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    assert "does not accept the token" in str(joining.joining_error(error, "head:6379"))


def test_the_four_packages_and_nothing_else_are_sent_to_the_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_JOB_CONFIG_JSON_ENV_VAR", raising=False)
    with joining.shipped_code() as environment:
        folder = Path(environment["working_dir"])
        assert sorted(path.name for path in folder.iterdir()) == sorted(PACKAGES)
        assert not list(folder.rglob("__pycache__"))
    assert not folder.exists()
    job = {"runtime_env": {"working_dir": "gcs://_ray_pkg_0.zip"}}
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", json.dumps(job))
    with joining.shipped_code() as environment:
        assert environment == {}


def test_a_node_with_other_code_than_its_driver_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    check_packages()
    monkeypatch.setenv(CODE_VARIABLE, "0" * 16)
    with pytest.raises(ImportError, match=f"{socket.gethostname()}.*is not the driver's: install the same version"):
        check_packages()


def test_auto_is_refused_at_once_where_no_cluster_runs_or_the_last_one_has_ended(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(psutil, "process_iter", lambda attributes: [])
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    with pytest.raises(ConfigError, match="no Ray cluster runs on this machine: start one"):
        joining.check_address("auto")
    file = tmp_path / "ray" / "ray_current_cluster"
    file.parent.mkdir()
    file.write_text(f"127.0.0.1:{free_port()}\n")
    with pytest.raises(ConfigError, match=r"ray_current_cluster tells has ended.*leave out --address and RAY_ADDRESS"):
        joining.check_address("auto")
    with socket.create_server(("127.0.0.1", 0)) as server:
        file.write_text(f"127.0.0.1:{server.getsockname()[1]}")
        joining.check_address("auto")


def test_an_address_is_taken_where_somebody_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        joining.check_address(f"127.0.0.1:{server.getsockname()[1]}")
    with pytest.raises(ConfigError, match=r"no Ray cluster answers at 127\.0\.0\.1:\d+ \(.*\): start one there"):
        joining.check_address(f"127.0.0.1:{free_port()}")


def test_auto_is_taken_where_a_process_of_a_cluster_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    lines = [None, ["python", "train.py"], ["raylet", "--gcs-address=10.0.0.1:6379"]]
    running = [SimpleNamespace(info={"cmdline": line}) for line in lines]
    monkeypatch.setattr(psutil, "process_iter", lambda attributes: running)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    joining.check_address("auto")
    running.pop()
    with pytest.raises(ConfigError, match="no Ray cluster runs on this machine"):
        joining.check_address("auto")


@pytest.mark.parametrize("variables", [["RAY_TMPDIR"], ["TMPDIR"], ["RAY_TMPDIR", "TMPDIR"]])
def test_the_file_of_the_last_cluster_lies_where_ray_puts_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variables: list[str]
) -> None:
    monkeypatch.setattr(psutil, "process_iter", lambda attributes: [])
    for name in ("RAY_TMPDIR", "TMPDIR"):
        monkeypatch.delenv(name, raising=False)
    for name in variables:
        monkeypatch.setenv(name, str(tmp_path / name))
    file = tmp_path / variables[0] / "ray" / "ray_current_cluster"
    file.parent.mkdir(parents=True)
    file.write_text("no address\n")
    with pytest.raises(ConfigError, match=f"{file} tells has ended"):
        joining.check_address("auto")


def test_what_ray_was_about_when_it_failed_is_heard_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    error = ConnectionError("failed")
    error.__context__ = RuntimeError("Unauthenticated")
    assert "set RAY_AUTH_MODE=token" in str(joining.joining_error(error, "head:6379"))


@pytest.mark.parametrize(
    "ray_said",
    ["Version mismatch: nobody knows", "Ray: 2.1 Python: 3.9 is older than Ray: 2.2 Python: 3.9"],
)
def test_versions_are_told_where_ray_names_two_that_do_not_match(ray_said: str) -> None:
    said = str(joining.joining_error(RuntimeError(ray_said), "head:6379"))
    assert said == f"cannot join the Ray cluster at head:6379: {ray_said}"


@pytest.mark.parametrize(
    ("variable", "found"),
    [
        (None, {}),
        ("", {}),
        ("{}", {}),
        ('{"runtime_env": null}', {}),
        ('{"runtime_env": {"env_vars": {"A": "1"}}}', {"env_vars": {"A": "1"}}),
    ],
)
def test_a_job_tells_its_environment(
    monkeypatch: pytest.MonkeyPatch, variable: str | None, found: dict[str, object]
) -> None:
    monkeypatch.delenv("RAY_JOB_CONFIG_JSON_ENV_VAR", raising=False)
    if variable is not None:
        monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", variable)
    assert joining.job_environment() == found


@pytest.mark.parametrize(("brings", "sent"), [({"env_vars": {"A": "1"}}, True), ({"py_modules": ["x"]}, False)])
def test_a_job_is_sent_the_code_unless_it_brings_some(
    monkeypatch: pytest.MonkeyPatch, brings: dict[str, object], sent: bool
) -> None:
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", json.dumps({"runtime_env": brings}))
    with joining.shipped_code() as environment:
        assert ("working_dir" in environment) is sent
