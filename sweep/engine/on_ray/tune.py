"""The Tune executor: the agenda's tasks as trials, and what keeps Tune from falling over the driver's own troubles."""

from __future__ import annotations

import logging
import math
import os
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import ray
from ray import tune
from ray.air.execution._internal import RayActorManager
from ray.air.execution._internal.tracked_actor_task import TrackedActorTask
from ray.exceptions import RayActorError, RayError, RayTaskError
from ray.tune import Callback, Stopper
from ray.tune.execution import tune_controller
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from sweep.engine import interrupts
from sweep.engine.agenda import Agenda
from sweep.engine.memory import MemoryPatience
from sweep.engine.on_ray.actors import GroupActor, RunActor
from sweep.engine.on_ray.session import placement, runs_at_once
from sweep.engine.process_watch import ClusterWatch, Interruption, LostClusterError
from sweep.engine.progress import Progress, describe, end_task
from sweep.engine.recovery import ExecutorError, executor_error
from sweep.engine.tasks import Task
from sweep.engine.watchdog import forced_end, overtime_error
from sweep.runs.code_texts import code_digest
from sweep.runs.environment import check_files
from sweep.runs.failures import error_of_lost_process, oom_kills
from sweep.runs.records import FinalRecord
from sweep.runs.run_folder import RunFolder
from sweep.runs.train import commit_failure, commit_pruned
from sweep.search.proposals import Nothing
from sweep.storage.files import StoreError, scratch_folder

PATIENCE = 0.5
"""Seconds that Tune waits for an event before it looks around, which takes milliseconds: left to itself it does so ten
times a second."""


class Unsaved:
    """Pickles to nothing: Tune keeps what it is given for a restore that nothing here relies on."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class SweepStopper(Unsaved, Stopper):
    """Keeps why a sweep has to end before its time: a full disk, Ctrl-C, a fault of ours. An exception in what Tune
    calls would abort it with a traceback of its own and running trials left alone, so the body of every callback stands
    in ``with stopper:``, which keeps the first exception, ends the trials in order, and hands it out after. It also
    keeps the body from being interrupted because the cluster is gone."""

    def __init__(self) -> None:
        self.reason: BaseException | None = None
        self._inside = 0

    def ask(self, reason: BaseException) -> None:
        """End the sweep; the first reason counts."""
        self.reason = self.reason or reason

    def __enter__(self) -> SweepStopper:
        self._inside += 1
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        self._inside -= 1
        if isinstance(error, Exception):
            self.ask(error)
            return True
        return False

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self.reason is not None

    def fit(self, tuner: tune.Tuner, watch: ClusterWatch) -> None:
        """Run it to its end. Raises what the sweep had to end for, KeyboardInterrupt among it; LostClusterError where
        the cluster is gone, and ExecutorError for what Tune raises of itself."""
        os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"  # Tune's own knows only SIGINT, and not the second
        with interrupts.deferred(lambda: self.ask(KeyboardInterrupt())):
            try:
                with watch.interrupting(lambda: not self._inside):
                    tuner.fit()
            except Exception as error:
                if self.reason is None:
                    raise error if isinstance(error, LostClusterError) else executor_error(error) from error
        if self.reason is not None:
            raise self.reason


class AgendaSearcher(Unsaved, Searcher):
    """Hands the agenda's tasks to Tune as trials."""

    def __init__(self, agenda: Agenda, stopper: SweepStopper, patience: MemoryPatience) -> None:
        super().__init__(metric=None, mode=None)
        self.agenda, self.stopper, self.patience = agenda, stopper, patience

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        task: Task | Nothing = Nothing.LEFT
        with self.stopper:
            task = Nothing.NOW if self.patience.holds_back() else self.agenda.next()
        if isinstance(task, Nothing):
            return Searcher.FINISHED if task is Nothing.LEFT else None
        sweep = self.agenda.plan.sweep
        return {
            "sweep": sweep.name,
            "name": describe(task),
            "run": task.run.model_dump_json(),
            "hash": task.hash,
            "code": code_digest(),
            "stoppable": task.stoppable,
            "results": self.agenda.store.address,
            "mark": self.agenda.store.mark(),
            "timeout": sweep.timeout,
            "checkpoint_every": sweep.checkpoint_every,
            "gpu_share": sweep.resources.gpu_share,
        }

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Do nothing: the agenda hears of ends from :class:`AgendaCallback`, which also knows why."""

    def save(self, checkpoint_path: str) -> None:
        """Keep nothing: see :class:`Unsaved`."""

    def restore(self, checkpoint_path: str) -> None:
        """Keep nothing: see :class:`Unsaved`."""


class AgendaScheduler(Unsaved, FIFOScheduler):
    """Stops what the agenda's stopping rule stops."""

    def __init__(self, agenda: Agenda, stopper: SweepStopper) -> None:
        super().__init__()
        self.agenda, self.stopper = agenda, stopper
        self._waiting: deque[Trial] = deque()

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        stop = False
        with self.stopper:
            self.agenda.store.check_held()
            judged = result["selectable"] > 0 and not result["done"]
            stop = judged and self.agenda.should_stop(trial.config["hash"], result["selectable"], result["value"])
        return TrialScheduler.STOP if stop else TrialScheduler.CONTINUE

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        super().on_trial_add(tune_controller, trial)
        self._waiting.append(trial)

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """Return the one that has waited longest. Tune's own looks through all trials that there ever were, at every
        step."""
        while self._waiting and self._waiting[0].status != Trial.PENDING:
            self._waiting.popleft()
        return self._waiting[0] if self._waiting else None


class AgendaCallback(Unsaved, Callback):
    """Tells agenda and display what happens to the trials.

    Tune makes it, by its name in an environment variable: for a callback that it is handed it imports MLflow, Weights &
    Biases, Comet and Aim, to count which of them are in use."""

    serves: tuple[Agenda, Progress, SweepStopper, ClusterWatch]
    """Those of the sweep under way."""

    def __init__(self) -> None:
        self.agenda, self.progress, self.stopper, self.watch = self.serves
        self._started: dict[str, float] = {}
        self._oom_kills = oom_kills()

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        with self.stopper:
            task = self.agenda.task(trial.config["hash"])
            if task is not None:
                self._started[task.hash] = time.monotonic()
                self.progress.started(task)

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        with self.stopper:
            if result["trouble"]:
                self.stopper.ask(StoreError(result["trouble"]))
            elif result["epoch"]:
                value = result["value"] if result["validated"] else math.nan
                self.progress.epoch(trial.config["hash"], result["epoch"], result["epochs"], value)

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self._conclude(trial, commit_pruned)

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        with self.stopper:
            self.watch.check()  # no run has failed where all are gone
            check_files(code_digest())  # nor where its process met half an edit
        self._conclude(trial, lambda folder: commit_failure(folder, self._cause_of_death(trial)))

    def _conclude(self, trial: Trial, commit: Callable[[RunFolder], FinalRecord]) -> None:
        """End the task of a trial as its folder says; where that says nothing, as ``commit`` makes it say."""
        with self.stopper:
            task = self.agenda.task(trial.config["hash"])
            if task is not None and not self.stopper.stop_all():
                self.agenda.store.check_held()
                folder = self.agenda.store.run(task.hash)
                end_task(self.agenda, self.progress, task, folder.final() or commit(folder))

    def _cause_of_death(self, trial: Trial) -> Exception:
        """Return why the process of a trial is gone, as far as it can be known from here."""
        # An actor that dies before it is up has not started anything.
        timeout, began = self.agenda.plan.sweep.timeout, self._started.get(trial.config["hash"])
        if timeout is not None and began is not None and time.monotonic() - began > forced_end(timeout):
            return overtime_error(timeout)  # it could not even say so itself
        account = Path(trial.error_file).read_text(encoding="utf-8") if trial.error_file else ""
        kills, self._oom_kills = oom_kills() - self._oom_kills, oom_kills()
        return error_of_lost_process(account, kills if ray.util.get_node_ip_address() in account else 0)


class _ActorManager(RayActorManager):
    """Takes an actor for dead whatever Ray says of its end. Tune's own does so for a RayActorError alone, which the
    OutOfMemoryError of Ray's memory monitor is not, and ends the whole sweep for any other."""

    watch: ClusterWatch
    """Over the cluster that runs."""

    def next(self, timeout: float | None = None) -> bool:
        """Wait for the next event, at least :data:`PATIENCE` seconds. Ray makes an error of an Interruption, on which
        Tune would clean up first, and wait for the cluster that is gone."""
        try:
            return bool(super().next(None if timeout is None else max(timeout, PATIENCE)))
        except SystemError as error:
            if self.watch.lost() is None:
                raise
            raise Interruption from error

    def _actor_task_failed(self, tracked_actor_task: TrackedActorTask, exception: Exception) -> None:
        if isinstance(exception, RayError) and not isinstance(exception, RayTaskError | RayActorError):
            exception = RayActorError(error_msg=f"{type(exception).__name__}: {exception}")
        super()._actor_task_failed(tracked_actor_task, exception)


def run_tuned(agenda: Agenda, progress: Progress, watch: ClusterWatch, patience: MemoryPatience) -> None:
    """Train everything on the agenda with Ray Tune, as many runs at a time as the cluster's nodes hold. Raises
    ConfigError where they never hold one, StoreError where nothing can be written, KeyboardInterrupt after Ctrl-C,
    ExecutorError and LostClusterError where Tune or the cluster ended before the agenda did."""
    needs = agenda.plan.sweep.resources
    actor, at_once = GroupActor if needs.workers > 1 else RunActor, runs_at_once(needs)
    # What goes wrong with a run is recorded and said by us, in a line.
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    stopper = SweepStopper()
    AgendaCallback.serves = (agenda, progress, stopper, watch)
    os.environ["RAY_TUNE_CALLBACKS"] = f"{AgendaCallback.__module__}.{AgendaCallback.__name__}"
    tune_controller.RayActorManager, _ActorManager.watch = _ActorManager, watch
    # Tune's own bookkeeping is thrown away with this folder, also where the driver is killed.
    with scratch_folder("sweep-tune-") as scratch:
        tuner = tune.Tuner(
            tune.with_resources(actor, placement(needs)),
            tune_config=tune.TuneConfig(
                search_alg=AgendaSearcher(agenda, stopper, patience),
                scheduler=AgendaScheduler(agenda, stopper),
                num_samples=-1,
                max_concurrent_trials=at_once,
                reuse_actors=True,
                trial_name_creator=lambda trial: trial.config["name"],
                trial_dirname_creator=lambda trial: trial.config["hash"],
            ),
            run_config=tune.RunConfig(
                storage_path=str(scratch),
                name="sweep",
                stop=stopper,
                verbose=0,
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            ),
        )
        stopper.fit(tuner, watch)
    if not agenda.complete:
        raise ExecutorError("Ray Tune ended with runs left to train")
