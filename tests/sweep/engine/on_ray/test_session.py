"""How Ray is started, and how many groups of workers fit on the nodes of a cluster."""

from __future__ import annotations

import itertools
import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import ray
from hypothesis import given
from hypothesis import strategies as st
from ray._private import node, worker

from data.base.allocation import keeping_variables
from sweep.config import ConfigError, ResourcesSpec
from sweep.engine import cluster_guard, worker_start
from sweep.engine.on_ray import own_cluster, session
from sweep.runs.code_texts import code_digest
from sweep.runs.environment import CODE_VARIABLE, ROOT

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
    monkeypatch.setattr(own_cluster.OwnCluster, "start_fork_server", lambda self, variables: None)
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
    monkeypatch.setattr(own_cluster.OwnCluster, "start_fork_server", lambda self, variables: None)
    monkeypatch.setattr(own_cluster.OwnCluster, "close", lambda self: closed.append("closed"))
    with pytest.raises(ConfigError, match=r"does not start on this machine: GCS failed; its logs are in .*RAY_TMPDIR"):
        session.RaySession().ensure()
    assert closed == ["closed"]


def starting(patch: pytest.MonkeyPatch, whole: type[node.Node], code: int | None = None) -> list[list[str]]:
    """Have nodes start a process that lives, or has ended by a code; what the control store has to say of nodes."""

    def start_raylet(made: Any) -> None:
        made.all_processes.update(raylet=[SimpleNamespace(process=SimpleNamespace(poll=lambda: code))])

    answers: list[list[str]] = [[], [], ["a node"]]
    patch.setattr(whole, "start_raylet", start_raylet)
    patch.setattr(whole, "start_ray_processes", lambda made: made.start_raylet())
    patch.setattr(whole, "get_gcs_client", lambda made: SimpleNamespace(get_all_node_info=lambda: answers.pop(0)))
    patch.setattr(session, "EXECUTOR", "an_executor")
    patch.setattr(session, "LOOK_EVERY", 0)
    patch.setitem(sys.modules, session.EXECUTOR, sys)
    return answers


def unstarted_node(folder: Path) -> Any:
    """A node that keeps its files in a folder."""
    made = object.__new__(node.Node)
    made.all_processes, made._ray_params = {}, SimpleNamespace(env_vars=None)
    made._session_dir, made._node_id = str(folder), "0" * 56
    return made


def test_a_node_that_ends_before_it_is_up_is_not_waited_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    answers = starting(monkeypatch, node.Node, 1)
    with session.small_node():
        made = unstarted_node(tmp_path)
    with pytest.raises(RuntimeError, match=session.NOT_UP):
        made.start_ray_processes()
    assert len(answers) == 2


def test_a_node_that_neither_ends_nor_gets_up_is_left_to_rays_own_wait(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    answers = starting(monkeypatch, node.Node)
    monkeypatch.setattr(session, "LOOKS", 2)
    with session.small_node():
        made = unstarted_node(tmp_path)
    made.start_ray_processes()
    assert answers == [["a node"]]


@pytest.mark.parametrize("guarded", [True, False])
def test_a_node_of_ones_own_has_no_process_that_serves_nobody_and_may_end_in_order_unless_others_clear_up(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, guarded: bool
) -> None:
    whole, ended = node.Node, list[tuple[bool, ...]]()
    monkeypatch.setattr(whole, "kill_all_processes", lambda self, *how: ended.append(how))
    up = starting(monkeypatch, whole)
    with session.small_node(guarded):
        made = unstarted_node(tmp_path)
    made.start_monitor()
    made.start_api_server(include_dashboard=False, raise_on_failure=False)
    made.start_log_monitor()
    assert made.all_processes == {}
    made.start_ray_processes()
    assert list(made.all_processes) == ["raylet"]
    assert made._ray_params.setup_worker_path == worker_start.__file__
    assert up == []
    ports = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert ports == {f"{port}_{made._node_id}": str(session.NO_PORT) for port in session.AGENT_PORTS}
    made.kill_all_processes(check_alive=False, allow_graceful=True, wait=True)
    made.kill_all_processes()
    assert ended == [(False, not guarded, True), (True, False, False)]
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


# Starting, joining, leaving ------------------------------------------------------------------------------------------


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """An environment of its own, empty."""
    found = dict[str, str]()
    monkeypatch.setattr(os, "environ", found)
    return found


class FakeRay:
    """Notes how Ray is started and ended."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.started, self.ended = list[tuple[str, dict[str, Any]]](), list[str]()
        self.forked = list[dict[str, str]]()
        patch.setattr(ray, "init", lambda address, **options: self.started.append((address, options)))
        patch.setattr(ray, "shutdown", lambda: self.ended.append("Ray"))
        patch.setattr(own_cluster.OwnCluster, "start_guard", lambda cluster: None)
        patch.setattr(
            own_cluster.OwnCluster, "start_fork_server", lambda cluster, variables: self.forked.append(variables)
        )
        patch.setattr(own_cluster.OwnCluster, "close", lambda cluster: self.ended.append("the rest"))
        patch.setattr(session, "check_address", lambda address: None)


@pytest.fixture
def fake_ray(monkeypatch: pytest.MonkeyPatch) -> FakeRay:
    return FakeRay(monkeypatch)


@pytest.mark.parametrize(
    ("address", "variable", "own"),
    [
        (None, None, True),
        (None, "head:6379", False),
        (None, "local", True),
        ("head:6379", None, False),
        ("local", "head:6379", True),
        ("auto", "local", False),
    ],
)
def test_the_address_that_is_given_counts_before_that_of_the_environment(
    environment: dict[str, str], address: str | None, variable: str | None, own: bool
) -> None:
    if variable is not None:
        environment["RAY_ADDRESS"] = variable
    assert session.RaySession(address).is_own is own


def test_ray_is_started_once_and_ended_with_all_that_belongs_to_it(
    environment: dict[str, str], fake_ray: FakeRay
) -> None:
    with session.RaySession() as found:
        assert fake_ray.started == []
        found.ensure()
        found.ensure()
        (started,) = fake_ray.started
        assert started[0] == "local"
        assert fake_ray.forked == [started[1]["runtime_env"]["env_vars"]]
        assert fake_ray.ended == []
    assert fake_ray.ended == ["Ray", "the rest"]
    found.close()
    assert fake_ray.ended == ["Ray", "the rest"]
    found.ensure()
    assert len(fake_ray.started) == 2


def test_a_session_that_needed_no_ray_ends_none(environment: dict[str, str], fake_ray: FakeRay) -> None:
    with session.RaySession():
        pass
    assert (fake_ray.started, fake_ray.ended) == ([], [])


def test_a_node_of_ones_own_is_quiet_private_and_finds_the_same_code(
    environment: dict[str, str], fake_ray: FakeRay
) -> None:
    environment["PYTHONPATH"] = "/more/code"
    session.RaySession().ensure()
    ((_, options),) = fake_ray.started
    assert (options["include_dashboard"], options["log_to_driver"]) == (False, False)
    assert options["logging_level"] == logging.ERROR
    assert options["_temp_dir"] == environment[cluster_guard.VARIABLE]
    assert options["runtime_env"]["env_vars"]["PYTHONPATH"] == f"{ROOT}{os.pathsep}/more/code"
    assert "working_dir" not in options["runtime_env"]


def test_settings_of_the_environment_are_left_as_they_are(environment: dict[str, str], fake_ray: FakeRay) -> None:
    environment["RAY_CHDIR_TO_TRIAL_DIR"] = "1"
    session.RaySession().ensure()
    assert environment["RAY_CHDIR_TO_TRIAL_DIR"] == "1"
    assert environment["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] == "1"
    assert not set(session.JOINED) & set(environment)


def test_a_cluster_that_is_joined_is_sent_the_code_and_the_folder_of_caches(
    environment: dict[str, str], fake_ray: FakeRay
) -> None:
    environment |= {"SWEEP_CACHE": "/shared/caches", "PYTHONPATH": "/more/code"}
    with session.RaySession("head:6379") as joined:
        joined.ensure()
    ((address, options),) = fake_ray.started
    assert address == "head:6379"
    found = options["runtime_env"]["env_vars"]
    assert (found["SWEEP_CACHE"], found["PYTHONPATH"]) == ("/shared/caches", "/more/code")
    assert CODE_VARIABLE not in found
    assert Path(options["runtime_env"]["working_dir"]).name.startswith("sweep-code-")
    assert environment.items() >= session.JOINED.items()
    assert fake_ray.ended == ["Ray"]


def test_a_job_that_brings_its_code_is_checked_to_be_the_drivers_and_keeps_its_variables(
    environment: dict[str, str], fake_ray: FakeRay
) -> None:
    job = {"working_dir": "gcs://_ray_pkg_0.zip", "env_vars": {"PYTHONPATH": "/job"}}
    environment["RAY_JOB_CONFIG_JSON_ENV_VAR"] = json.dumps({"runtime_env": job})
    session.RaySession("head:6379").ensure()
    ((_, options),) = fake_ray.started
    assert "working_dir" not in options["runtime_env"]
    found = options["runtime_env"]["env_vars"]
    assert found[CODE_VARIABLE] == code_digest()
    assert found.keys().isdisjoint({"PYTHONPATH", "SWEEP_CACHE"})


@pytest.mark.parametrize("error", [ConnectionError("refused"), RuntimeError("Version"), ray.exceptions.RayError("x")])
def test_a_cluster_that_cannot_be_joined_is_told_and_may_be_tried_again(
    environment: dict[str, str], fake_ray: FakeRay, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def refuse(address: str, **options: Any) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(ray, "init", refuse)
        joining = session.RaySession("head:6379")
        with pytest.raises(ConfigError, match="cannot join the Ray cluster at head:6379"):
            joining.ensure()
    joining.close()
    assert fake_ray.ended == []
    joining.ensure()
    assert len(fake_ray.started) == 1


# What the cluster cannot go on without -------------------------------------------------------------------------------


def ended_process() -> int:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def node_of(raylet: int, gcs: int, address: str = "") -> Any:
    processes = {"raylet": raylet, "gcs_server": gcs}
    return SimpleNamespace(
        all_processes={kind: [SimpleNamespace(process=SimpleNamespace(pid=pid))] for kind, pid in processes.items()},
        gcs_address=address,
        raylet_socket_name="/ray/raylet",
    )


@pytest.mark.parametrize(("gone", "said"), [(None, None), ("raylet", "its raylet"), ("gcs", "its gcs_server")])
def test_a_node_of_ones_own_is_watched_by_its_processes(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, gone: str | None, said: str | None
) -> None:
    processes = {"raylet": os.getpid(), "gcs": os.getpid()} | ({gone: ended_process()} if gone else {})
    monkeypatch.setattr(worker, "_global_node", node_of(**processes))
    lost = session.RaySession().watch(pytest.fail).lost()
    assert lost is None if said is None else said in (lost or "")


def test_a_cluster_that_is_joined_is_watched_by_the_raylet_of_this_machine(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = ended_process()
    running = [SimpleNamespace(pid=os.getpid(), info={"cmdline": None})]
    monkeypatch.setattr(worker, "_global_node", node_of(gone, gone, "[::1]:6379"))
    monkeypatch.setattr(psutil, "process_iter", lambda attributes: running)
    joined = session.RaySession("head:6379")
    assert joined.watch(pytest.fail).lost() is None
    running.append(SimpleNamespace(pid=gone, info={"cmdline": ["raylet", "--raylet_socket_name=/ray/raylet"]}))
    assert "its raylet" in (joined.watch(pytest.fail).lost() or "")


# Placement -----------------------------------------------------------------------------------------------------------


def test_a_run_reserves_what_its_workers_take_and_nothing_for_itself_where_there_are_several() -> None:
    assert session.worker_resources(ResourcesSpec(cpus=2.0)) == {"CPU": 2.0}
    wanted = ResourcesSpec(cpus=1.0, gpus=0.5, accelerator="T4")
    assert session.worker_resources(wanted) == {"CPU": 1.0, "GPU": 0.5, "accelerator_type:T4": 0.001}
    alone = session.placement(ResourcesSpec(cpus=2.0))
    assert (alone.bundles, alone.strategy) == ([{"CPU": 2.0}], "PACK")
    several = session.placement(ResourcesSpec(workers=2, placement="strict_spread"))
    assert several.bundles == [{"CPU": 1.0}] * 2  # Ray leaves out what is empty, and notes that the head is
    assert several.head_bundle_is_empty
    assert several.strategy == "STRICT_SPREAD"


def test_where_ray_was_imported_before_a_cluster_asks_for_a_token_only_if_ray_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kinds = SimpleNamespace(DISABLED=0, TOKEN=1)
    for mode, name in enumerate(("disabled", "token")):
        raylet = SimpleNamespace(AuthenticationMode=kinds, get_authentication_mode=lambda mode=mode: mode)
        monkeypatch.setitem(sys.modules, "ray._raylet", raylet)
        assert session.authentication() == name
    monkeypatch.delitem(sys.modules, "ray._raylet")
    assert session.authentication() == "token"
