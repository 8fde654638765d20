"""Joining Ray, in words, and how many groups of workers fit on the nodes of a cluster."""

from __future__ import annotations

import itertools
import json
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import ray
from hypothesis import given
from hypothesis import strategies as st
from support.command_desk import Desk

from sweep.config import ConfigError, ResourcesSpec
from sweep.engine.on_ray import session
from sweep.runs.environment import CODE_VARIABLE, check_packages
from sweep.runs.identity import PACKAGES


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


# Joining, in words ---------------------------------------------------------------------------------------------------


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
        session.check_address(address)


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
    said = str(session.joining_error(found.value, "head:6379"))
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
    assert said in str(session.joining_error(RuntimeError(ray_said), "head:6379"))


def test_the_reason_is_found_behind_the_error_that_ray_raises_last(monkeypatch: pytest.MonkeyPatch) -> None:
    error = ConnectionError("Failed to connect to Ray cluster at head:6379")
    error.__cause__ = RuntimeError("Unauthenticated: RPC error: InvalidAuthToken")
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    assert "set RAY_AUTH_MODE=token" in str(session.joining_error(error, "head:6379"))
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    assert "does not accept the token" in str(session.joining_error(error, "head:6379"))


def test_the_four_packages_and_nothing_else_are_sent_to_the_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_JOB_CONFIG_JSON_ENV_VAR", raising=False)
    with session.shipped_code() as environment:
        folder = Path(environment["working_dir"])
        assert sorted(path.name for path in folder.iterdir()) == sorted(PACKAGES)
        assert not list(folder.rglob("__pycache__"))
    assert not folder.exists()
    job = {"runtime_env": {"working_dir": "gcs://_ray_pkg_0.zip"}}
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", json.dumps(job))
    with session.shipped_code() as environment:
        assert environment == {}


def test_a_node_with_other_code_than_its_driver_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    check_packages()
    monkeypatch.setenv(CODE_VARIABLE, "0" * 16)
    with pytest.raises(ImportError, match=f"{socket.gethostname()}.*is not the driver's: install the same version"):
        check_packages()


# Capacity ---------------------------------------------------------------------------------------------------------


def most_groups(fits: list[int], workers: int, strategy: str) -> int:
    """By trying: every way in which a group can take workers of nodes, as often as it goes."""
    ways = [way for way in itertools.product(*(range(held + 1) for held in fits)) if sum(way) == workers]
    if strategy == "strict_pack":
        ways = [way for way in ways if max(way) == workers]
    if strategy == "strict_spread":
        ways = [way for way in ways if max(way) == 1]
    rests = ([held - taken for held, taken in zip(fits, way, strict=True)] for way in ways)
    return max((1 + most_groups(rest, workers, strategy) for rest in rests), default=0)


@given(
    st.lists(st.integers(0, 3), min_size=1, max_size=3),
    st.integers(1, 3),
    st.sampled_from(["pack", "spread", "strict_pack", "strict_spread"]),
)
def test_groups_are_as_many_as_can_be_placed(fits: list[int], workers: int, strategy: str) -> None:
    assert session.groups_at_once(fits, workers, strategy) == most_groups(fits, workers, strategy)


NODES = [{"CPU": 4.0, "GPU": 1.0, "accelerator_type:T4": 1.0}, {"CPU": 3.0}]


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = [{"Alive": True, "Resources": node} for node in NODES]
    nodes.append({"Alive": False, "Resources": {"CPU": 64.0}})
    monkeypatch.setattr(ray, "nodes", lambda: nodes)


@pytest.mark.usefixtures("cluster")
@pytest.mark.parametrize(
    ("needs", "slots"),
    [
        ({}, 7),
        ({"cpus": 2}, 3),
        ({"workers": 2, "cpus": 2}, 1),
        ({"workers": 2, "placement": "strict_pack"}, 3),
        ({"workers": 2, "placement": "strict_spread"}, 3),
        ({"gpus": 0.25, "workers": 2}, 2),
        ({"gpus": 0.5, "accelerator": "T4"}, 2),
    ],
)
def test_slots_are_counted_node_by_node(needs: dict[str, object], slots: int) -> None:
    assert session.runs_at_once(ResourcesSpec(**needs)) == slots


@pytest.mark.usefixtures("cluster")
@pytest.mark.parametrize(
    ("needs", "said"),
    [
        ({"workers": 8}, "one run needs 8 CPU, the Ray cluster has 7"),
        ({"gpus": 2}, "one run needs 2 GPU, the Ray cluster has 1"),
        ({"accelerator": "A100", "gpus": 1}, "no node of the Ray cluster has a GPU of the kind A100"),
        ({"cpus": 5}, "one run needs a worker of 5 CPU; the nodes of the Ray cluster hold 0, 0 of them"),
        (
            {"workers": 5, "placement": "strict_pack"},
            "5 workers, placed strict_pack, of 1 CPU; the nodes of the Ray cluster hold 4, 3",
        ),
        ({"workers": 3, "placement": "strict_spread"}, "choose another resources.placement"),
    ],
)
def test_what_never_fits_is_refused_with_what_is_missing(needs: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        session.runs_at_once(ResourcesSpec(**needs))


def test_workers_start_where_the_path_of_the_interpreter_has_a_space(monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}
    monkeypatch.setattr(os, "environ", {})
    monkeypatch.setattr(sys, "executable", "/my code/bin/python")
    monkeypatch.setattr(ray, "init", lambda address, **options: given.update(options))
    session.RaySession().ensure()
    assert given["runtime_env"]["py_executable"] == "'/my code/bin/python'"


def failing(times: int, said: str) -> tuple[Callable[[], str], list[str]]:
    """Something to start that fails so often, and what it has said."""
    tries = list[str]()

    def start() -> str:
        tries.append(said)
        if len(tries) <= times:
            raise Exception(said)
        return "started"

    return start, tries


SLOW = "The current node timed out during startup. This could happen because some of the raylet failed to startup."


def test_a_node_that_was_not_up_in_time_is_started_again() -> None:
    start, tries = failing(session.STARTS - 1, SLOW)
    assert session.started_node(start) == "started"
    assert len(tries) == session.STARTS


def test_a_node_that_never_comes_up_and_any_other_error_are_told() -> None:
    start, tries = failing(session.STARTS, SLOW)
    with pytest.raises(Exception, match="timed out during startup"):
        session.started_node(start)
    assert len(tries) == session.STARTS
    start, tries = failing(1, "no space left on device")
    with pytest.raises(Exception, match="no space left"):
        session.started_node(start)
    assert len(tries) == 1
