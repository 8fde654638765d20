"""The Tune executor for runs with one worker: a class trainable in reused actors, so that a run costs neither a
process, nor an import, nor a dataset that the run before it already loaded."""

from __future__ import annotations

import logging
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune import Callback
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from sweep.config import ConfigError
from sweep.engine.agenda import Agenda, Nothing
from sweep.environment import check_packages
from sweep.progress import Progress
from sweep.records import EpochRecord, FinalRecord, Run
from sweep.store import RunFolder, Store
from sweep.train import commit_failure, commit_pruned, train

REPORT_EVERY = 0.5
"""Seconds of epochs that an actor trains between two reports, where nothing but the display waits for them."""


class RunActor(tune.Trainable):
    """Trains one run after another; between two of them nothing survives but loaded datasets."""

    def setup(self, config: dict[str, Any]) -> None:
        check_packages()
        self._watchdog: threading.Timer | None = None
        self._start(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._end()
        self._start(new_config)
        return True

    def _start(self, config: dict[str, Any]) -> None:
        run = Run.model_validate_json(config["run"])
        folder = Store(Path(config["results"])).run(config["hash"])
        self._metric, self._patient = f"validation_{run.metric}", config["stoppable"]
        self._training = self.begin(run, folder, config["timeout"])
        if config["timeout"] is not None:
            self._watchdog = watchdog(config["timeout"], run, config)

    def begin(self, run: Run, folder: RunFolder, timeout: float | None) -> Iterator[EpochRecord]:
        """The epochs of a run, trained as they are asked for."""
        return train(run, folder, timeout=timeout)

    def _end(self) -> None:
        self._training = iter(())  # the generator before it ends with its last reference
        if self._watchdog is not None:
            self._watchdog.cancel()

    def step(self) -> dict[str, Any]:
        started = time.monotonic()
        record: EpochRecord | None = None
        while (found := next(self._training, None)) is not None:
            record = found
            if self._patient or time.monotonic() - started > REPORT_EVERY:
                return report(record, self._metric, done=False)
        self._end()
        return report(record, self._metric, done=True)

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing: the run folder holds the checkpoint."""

    def load_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing: see :meth:`save_checkpoint`."""

    def cleanup(self) -> None:
        self._end()


def report(record: EpochRecord | None, metric: str, done: bool) -> dict[str, Any]:
    """What Tune hears of an epoch: always the same keys, always finite."""
    epoch, epochs, value = (record.epoch, record.epochs, record.metrics[metric]) if record else (0, 0, 0.0)
    return {"epoch": epoch, "epochs": epochs, "value": value, "done": done}


def watchdog(timeout: float, run: Run, config: dict[str, Any]) -> threading.Timer:
    """Ends this process, with the reason on record, where a step hangs past the run's timeout: Tune never would."""
    grace = timeout + max(10.0, 0.1 * timeout)

    def end() -> None:
        folder = Store(Path(config["results"])).run(config["hash"])
        commit_failure(folder, TimeoutError(f"a step still ran {grace:g} s after the start (timeout {timeout:g} s)"))
        os._exit(1)

    timer = threading.Timer(grace, end)
    timer.daemon = True
    timer.start()
    return timer


class Unsaved:
    """Tune pickles what it is given, for a restore that nothing here relies on: there is nothing to keep."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class AgendaSearcher(Unsaved, Searcher):
    """Tune's trials are the agenda's tasks."""

    def __init__(self, agenda: Agenda) -> None:
        super().__init__(metric=None, mode=None)
        self.agenda = agenda
        self.hashes: dict[str, str] = {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        task = self.agenda.next()
        if isinstance(task, Nothing):
            return Searcher.FINISHED if task is Nothing.EVER else None
        self.hashes[trial_id] = task.hash
        return {
            "run": task.run.model_dump_json(),
            "hash": task.hash,
            "stoppable": task.stoppable,
            "results": str(self.agenda.store.results.resolve()),
            "timeout": self.agenda.plan.sweep.timeout,
        }

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """The agenda hears of ends from :class:`AgendaCallback`, which also knows why."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing: see :class:`Unsaved`."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: see :class:`Unsaved`."""


class AgendaScheduler(Unsaved, FIFOScheduler):
    """Stops what the agenda's stopping rule stops."""

    def __init__(self, agenda: Agenda) -> None:
        super().__init__()
        self.agenda = agenda

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        if not result["done"] and self.agenda.should_stop(trial.config["hash"], result["epoch"], result["value"]):
            return TrialScheduler.STOP
        return TrialScheduler.CONTINUE


class AgendaCallback(Unsaved, Callback):
    """Tells agenda and display what happens to the trials."""

    def __init__(self, agenda: Agenda, progress: Progress) -> None:
        self.agenda, self.progress = agenda, progress

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        if (task := self.agenda.task(trial.config["hash"])) is not None:
            self.progress.started(task)

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        if result["epoch"]:
            self.progress.epoch(trial.config["hash"], result["epoch"], result["epochs"], result["value"])

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        folder = self.agenda.store.run(trial.config["hash"])
        self._finish(trial, folder.final() or commit_pruned(folder))

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        folder = self.agenda.store.run(trial.config["hash"])
        reason = RuntimeError("the worker process died (killed, or out of memory); see log.txt and Ray's logs")
        self._finish(trial, folder.final() or commit_failure(folder, reason))

    def _finish(self, trial: Trial, final: FinalRecord) -> None:
        task = self.agenda.task(trial.config["hash"])
        if task is not None:
            self.agenda.finish(task.hash, final)
            self.progress.finished(task, final)


def run_tuned(agenda: Agenda, progress: Progress) -> None:
    """Train everything on the agenda with Ray Tune, as many runs at a time as the cluster's resources hold."""
    # What goes wrong with a run is recorded and said by us, in a line.
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    needs = agenda.plan.sweep.resources
    wanted = {"CPU": needs.cpus, "GPU": needs.gpus}
    slots = concurrency(wanted)
    # Tune's own bookkeeping is thrown away with this folder.
    with tempfile.TemporaryDirectory(prefix="sweep-tune-") as scratch:
        tuner = tune.Tuner(
            tune.with_resources(RunActor, {name.lower(): amount for name, amount in wanted.items() if amount}),
            tune_config=tune.TuneConfig(
                search_alg=AgendaSearcher(agenda),
                scheduler=AgendaScheduler(agenda),
                num_samples=-1,
                max_concurrent_trials=slots,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                storage_path=scratch,
                name="sweep",
                callbacks=[AgendaCallback(agenda, progress)],
                verbose=0,
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            ),
        )
        tuner.fit()


def concurrency(wanted: dict[str, float]) -> int:
    """How many times the cluster holds ``wanted``. Raises ConfigError, naming what is missing, where it never does."""
    have = ray.cluster_resources()
    fits = []
    for name, amount in wanted.items():
        if not amount:
            continue
        if have.get(name, 0) < amount:
            raise ConfigError(
                f"one run needs {amount:g} {name}, the Ray cluster has {have.get(name, 0):g}: lower resources.cpus, "
                "gpus or workers, or use a larger cluster"
            )
        fits.append(int(have[name] / amount + 1e-9))
    return min(fits, default=1)
