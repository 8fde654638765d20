"""Failures under Ray, with real kills: what a user is told, and that the same command goes on."""

from __future__ import annotations

import logging
import math
import os
import pickle
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import ray
from ray.air.execution._internal import RayActorManager
from ray.air.execution._internal.tracked_actor import TrackedActor
from ray.air.execution._internal.tracked_actor_task import TrackedActorTask
from ray.exceptions import OutOfMemoryError, RayActorError, RayTaskError
from ray.tune.execution import tune_controller
from ray.tune.experiment import Trial
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher
from support.command_desk import Desk
from support.freed_memory import has_glibc
from support.hand_driven_agenda import Driver
from support.small_runs import make_environment, make_epoch

from sweep.engine.memory import MemoryPatience
from sweep.engine.on_ray import tune
from sweep.engine.on_ray.actors import GroupActor, RunActor
from sweep.engine.on_ray.tune import (
    AgendaCallback,
    AgendaScheduler,
    AgendaSearcher,
    SweepStopper,
    _ActorManager,
    run_tuned,
)
from sweep.engine.process_watch import ClusterWatch, Interruption, LostClusterError
from sweep.engine.progress import describe
from sweep.engine.recovery import ExecutorError
from sweep.engine.tasks import Task
from sweep.runs import environment
from sweep.runs.code_texts import code_digest
from sweep.runs.environment import ChangedCodeError
from sweep.runs.failures import ProcessMemoryError, error_of_lost_process, oom_kills
from sweep.runs.records import FinalRecord, Run
from sweep.runs.run_folder import RunFolder
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
    assert any("fork_server.py" in " ".join(child.parent().cmdline()) for child in descendants(process.pid))
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


def test_a_callback_is_not_interrupted_because_the_cluster_is_gone_and_what_is_outside_is() -> None:
    seen, stopper = list[bool](), SweepStopper()

    class Watch:
        def interrupting(self, allowed: Callable[[], bool]) -> AbstractContextManager[None]:
            self.allowed = allowed
            return nullcontext()

    class Tuned:
        def fit(self) -> None:
            seen.append(watch.allowed())
            with stopper:
                seen.append(watch.allowed())
                with stopper:
                    raise ValueError("a fault")
                seen.append(watch.allowed())
            seen.append(watch.allowed())

    watch = Watch()
    with pytest.raises(ValueError, match="a fault"):
        stopper.fit(Tuned(), watch)
    assert seen == [True, False, False, True]


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


# The agenda's tasks as trials ---------------------------------------------------------------------------------------


@pytest.fixture
def driver(tmp_path: Path) -> Driver:
    return Driver(tmp_path, seeds=[0, 1], timeout="60s", checkpoint_every="5s")


def patience(short: bool) -> MemoryPatience:
    return MemoryPatience(lambda line: None, lambda: short, lambda: 0.0)


def suggested(driver: Driver, stopper: SweepStopper, short: bool = False) -> dict[str, Any] | str | None:
    return AgendaSearcher(driver.agenda, stopper, patience(short)).suggest("a trial")


def test_a_trial_is_told_all_that_its_actor_needs_and_nothing_is_left_at_the_end(driver: Driver) -> None:
    stopper, found = SweepStopper(), dict[int, dict[str, Any]]()
    for _ in range(2):
        trial = suggested(driver, stopper)
        assert isinstance(trial, dict)
        found[Run.model_validate_json(trial["run"]).seed] = trial
    assert set(found) == {0, 1}
    task = driver.agenda.task(found[0]["hash"])
    assert task is not None
    assert found[0] == {
        "sweep": "s",
        "name": describe(task),
        "run": task.run.model_dump_json(),
        "hash": task.hash,
        "code": code_digest(),
        "stoppable": False,
        "results": driver.store.address,
        "mark": driver.store.mark(),
        "timeout": 60.0,
        "checkpoint_every": 5.0,
        "gpu_share": driver.plan.sweep.resources.gpu_share,
    }
    for trial in found.values():
        ended = driver.agenda.task(trial["hash"])
        assert ended is not None
        driver.end(ended)
    assert suggested(driver, stopper) == Searcher.FINISHED
    assert stopper.reason is None


def test_no_trial_is_begun_while_memory_is_short(driver: Driver) -> None:
    assert suggested(driver, SweepStopper(), short=True) is None
    assert isinstance(suggested(driver, SweepStopper()), dict)


class Rule:
    """An agenda whose rule stops every run that it is asked about."""

    def __init__(self) -> None:
        self.judged, self.held = list[tuple[str, int, float]](), 0
        self.store = SimpleNamespace(check_held=self._check)

    def _check(self) -> None:
        self.held += 1

    def should_stop(self, run_hash: str, selectable: int, value: float) -> bool:
        self.judged.append((run_hash, selectable, value))
        return True


@pytest.mark.parametrize(
    ("result", "judged"),
    [
        ({"selectable": 2, "done": False}, True),
        ({"selectable": 1, "done": False}, True),
        ({"selectable": 0, "done": False}, False),
        ({"selectable": 2, "done": True}, False),
    ],
)
def test_the_rule_judges_epochs_that_may_be_selected_of_runs_that_go_on(result: dict[str, Any], judged: bool) -> None:
    agenda, stopper = Rule(), SweepStopper()
    scheduler = AgendaScheduler(agenda, stopper)
    decision = scheduler.on_trial_result(None, SimpleNamespace(config={"hash": "a"}), result | {"value": 0.5})
    assert decision == (TrialScheduler.STOP if judged else TrialScheduler.CONTINUE)
    assert agenda.judged == ([("a", result["selectable"], 0.5)] if judged else [])
    assert agenda.held == 1
    assert stopper.reason is None


def test_the_trial_that_has_waited_longest_runs_next() -> None:
    scheduler = AgendaScheduler(Rule(), SweepStopper())
    trials = [SimpleNamespace(status=Trial.PENDING) for _ in range(3)]
    assert scheduler.choose_trial_to_run(None) is None
    for trial in trials:
        scheduler.on_trial_add(None, trial)
    assert scheduler.choose_trial_to_run(None) is trials[0]
    assert scheduler.choose_trial_to_run(None) is trials[0]
    trials[0].status = trials[1].status = Trial.RUNNING
    assert scheduler.choose_trial_to_run(None) is trials[2]
    trials[2].status = Trial.RUNNING
    assert scheduler.choose_trial_to_run(None) is None


class Shown:
    """A display that keeps what it is told."""

    def __init__(self) -> None:
        self.told = list[tuple[Any, ...]]()

    def started(self, task: Task) -> None:
        self.told.append(("started", task.hash))

    def epoch(self, *values: Any) -> None:
        self.told.append(("epoch", *values))

    def finished(self, task: Task, final: FinalRecord) -> None:
        self.told.append(("finished", task.hash, final.status))

    def retried(self, task: Task, final: FinalRecord, retries: int) -> None:
        self.told.append(("retried", task.hash, final.status))


@dataclass
class Stage:
    """A sweep with one run under way."""

    driver: Driver
    task: Task
    shown: Shown
    stopper: SweepStopper
    callback: AgendaCallback
    trial: Any
    now: float = 0.0

    @property
    def folder(self) -> RunFolder:
        return self.driver.store.run(self.task.hash)

    def hear(self, **result: Any) -> None:
        told = {"epoch": 0, "epochs": 0, "validated": False, "value": 0.0, "trouble": ""} | result
        self.callback.on_trial_result(1, [], self.trial, told)


@pytest.fixture
def stage(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> Stage:
    task, shown, stopper = driver.next(), Shown(), SweepStopper()
    watch = ClusterWatch([lambda: None], pytest.fail)
    monkeypatch.setattr(AgendaCallback, "serves", (driver.agenda, shown, stopper, watch), raising=False)
    callback, trial = AgendaCallback(), SimpleNamespace(config={"hash": task.hash}, error_file=None)
    folder = driver.store.run(task.hash)
    folder.open(task.run, make_environment())
    folder.append(make_epoch(1))
    made = Stage(driver, task, shown, stopper, callback, trial)
    monkeypatch.setattr(tune, "time", SimpleNamespace(monotonic=lambda: made.now))
    monkeypatch.setattr(ray.util, "get_node_ip_address", lambda: "10.0.0.5")
    callback.on_trial_start(1, [], trial)
    return made


def test_the_display_hears_of_each_epoch_with_its_value_where_there_is_one(stage: Stage) -> None:
    stage.hear(epoch=1, epochs=3, validated=True, value=0.25)
    stage.hear(epoch=2, epochs=3)
    stage.hear()  # of a run that was ready before
    started, first, second = stage.shown.told
    assert started == ("started", stage.task.hash)
    assert first == ("epoch", stage.task.hash, 1, 3, 0.25)
    assert second[:-1] == ("epoch", stage.task.hash, 2, 3)
    assert math.isnan(second[-1])


def test_where_an_actor_cannot_write_the_sweep_ends_and_no_run_does(stage: Stage) -> None:
    stage.hear(epoch=2, epochs=3, trouble="disk full")
    assert isinstance(stage.stopper.reason, StoreError)
    assert str(stage.stopper.reason) == "disk full"
    stage.callback.on_trial_complete(1, [], stage.trial)
    assert stage.folder.final() is None
    assert stage.shown.told == [("started", stage.task.hash)]


def test_a_run_ends_as_its_folder_says_and_else_as_one_that_the_rule_stopped(stage: Stage) -> None:
    stage.callback.on_trial_complete(1, [], stage.trial)
    assert stage.stopper.reason is None
    assert stage.shown.told[-1] == ("finished", stage.task.hash, "pruned")
    other = stage.driver.next()
    folder = stage.driver.store.run(other.hash)
    folder.open(other.run, make_environment())
    folder.commit(FinalRecord(status="diverged"))
    stage.callback.on_trial_complete(1, [], SimpleNamespace(config={"hash": other.hash}))
    assert stage.shown.told[-1] == ("finished", other.hash, "diverged")


def test_a_trial_of_no_task_ends_nothing(stage: Stage) -> None:
    stage.callback.on_trial_start(1, [], SimpleNamespace(config={"hash": "absent"}))
    stage.callback.on_trial_complete(1, [], SimpleNamespace(config={"hash": "absent"}))
    assert stage.stopper.reason is None
    assert stage.shown.told == [("started", stage.task.hash)]


@pytest.mark.parametrize(
    ("address", "seconds", "kills", "cause"),
    [
        ("10.0.0.5", 1.0, 0, "process"),
        ("10.0.0.5", 1.0, 2, "memory"),
        ("10.0.0.6", 1.0, 2, "process"),  # the kernel of this machine knows nothing of another
        ("10.0.0.5", 71.0, 0, "timeout"),
        ("10.0.0.5", 70.0, 0, "process"),
    ],
)
def test_a_run_whose_process_is_gone_has_failed_of_what_can_be_known_from_here(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str, seconds: float, kills: int, cause: str
) -> None:
    before = oom_kills()
    monkeypatch.setattr(tune, "oom_kills", lambda: before + kills)
    stage.now = seconds
    stage.trial.error_file = str(tmp_path / "error.txt")
    (tmp_path / "error.txt").write_text(f"The actor died unexpectedly.\n\tpid: 4711\n\tip: {address}\n")
    stage.callback.on_trial_error(1, [], stage.trial)
    assert stage.stopper.reason is None
    final = stage.folder.final()
    if final is None:  # taken back, as it is tried again
        (reason,) = stage.folder.failures()
    else:
        reason = final.reason or ""
    assert {"process": "was killed, or crashed", "memory": "ran out of memory", "timeout": "hangs"}[cause] in reason
    assert stage.shown.told[-1] == ("retried", stage.task.hash, "failed")


def test_where_the_cluster_is_gone_no_run_has_failed(stage: Stage) -> None:
    stage.callback.watch = ClusterWatch([lambda: "its raylet"], pytest.fail)
    stage.callback.on_trial_error(1, [], stage.trial)
    assert isinstance(stage.stopper.reason, LostClusterError)
    assert (stage.folder.final(), stage.folder.failures()) == (None, [])


@pytest.mark.parametrize(("lost", "raised"), [(None, SystemError), ("its raylet", Interruption)])
def test_an_error_that_ray_makes_of_an_interruption_is_one_where_the_cluster_is_gone(
    monkeypatch: pytest.MonkeyPatch, lost: str | None, raised: type[BaseException]
) -> None:
    def fail(self: RayActorManager, timeout: float | None) -> bool:
        raise SystemError("returned a result with an exception set")

    monkeypatch.setattr(RayActorManager, "next", fail)
    manager = object.__new__(_ActorManager)
    manager.watch = ClusterWatch([lambda: lost], pytest.fail)
    with pytest.raises(raised):
        manager.next()


def test_tune_keeps_nothing_of_what_it_is_given_to_pickle(driver: Driver) -> None:
    searcher = AgendaSearcher(driver.agenda, SweepStopper(), patience(False))
    assert pickle.loads(pickle.dumps(searcher)).__dict__ == {}


# All of it ----------------------------------------------------------------------------------------------------------


class RecordedTuner:
    """A tuner that keeps what it is given, and ends the runs that it is told to end."""

    def __init__(self, end: Callable[[], object]) -> None:
        self._end = end

    def __call__(self, trainable: type, tune_config: Any, run_config: Any) -> RecordedTuner:
        self.trainable, self.config, self.run_config = trainable, tune_config, run_config
        return self

    def fit(self) -> None:
        assert Path(self.run_config.storage_path).is_dir()
        self.callback = AgendaCallback()  # as Tune makes it
        self._end()


@pytest.fixture
def as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take back what is set for a sweep in Tune, in the environment and in classes."""
    monkeypatch.setattr(tune_controller, "RayActorManager", RayActorManager)
    monkeypatch.setattr(AgendaCallback, "serves", None, raising=False)
    monkeypatch.setattr(_ActorManager, "watch", None, raising=False)
    monkeypatch.setenv("RAY_TUNE_CALLBACKS", "")
    monkeypatch.setenv("TUNE_DISABLE_SIGINT_HANDLER", "")
    logger = logging.getLogger("ray.tune")
    monkeypatch.setattr(logger, "level", logger.level)


@pytest.mark.parametrize("workers", [1, 2])
def test_tune_trains_what_the_agenda_has_as_many_at_a_time_as_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, as_it_was: None, workers: int
) -> None:
    driver = Driver(tmp_path, seeds=[0, 1], resources={"workers": workers})
    shown, watch, tuner = Shown(), ClusterWatch([lambda: None], pytest.fail), RecordedTuner(driver.run_all)
    monkeypatch.setattr(tune.tune, "Tuner", tuner)
    monkeypatch.setattr(tune, "runs_at_once", lambda needs: 3)
    run_tuned(driver.agenda, shown, watch, patience(False))
    assert issubclass(tuner.trainable, RunActor)
    assert issubclass(tuner.trainable, GroupActor) == (workers == 2)
    config, run = tuner.config, tuner.run_config
    assert (config.num_samples, config.max_concurrent_trials, config.reuse_actors) == (-1, 3, True)
    assert config.search_alg.agenda is config.scheduler.agenda is tuner.callback.agenda is driver.agenda
    assert run.stop is config.search_alg.stopper is config.scheduler.stopper is tuner.callback.stopper
    assert (tuner.callback.progress, tuner.callback.watch) == (shown, watch)
    trial = SimpleNamespace(config={"name": "iprm, seed 0", "hash": "a1"})
    assert (config.trial_name_creator(trial), config.trial_dirname_creator(trial)) == ("iprm, seed 0", "a1")
    assert (run.verbose, run.checkpoint_config.checkpoint_at_end) == (0, False)
    assert not Path(run.storage_path).exists()
    assert os.environ["RAY_TUNE_CALLBACKS"] == "sweep.engine.on_ray.tune.AgendaCallback"
    assert tune_controller.RayActorManager is _ActorManager
    assert _ActorManager.watch is watch
    assert logging.getLogger("ray.tune").level == logging.CRITICAL


def test_an_end_of_tune_before_that_of_the_agenda_is_an_error(
    driver: Driver, monkeypatch: pytest.MonkeyPatch, as_it_was: None
) -> None:
    monkeypatch.setattr(tune.tune, "Tuner", RecordedTuner(lambda: driver.end(driver.next())))
    monkeypatch.setattr(tune, "runs_at_once", lambda needs: 1)
    with pytest.raises(ExecutorError, match="Ray Tune ended with runs left to train"):
        run_tuned(driver.agenda, Shown(), ClusterWatch([lambda: None], pytest.fail), patience(False))
