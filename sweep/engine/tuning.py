"""The Tune executor for runs with one worker: a class trainable in reused actors, so that a run costs neither a
process, nor an import, nor a dataset that the run before it already loaded."""

from __future__ import annotations

import logging
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune import Callback
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from sweep.engine.agenda import Agenda, Nothing, Task
from sweep.engine.capacity import placement, slots
from sweep.engine.ends import Watchdog, conclude, limit, overtime
from sweep.engine.halt import Halt, Unsaved
from sweep.environment import check_packages
from sweep.failures import death, oom_kills
from sweep.progress import Progress, describe
from sweep.records import EpochRecord, FinalRecord, Run
from sweep.store import RunFolder, Store, StoreError
from sweep.train import commit_failure, commit_pruned, train

REPORT_EVERY = 0.5
"""Seconds of epochs that an actor trains between two reports, where nothing but the display waits for them."""


class RunActor(tune.Trainable):
    """Trains one run after another; between two of them nothing survives but loaded datasets."""

    _sweep = ""

    def __repr__(self) -> str:
        """The actor's name on Ray's dashboard, where it stays the same from run to run."""
        return f"sweep {self._sweep}"

    def setup(self, config: dict[str, Any]) -> None:
        self._sweep = config["sweep"]
        check_packages()
        self._training: Iterator[EpochRecord] = iter(())
        self._watchdog: Watchdog | None = None
        self._start(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._end()
        self._start(new_config)
        return True

    def _start(self, config: dict[str, Any]) -> None:
        run = Run.model_validate_json(config["run"])
        self._metric, self._patient = f"validation_{run.metric}", config["stoppable"]
        self._trouble = ""
        try:
            self._folder = Store.join(config["results"], config["mark"]).run(config["hash"])
        except StoreError as error:
            self._trouble = str(error)
            return
        self._training = self.begin(run, self._folder, config)
        if config["timeout"] is not None:
            self._watchdog = Watchdog(self._folder, config["timeout"])

    def begin(self, run: Run, folder: RunFolder, config: dict[str, Any]) -> Iterator[EpochRecord]:
        """The epochs of a run, trained as they are asked for. config: of the trial."""
        return train(run, folder, timeout=config["timeout"], checkpoint_every=config["checkpoint_every"])

    def _end(self) -> None:
        self._training = iter(())  # the generator before it ends with its last reference
        if self._watchdog is not None:
            self._watchdog.cancel()
            self._watchdog = None

    def step(self) -> dict[str, Any]:
        """Epochs until the next report. Where nothing can be written, which is the end of the sweep and not of a run,
        the report says so: of an exception Tune would make an error like any other."""
        record: EpochRecord | None = None
        done = True
        try:
            record, done = self._advance()
        except StoreError as error:
            self._trouble = str(error)
        except SystemExit as error:
            if hasattr(error, "ray_terminate_msg"):  # Ray ends this process; the run goes on another time
                raise
            commit_failure(self._folder, error)
        if done:
            self._end()
        return report(record, self._metric, done, self._trouble)

    def _advance(self) -> tuple[EpochRecord | None, bool]:
        """Train on; the last epoch and whether it was the run's last."""
        started, record = time.monotonic(), None
        while (found := next(self._training, None)) is not None:
            record = found
            if self._patient or time.monotonic() - started > REPORT_EVERY:
                return record, False
        return record, True

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing: the run folder holds the checkpoint."""

    def load_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing: see :meth:`save_checkpoint`."""

    def cleanup(self) -> None:
        self._end()


def report(record: EpochRecord | None, metric: str, done: bool, trouble: str = "") -> dict[str, Any]:
    """What Tune hears of an epoch: always the same keys, always finite. trouble: why nothing can be written."""
    epoch, epochs, value = (record.epoch, record.epochs, record.metrics[metric]) if record else (0, 0, 0.0)
    return {"epoch": epoch, "epochs": epochs, "value": value, "done": done, "trouble": trouble}


class AgendaSearcher(Unsaved, Searcher):
    """Tune's trials are the agenda's tasks."""

    def __init__(self, agenda: Agenda, halt: Halt) -> None:
        super().__init__(metric=None, mode=None)
        self.agenda, self.halt = agenda, halt

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        task: Task | Nothing = Nothing.EVER
        with self.halt:
            task = self.agenda.next()
        if isinstance(task, Nothing):
            return Searcher.FINISHED if task is Nothing.EVER else None
        sweep = self.agenda.plan.sweep
        return {
            "sweep": sweep.name,
            "name": describe(task),
            "run": task.run.model_dump_json(),
            "hash": task.hash,
            "stoppable": task.stoppable,
            "results": self.agenda.store.address,
            "mark": self.agenda.store.mark(),
            "timeout": sweep.timeout,
            "checkpoint_every": sweep.checkpoint_every,
        }

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """The agenda hears of ends from :class:`AgendaCallback`, which also knows why."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing: see :class:`Unsaved`."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: see :class:`Unsaved`."""


class AgendaScheduler(Unsaved, FIFOScheduler):
    """Stops what the agenda's stopping rule stops."""

    def __init__(self, agenda: Agenda, halt: Halt) -> None:
        super().__init__()
        self.agenda, self.halt = agenda, halt
        self._waiting: deque[Trial] = deque()

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        stop = False
        with self.halt:
            stop = not result["done"] and self.agenda.should_stop(
                trial.config["hash"], result["epoch"], result["value"]
            )
        return TrialScheduler.STOP if stop else TrialScheduler.CONTINUE

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        super().on_trial_add(tune_controller, trial)
        self._waiting.append(trial)

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """The one that has waited longest. Tune's own looks through all trials that there ever were, at every step."""
        while self._waiting and self._waiting[0].status != Trial.PENDING:
            self._waiting.popleft()
        return self._waiting[0] if self._waiting else None


class AgendaCallback(Unsaved, Callback):
    """Tells agenda and display what happens to the trials."""

    def __init__(self, agenda: Agenda, progress: Progress, halt: Halt) -> None:
        self.agenda, self.progress, self.halt = agenda, progress, halt
        self._started: dict[str, float] = {}
        self._oom_kills = oom_kills()

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        task = self.agenda.task(trial.config["hash"])
        if task is not None:
            self._started[task.hash] = time.monotonic()
            self.progress.started(task)

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        if result["trouble"]:
            self.halt.ask(StoreError(result["trouble"]))
        elif result["epoch"]:
            self.progress.epoch(trial.config["hash"], result["epoch"], result["epochs"], result["value"])

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self._conclude(trial, commit_pruned)

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self._conclude(trial, lambda folder: commit_failure(folder, self._death(trial)))

    def _conclude(self, trial: Trial, commit: Callable[[RunFolder], FinalRecord]) -> None:
        """The trial has ended as its folder says; where it says nothing, as ``commit`` makes it say."""
        with self.halt:
            task = self.agenda.task(trial.config["hash"])
            if task is not None and not self.halt.stop_all():
                folder = self.agenda.store.run(task.hash)
                conclude(self.agenda, self.progress, task, folder.final() or commit(folder))

    def _death(self, trial: Trial) -> Exception:
        """Why the process of a trial is gone, as far as it can be known from here."""
        # An actor that dies before it is up has not started anything.
        timeout, began = self.agenda.plan.sweep.timeout, self._started.get(trial.config["hash"])
        if timeout is not None and began is not None and time.monotonic() - began > limit(timeout):
            return overtime(timeout)  # it could not even say so itself
        account = Path(trial.error_file).read_text(encoding="utf-8") if trial.error_file else ""
        kills, self._oom_kills = oom_kills() - self._oom_kills, oom_kills()
        return death(account, kills if ray.util.get_node_ip_address() in account else 0)


def run_tuned(agenda: Agenda, progress: Progress) -> None:
    """Train everything on the agenda with Ray Tune, as many runs at a time as the cluster's resources hold."""
    needs = agenda.plan.sweep.resources
    run_trials(tune.with_resources(RunActor, placement(needs)), slots(needs), agenda, progress)


def run_trials(actor: Any, at_once: int, agenda: Agenda, progress: Progress) -> None:
    """Train everything on the agenda with ``actor``, a RunActor with its resources, ``at_once`` runs at a time. Raises
    StoreError where nothing can be written, KeyboardInterrupt after Ctrl-C."""
    # What goes wrong with a run is recorded and said by us, in a line.
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    halt = Halt()
    # Tune's own bookkeeping is thrown away with this folder.
    with tempfile.TemporaryDirectory(prefix="sweep-tune-") as scratch:
        tuner = tune.Tuner(
            actor,
            tune_config=tune.TuneConfig(
                search_alg=AgendaSearcher(agenda, halt),
                scheduler=AgendaScheduler(agenda, halt),
                num_samples=-1,
                max_concurrent_trials=at_once,
                reuse_actors=True,
                trial_name_creator=lambda trial: trial.config["name"],
                trial_dirname_creator=lambda trial: trial.config["hash"],
            ),
            run_config=tune.RunConfig(
                storage_path=scratch,
                name="sweep",
                callbacks=[AgendaCallback(agenda, progress, halt)],
                stop=halt,
                verbose=0,
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            ),
        )
        halt.fit(tuner)
