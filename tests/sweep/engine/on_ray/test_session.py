"""How Ray is started, and how many groups of workers fit on the nodes of a cluster."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import ray
from hypothesis import given
from hypothesis import strategies as st
from ray._private import node

from data.base.allocation import keeping_variables
from sweep.config import ConfigError, ResourcesSpec
from sweep.engine.on_ray import own_cluster, session

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
    monkeypatch.setattr(own_cluster.OwnCluster, "start_guard", lambda self: None)
    session.RaySession().ensure()
    assert given["runtime_env"]["py_executable"] == "'/my code/bin/python'"


def test_workers_keep_the_memory_that_they_free_unless_the_environment_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    found = session._options(OTHER="1")["runtime_env"]["env_vars"]
    assert found == {"OMP_NUM_THREADS": "1", "OTHER": "1", **keeping_variables({})}
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "1")
    assert session._options()["runtime_env"]["env_vars"] == {"OMP_NUM_THREADS": "1"}


def test_a_ray_that_does_not_start_is_told_with_its_logs_and_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    closed = list[str]()
    monkeypatch.setattr(os, "environ", {"RAY_TMPDIR": str(tmp_path)})
    monkeypatch.setattr(ray, "init", failing(1, "GCS failed.\nmore")[0])
    monkeypatch.setattr(own_cluster.OwnCluster, "start_guard", lambda self: None)
    monkeypatch.setattr(own_cluster.OwnCluster, "close", lambda self: closed.append("closed"))
    with pytest.raises(ConfigError, match=r"does not start on this machine: GCS failed; its logs are in .*RAY_TMPDIR"):
        session.RaySession().ensure()
    assert closed == ["closed"]


@pytest.mark.parametrize("guarded", [True, False])
def test_a_node_of_ones_own_has_no_process_that_serves_nobody_and_may_end_in_order_unless_others_clear_up(
    monkeypatch: pytest.MonkeyPatch, guarded: bool
) -> None:
    whole, ended = node.Node, list[bool]()
    monkeypatch.setattr(whole, "kill_all_processes", lambda self, check_alive, in_order, wait: ended.append(in_order))
    monkeypatch.setattr(whole, "start_ray_processes", lambda self: self.all_processes.update(raylet=[]))
    monkeypatch.setattr(session, "EXECUTOR", "an_executor")
    monkeypatch.setitem(sys.modules, session.EXECUTOR, sys)
    with session.small_node(guarded):
        made = object.__new__(node.Node)
    made.all_processes = {}
    made.start_monitor()
    made.start_api_server(include_dashboard=False, raise_on_failure=False)
    made.start_log_monitor()
    assert made.all_processes == {}
    made.start_ray_processes()
    assert list(made.all_processes) == ["raylet"]
    made.kill_all_processes(check_alive=False, allow_graceful=True, wait=False)
    assert ended == [not guarded]
    assert node.Node is whole


def failing(times: int, said: str) -> tuple[Callable[..., str], list[str]]:
    """Something to start that fails so often, and what it has said."""
    tries = list[str]()

    def start(*_: Any, **__: Any) -> str:
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
