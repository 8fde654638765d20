"""Failures under Ray, with real kills: what a user is told, and that the same command goes on."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from ray.air.execution._internal import RayActorManager
from ray.air.execution._internal.tracked_actor import TrackedActor
from ray.air.execution._internal.tracked_actor_task import TrackedActorTask
from ray.exceptions import OutOfMemoryError, RayActorError, RayTaskError
from support.command_desk import Desk
from support.freed_memory import has_glibc

from sweep.engine.on_ray.tune import AgendaCallback, SweepStopper, _ActorManager
from sweep.engine.process_watch import ClusterWatch, LostClusterError
from sweep.engine.recovery import ExecutorError
from sweep.runs import environment
from sweep.runs.environment import ChangedCodeError
from sweep.runs.failures import ProcessMemoryError, error_of_lost_process
from sweep.storage.files import StoreError

SWEEP: dict[str, Any] = {
    "method": "odd",
    "datasets": ["digits"],
    "data": {"digits": {"train_samples": 200}},
    "seeds": [0, 1],
    "references": False,
    "checkpoint_every": 0,
}


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path, odd=True)


def descendants(pid: int) -> list[psutil.Process]:
    return psutil.Process(pid).children(recursive=True)


def begun(desk: Desk, process: subprocess.Popen[str]) -> None:
    """Until a run of the process has written a checkpoint."""
    started = time.time()
    while not any(path.stat().st_mtime > started for path in desk.folder.glob("results/runs/*/checkpoint.pt")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)


@pytest.mark.ray
def test_a_killed_worker_a_hang_an_exception_and_a_killed_raylet_end_no_run_but_their_own(desk: Desk) -> None:
    points = [
        {"trouble": "die", "once": str(desk.folder / "died")},
        {"trouble": "hang", "once": str(desk.folder / "hung")},
        {"trouble": "raise"},
        {"trouble": "none"},
    ]
    keys = {"points": points, "seeds": [0], "epochs": 4, "timeout": 20}
    orphan = {"points": [{"trouble": "orphan", "once": str(desk.folder / "orphaned")}]}
    desk.write(s=SWEEP | keys, orphaned=SWEEP | keys | orphan)
    code, out, err = desk.run("run", "s", "orphaned", "--no-report")
    assert (code, err) == (1, "")
    assert "(raylet)" not in out
    assert "Raylet" not in out
    assert out.count("trying again (1 of 1)") == 3
    assert "1 failed (1 error)" in out
    # On a new cluster, with no retry.
    assert out.count("was killed, or crashed; a new one goes on from what has been trained") == 1
    rows = {row["hp.trouble"]: row for name in ("s", "orphaned") for row in desk.table(name)}
    assert {name: row["status"] for name, row in rows.items()} == {
        "die": "done",
        "hang": "done",
        "raise": "failed",
        "none": "done",
        "orphan": "done",
    }
    # What one of them went on to from its checkpoint is what the undisturbed one reached.
    for name in ("die", "hang", "orphan"):
        assert rows[name]["test_accuracy"] == rows["none"]["test_accuracy"]
    assert "failed (process)" in out
    assert "failed (timeout)" in out
    assert desk.logged("keeps_freed_memory") == {float(has_glibc())}


@pytest.mark.ray
def test_a_disk_that_is_full_for_the_workers_stops_the_sweep_with_one_message(desk: Desk) -> None:
    desk.write(s=SWEEP | {"hyperparameters": {"pause": 0.2}, "epochs": 15})
    process = desk.start("run", "s", "--no-report")
    begun(desk, process)
    for child in descendants(process.pid):
        if "ray::" in " ".join(child.cmdline()):
            resource.prlimit(child.pid, resource.RLIMIT_FSIZE, (4096, 4096))
    out, err = process.communicate(timeout=300)
    assert process.returncode == 1
    assert "File too large" in err
    assert "run the same command again to go on" in err
    assert "Traceback" not in out + err
    assert len(err.strip().splitlines()) == 1
    # Without Ray, which would train them no differently and takes its time to start.
    code, _, err = desk.run("run", "s", "--local", "--no-report")
    assert (code, err) == (0, "")


def test_a_worker_that_met_half_an_edit_has_failed_no_run(monkeypatch: pytest.MonkeyPatch) -> None:
    agenda, stopper = SimpleNamespace(task=lambda run_hash: None), SweepStopper()
    monkeypatch.setattr(AgendaCallback, "serves", (agenda, None, stopper, ClusterWatch([], print)), raising=False)
    trial = SimpleNamespace(config={"hash": "a"})
    AgendaCallback().on_trial_error(1, [], trial)
    assert stopper.reason is None
    monkeypatch.setattr(environment, "read_code_digest", lambda: "rewritten")
    AgendaCallback().on_trial_error(1, [], trial)
    assert isinstance(stopper.reason, ChangedCodeError)


ASK = """
import sys
from ray._raylet import GcsClient
GcsClient(address=sys.argv[1]).internal_kv_keys(b"", namespace=None)
"""


def assert_private(driver: int) -> None:
    """A driver with its cluster listens on the loopback address alone, and talks to nobody without its token."""
    processes = [psutil.Process(driver), *descendants(driver)]
    connections = [found for process in processes for found in process.net_connections("inet")]
    listening = [found.laddr.ip for found in connections if found.status == psutil.CONN_LISTEN]
    assert len(listening) > 5
    assert {ip.removeprefix("::ffff:") for ip in listening} == {"127.0.0.1"}
    words = (word for process in processes for word in process.cmdline())
    address = next(word.partition("=")[2] for word in words if word.startswith("--gcs-address="))
    stranger = {**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64}
    done = subprocess.run([sys.executable, "-c", ASK, address], env=stranger, capture_output=True, text=True)
    assert "InvalidAuthToken" in done.stderr


@pytest.mark.ray
def test_a_private_cluster_ends_at_once_with_every_process_at_the_second_ctrl_c(desk: Desk) -> None:
    hurry = desk.folder / "hurry"
    desk.write(s=SWEEP | {"hyperparameters": {"pause": 0.5, "hurry": str(hurry)}, "epochs": 60})
    process = desk.start("run", "s", "resources.workers=2")
    begun(desk, process)
    assert_private(process.pid)
    started = descendants(process.pid)
    os.killpg(process.pid, signal.SIGINT)
    assert process.stderr is not None
    assert "once more ends at once" in process.stderr.readline()
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "Traceback" not in out + err
    _, alive = psutil.wait_procs(started, timeout=60)
    assert alive == []
    assert len(desk.finished()) < 2

    hurry.touch()
    code, out, err = desk.run("run", "s", "--local", "--no-report")
    assert (code, err) == (0, "")
    assert [row["status"] for row in desk.table()] == ["done", "done"]


def test_the_stopper_keeps_the_first_exception_and_ends_the_sweep() -> None:
    stopper = SweepStopper()
    assert not stopper.stop_all()
    for error in (ValueError("first"), KeyError("second")):
        with stopper:
            raise error
    assert stopper.stop_all()
    assert str(stopper.reason) == "first"
    assert not stopper("a trial", {})


class Tuner:
    """One that ends as it is told."""

    def __init__(self, end: Exception | None) -> None:
        self._end = end

    def fit(self) -> None:
        if self._end is not None:
            raise self._end


def test_an_error_of_tunes_own_is_none_of_the_sweep_and_counts_less_than_what_the_sweep_ends_for() -> None:
    watch = ClusterWatch([lambda: None], pytest.fail)
    SweepStopper().fit(Tuner(None), watch)
    with pytest.raises(ExecutorError, match="Ray ended with KeyError: 'trial'"):
        SweepStopper().fit(Tuner(KeyError("trial")), watch)
    stopper = SweepStopper()
    stopper.ask(StoreError("disk full"))
    with pytest.raises(StoreError, match="disk full"):
        stopper.fit(Tuner(KeyError("trial")), watch)
    with pytest.raises(LostClusterError, match="its raylet"):
        SweepStopper().fit(Tuner(KeyError("trial")), ClusterWatch([lambda: "its raylet"], pytest.fail))


def test_a_process_that_rays_memory_monitor_ends_is_one_that_died_and_ends_no_sweep(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    heard = list[Exception]()
    monkeypatch.setattr(RayActorManager, "_actor_task_failed", lambda self, task, error: heard.append(error))
    manager, killed = object.__new__(_ActorManager), "Task was killed due to the node running low on memory."
    others = [RayActorError(), RayTaskError("step", "a traceback", ValueError()), RuntimeError()]
    for error in (OutOfMemoryError(killed), *others):
        manager._actor_task_failed(TrackedActorTask(TrackedActor(1)), error)
    assert type(heard[0]) is RayActorError
    assert isinstance(error_of_lost_process(str(heard[0])), ProcessMemoryError)
    assert heard[1:] == others


def test_the_stopper_lets_what_is_no_error_of_a_callback_pass() -> None:
    stopper = SweepStopper()
    with pytest.raises(SystemExit), stopper:
        raise SystemExit
    assert stopper.reason is None
