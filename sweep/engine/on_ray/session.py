"""Ray while it is needed: how it is started or joined, quiet and with settings that were measured to matter; how many
runs it holds at a time."""

from __future__ import annotations

import logging
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

import psutil

from data.base.allocation import keeping_variables
from data.prepared.cache.folder import VARIABLE as CACHE_VARIABLE
from sweep.config import ConfigError, ResourcesSpec
from sweep.engine import worker_start
from sweep.engine.on_ray.joining import check_address, job_environment, joining_error, shipped_code
from sweep.engine.on_ray.own_cluster import OwnCluster, starting_error
from sweep.engine.process_watch import ClusterWatch, address_sign, ended_by_force, process_sign
from sweep.runs.code_texts import code_digest
from sweep.runs.environment import CODE_VARIABLE, ROOT

if TYPE_CHECKING:
    from ray.tune import PlacementGroupFactory

SETTINGS = {
    # Tune's own loggers write five files a trial; our run folders hold more.
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    # Tune's snapshots are not relied on: resuming is planning again.
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000",
    "TUNE_FORCE_TRIAL_CLEANUP_S": "10",
    # A relative data path must mean the same in a worker as in the driver.
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    # How soon the death of a worker is seen (2 s by default).
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
    # What became of a run whose worker died, or of the cluster, is said by us, in a line.
    "RAY_DEDUP_LOGS_SKIP_REGEX": "A worker died or was killed|killed due to memory pressure|running low on memory"
    "|Raylet is terminated|has been marked dead",
}

JOINED = {
    # Attempts, of a second each where the cluster refuses; each leaves a line on the terminal.
    "RAY_gcs_server_port_wait_time_s": "1",
}
"""Settings for a cluster that others have started."""

STARTS = 3
"""Attempts to start a node. It ends itself where its agents are not up within 15 s, which no setting of Ray changes:
too soon on a machine that is busy, as with another Ray that starts."""

NOT_UP = "timed out during startup"
"""Ray's words for that."""

IDLE_AGENT = ("sh", "-c", "exec cat")
"""Stands for the agent that serves a node's dashboard and metrics: without one Ray ends the node. It ends with its
input, whose other end the node has."""
AGENTS_END_WITH_NODE = {"RAY_enable_pipe_based_agent_to_parent_health_check": "1"}
"""Has the node give its agents that input."""
AGENT_PORTS = ("metrics_agent_port", "metrics_export_port", "dashboard_agent_listen_port")
"""Ray's names of the ports that the agent tells the node."""
NO_PORT = -1
"""What it tells where it does not listen."""

LOOK_EVERY, LOOKS = 0.05, 400
"""Seconds between two looks at whether a node is up, and how many: beyond them it is Ray that waits, as long as set."""

EXECUTOR = "sweep.engine.on_ray.tune"
"""The module that a node of one's own is started for, which takes about as long to import as the node to get up."""

T = TypeVar("T")
Amounts = dict[str, float]
"""Ray's name of a resource -> how much of it."""

ACCELERATOR_SHARE = 0.001
"""What a worker takes of a node's mark for its kind of GPU: of no account, but only such nodes have the mark."""


class RaySession:
    """Ray while it is needed: the cluster at ``address`` (or RAY_ADDRESS), else one of this machine that ends with the
    context; ``local`` is always this machine. Nothing is started before :meth:`ensure`."""

    def __init__(self, address: str | None = None) -> None:
        found = address or os.environ.get("RAY_ADDRESS")
        self._address = None if found == "local" else found
        self._running = False
        self._cluster: OwnCluster | None = None

    def __enter__(self) -> RaySession:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def is_own(self) -> bool:
        """Tell whether the cluster is of this machine and ends with the session, rather than others' that is joined."""
        return self._address is None

    def close(self) -> None:
        """End or leave the cluster; :meth:`ensure` starts or joins one anew. Also where it is gone."""
        if not self._running:
            return
        import ray

        with ended_by_force(lambda: print("Ray does not end; it is ended by force", file=sys.stderr, flush=True)):
            ray.shutdown()
        if self._cluster is not None:
            self._cluster.close()
        self._running = False

    def watch(self, stuck: Callable[[str], None]) -> ClusterWatch:
        """Return a watch over what the running cluster cannot go on without. stuck: as ClusterWatch has it."""
        from ray._private.worker import _global_node as node

        if self._address is None:
            kinds = ("gcs_server", "raylet")
            started = [(kind, info.process.pid) for kind in kinds for info in node.all_processes[kind]]
            return ClusterWatch([process_sign(kind, process) for kind, process in started], stuck)
        head, _, port = node.gcs_address.rpartition(":")
        signs = [address_sign("head", head.strip("[]"), int(port))]
        raylet = f"--raylet_socket_name={node.raylet_socket_name}"
        here = [
            process.pid for process in psutil.process_iter(["cmdline"]) if raylet in (process.info["cmdline"] or ())
        ]
        return ClusterWatch([*signs, *(process_sign("raylet", process) for process in here)], stuck)

    def ensure(self) -> None:
        """Start or join Ray, where that has not been done. Raises ConfigError where that cannot be."""
        if self._running:
            return
        for name, value in {**SETTINGS, **(JOINED if self._address else {})}.items():
            os.environ.setdefault(name, value)
        if self._address:
            self._join(self._address)
        else:
            self._start()
        self._running = True

    def _start(self) -> None:
        try:
            self._cluster = started_node(_start_own)
        except ConfigError:
            raise
        except Exception as error:
            raise starting_error(error) from error

    def _join(self, address: str) -> None:
        check_address(address)
        import ray

        with shipped_code() as code:
            # Code that is shipped is the driver's; what a job or an image brings may be another version on some node.
            variables = {} if code else {CODE_VARIABLE: code_digest()}
            if cache := os.environ.get(CACHE_VARIABLE):
                variables[CACHE_VARIABLE] = cache
            # Methods and datasets of other packages may lie on a path that the nodes share.
            options = _options(**variables, PYTHONPATH=_python_path())
            options["runtime_env"].update(code)
            try:
                ray.init(address, **options)
            except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
                raise joining_error(error, address) from error


def _start_own() -> OwnCluster:
    """Start a cluster of this machine; of one that does not start nothing is left. Raises what Ray does."""
    cluster = OwnCluster(authentication())
    import ray

    path = os.pathsep.join(filter(None, [str(ROOT), _python_path()]))
    options = _options(PYTHONPATH=path)
    # A shell starts the workers, and Ray quotes all of their command but the interpreter: where its path has a space,
    # it would be tried for ever.
    options["runtime_env"]["py_executable"] = shlex.quote(sys.executable)
    try:
        cluster.start_fork_server(options["runtime_env"]["env_vars"])
        with small_node(guarded=True):
            ray.init("local", include_dashboard=False, _temp_dir=str(cluster.folder), **options)
    except BaseException:
        cluster.close()
        raise
    return cluster


def authentication() -> str:
    """Tell how clusters of this process know who belongs to them: by a token, unless somebody has imported Ray before,
    which reads then once and for all whether one is asked for."""
    if "ray._raylet" not in sys.modules:
        return "token"
    from ray._raylet import AuthenticationMode, get_authentication_mode  # type: ignore[attr-defined]

    return "token" if get_authentication_mode() == AuthenticationMode.TOKEN else "disabled"


@contextmanager
def small_node(guarded: bool = False) -> Iterator[None]:
    """Have ray.init start a node without autoscaler, log monitor, dashboard and its agent: a machine alone does not
    grow, its workers' logs are not shown, and a dashboard that is off serves nothing. Each is a Python of its own,
    which takes one or two seconds of processor time to start, and ray.init waits for the last two. guarded: what its
    processes leave behind is ended by others, so that they are given no time to end in order."""
    from ray import _raylet
    from ray._private import node, ray_constants, services, utils

    class SmallNode(node.Node):
        """Runs the processes alone that training needs."""

        def start_monitor(self) -> None:
            """Start no autoscaler."""

        def start_log_monitor(self) -> None:
            """Start nothing that reads logs."""

        def start_api_server(self, **options: Any) -> None:
            """Start no dashboard."""

        def start_raylet(self, *arguments: Any, **options: Any) -> None:
            """Start the node's own process, which starts workers by our way, with no import of Ray before theirs."""
            self._ray_params.setup_worker_path = worker_start.__file__
            self._ray_params.env_vars = (self._ray_params.env_vars or {}) | AGENTS_END_WITH_NODE
            for port in AGENT_PORTS:
                _raylet.persist_port(self._session_dir, self._node_id, port, NO_PORT)  # type: ignore[attr-defined]
            super().start_raylet(*arguments, **options)

        def start_ray_processes(self) -> None:
            """Start the others, and import Tune while they get up. Raises RuntimeError as soon as they have ended
            themselves: Ray would wait for them, up to a minute."""
            super().start_ray_processes()
            import_module(EXECUTOR)
            for _ in range(LOOKS):
                if self.get_gcs_client().get_all_node_info():
                    return
                if any(raylet.process.poll() is not None for raylet in self.all_processes["raylet"]):
                    raise RuntimeError(f"the node {NOT_UP}")
                time.sleep(LOOK_EVERY)

        def kill_all_processes(
            self, check_alive: bool = True, allow_graceful: bool = False, wait: bool = False
        ) -> None:
            """End the node."""
            super().kill_all_processes(check_alive, allow_graceful and not guarded, wait)

    whole, python = node.Node, services._build_python_executable_command_memory_profileable
    missing = utils.get_dashboard_dependency_error

    def agent_command(kind: str, *options: Any) -> list[str]:
        return [*IDLE_AGENT] if kind == ray_constants.PROCESS_TYPE_DASHBOARD_AGENT else python(kind, *options)

    node.Node, services._build_python_executable_command_memory_profileable = SmallNode, agent_command
    # Ray asks by importing all that a dashboard needs.
    utils.get_dashboard_dependency_error = lambda: None
    try:
        yield
    finally:
        node.Node, services._build_python_executable_command_memory_profileable = whole, python
        utils.get_dashboard_dependency_error = missing


def started_node(start: Callable[[], T]) -> T:
    """Return what ``start`` does, which starts a node of Ray; again where the node was not up in time. Raises what Ray
    does."""
    for _ in range(STARTS - 1):
        try:
            return start()
        except Exception as error:
            if NOT_UP not in str(error):
                raise
    return start()


def _python_path() -> str:
    return os.environ.get("PYTHONPATH", "")


def _options(**variables: str) -> dict[str, Any]:
    """Return arguments of ray.init, with environment variables of the workers. One that the job around this process
    sets is the job's to set: Ray refuses it from both."""
    given = job_environment().get("env_vars", {})
    variables = {"OMP_NUM_THREADS": "1", **keeping_variables(), **variables}
    return {
        "log_to_driver": False,
        "logging_level": logging.ERROR,
        "runtime_env": {"env_vars": {name: value for name, value in variables.items() if name not in given}},
    }


# Capacity ---------------------------------------------------------------------------------------------------------


def worker_resources(needs: ResourcesSpec) -> Amounts:
    """Return what one worker takes."""
    wanted = {"CPU": needs.cpus, "GPU": needs.gpus}
    if needs.accelerator:
        wanted[f"accelerator_type:{needs.accelerator}"] = ACCELERATOR_SHARE
    return {name: amount for name, amount in wanted.items() if amount}


def placement(needs: ResourcesSpec) -> PlacementGroupFactory:
    """Return what Tune reserves for a run. With several workers the trial itself takes nothing: they do."""
    from ray.tune import PlacementGroupFactory

    driver: list[Amounts] = [{}] if needs.workers > 1 else []
    return PlacementGroupFactory(driver + [worker_resources(needs)] * needs.workers, strategy=needs.placement.upper())


def runs_at_once(needs: ResourcesSpec) -> int:
    """Count the runs that the cluster, as it is, holds at a time. Raises ConfigError, naming what is missing, where it
    never holds one."""
    import ray

    return runs_on([node["Resources"] for node in ray.nodes() if node["Alive"]], needs)


def this_machine() -> Amounts:
    """Return what a cluster of this machine alone has."""
    import torch

    return {"CPU": float(os.cpu_count() or 1), "GPU": float(torch.cuda.device_count())}


def runs_on(nodes: Sequence[Amounts], needs: ResourcesSpec) -> int:
    """Count the runs that nodes hold at a time: whole workers, placed as the sweep says. Raises ConfigError, naming
    what is missing, where they never hold one."""
    wanted = worker_resources(needs)
    for name, amount in wanted.items():
        have, takes = sum(node.get(name, 0) for node in nodes), amount * needs.workers
        if have < takes:
            raise ConfigError(_missing_resource(name, takes, have))
    fits = [_workers_on(node, wanted) for node in nodes]
    found = groups_at_once(fits, needs.workers, needs.placement)
    if not found:
        held = ", ".join(map(str, sorted(fits, reverse=True)))
        workers = "a worker" if needs.workers == 1 else f"{needs.workers} workers, placed {needs.placement},"
        raise ConfigError(
            f"one run needs {workers} of {_in_words(wanted)}; the nodes of the Ray cluster hold {held} of them: lower "
            "resources.cpus, gpus or workers, choose another resources.placement, or use larger nodes"
        )
    return found


def groups_at_once(fits: list[int], workers: int, strategy: str) -> int:
    """Count the groups of ``workers`` that fit at a time where each node holds ``fits`` workers: pack and spread take
    any nodes, strict_pack one node a group, strict_spread another node for each worker of a group."""
    if strategy == "strict_pack":
        return sum(held // workers for held in fits)
    most = sum(fits) // workers
    if strategy == "strict_spread":
        # A node gives at most one worker to each group.
        return next((k for k in range(most, 0, -1) if sum(min(held, k) for held in fits) >= k * workers), 0)
    return most


def _workers_on(node: Amounts, wanted: Amounts) -> int:
    return min(int(node.get(name, 0) / amount + 1e-9) for name, amount in wanted.items())


def _in_words(wanted: Amounts) -> str:
    return " and ".join(f"{amount:g} {name}" for name, amount in wanted.items() if ":" not in name)


def _missing_resource(name: str, takes: float, have: float) -> str:
    if ":" in name:
        return (
            f"no node of the Ray cluster has a GPU of the kind {name.partition(':')[2]}: correct resources.accelerator "
            "(Ray's name, as in A100 or T4), or use another cluster"
        )
    return (
        f"one run needs {takes:g} {name}, the Ray cluster has {have:g}: lower resources.cpus, gpus or workers, or use "
        "a larger cluster"
    )
