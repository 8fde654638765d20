"""What MLflow and Weights & Biases hear of a sweep, through Ray's own callbacks for them.

These expect Tune's trials, whose configurations and reports are the engine's own here. They get stand-ins with readable
parameters instead, and the epochs as the run folders hold them, under the names that TensorBoard shows."""

from __future__ import annotations

import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from sweep.config import Sweep
from sweep.engine.tasks import Task
from sweep.progress import Progress, describe
from sweep.records import FinalRecord, TestRecord
from sweep.store import RunFolder, Store

if TYPE_CHECKING:
    from ray.tune.logger import LoggerCallback

SETTINGS = {"MLFLOW_DISABLE_TELEMETRY": "true", "WANDB_SILENT": "true"}
"""Of the services' packages, which read them as they are imported."""
LOOK_EVERY = 3.0
"""Seconds between two looks at the epochs of a run under way."""
PATIENCE = 120.0
"""Seconds without any progress after which the end of a sweep waits no longer for a logger."""
SHOWN = ("selected_epoch", "epochs_trained", "seconds", "forward_passes", "peak_memory_mib")
"""Numbers of how a run ended, besides its metrics."""


@contextmanager
def logged(sweep: Sweep, store: Store, progress: Progress, local: bool) -> Iterator[None]:
    """Within it the runs that ``progress`` hears of are logged as the sweep asks for. What was trained earlier is not
    logged again; a run that goes on after an interruption appears as a new one, with all its epochs. local: without
    Ray, which Weights & Biases needs."""
    loggers = []
    for service in sweep.loggers.chosen():
        if local and service == "wandb":
            progress.say("wandb: logs through Ray, so left out with --local", "yellow")
        else:
            loggers.append(Logger(service, sweep, store, lambda line: progress.say(line, "yellow")))
    progress.listeners += loggers
    try:
        yield
    finally:
        for logger in loggers:
            logger.close()


@dataclass(eq=False)
class LoggedRun:
    """What Ray's callbacks read of a trial. local_path: a folder of this machine for what they write; epoch: the last
    one that was logged."""

    name: str
    trial_id: str
    config: dict[str, Any]
    local_path: str
    epoch: int = 0

    def __str__(self) -> str:
        return self.name


class Logger:
    """Has one service log the runs that a sweep trains, in a thread of its own: a slow server holds nothing up. One
    that fails is given up, with a line through ``warn``."""

    def __init__(self, service: str, sweep: Sweep, store: Store, warn: Callable[[str], None]) -> None:
        self._service, self._sweep, self._store, self._warn = service, sweep, store, warn
        self._callback: LoggerCallback
        self._runs: dict[str, LoggedRun] = {}
        self._looked: dict[str, float] = {}
        self._news: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, daemon=True, name=f"logging to {service}")
        self._heard = 0
        self._given_up = False

    # Events, in the driver's thread ----------------------------------------------------------------------------

    def started(self, task: Task) -> None:
        self._tell(partial(self._open, task))

    def epoch(self, task: Task) -> None:
        now = time.monotonic()
        if now - self._looked.get(task.hash, float("-inf")) >= LOOK_EVERY:
            self._looked[task.hash] = now
            self._tell(partial(self._look, task))

    def finished(self, task: Task, final: FinalRecord) -> None:
        self._looked.pop(task.hash, None)
        self._tell(partial(self._end, task, final))

    def _tell(self, news: Callable[[], object]) -> None:
        if self._given_up:
            return
        self._news.put(news)
        if not self._thread.ident:
            self._thread.start()

    def close(self) -> None:
        """Wait until all is logged, or nothing moves any more."""
        self._news.put(None)
        heard = -1
        while self._thread.is_alive() and heard < self._heard:
            heard = self._heard
            self._thread.join(PATIENCE)
        if self._thread.is_alive():
            self._given_up = True
            self._warn(f"{self._service}: no answer for {PATIENCE:g} s; the last runs are not logged whole")

    # In the thread of the logger -------------------------------------------------------------------------------

    def _work(self) -> None:
        remedy = ""
        try:
            for name, value in SETTINGS.items():
                os.environ.setdefault(name, value)
            service = import_module(f"sweep.engine.{self._service}_logger")
            remedy = service.REMEDY
            self._callback = service.callback(getattr(self._sweep.loggers, self._service), self._sweep.name)
            while (news := self._news.get()) is not None:
                news()
                self._heard += 1
            for run in self._runs.values():
                self._close(run, {"status": "interrupted"}, failed=True)
            self._callback.on_experiment_end([])
        except Exception as error:
            if not self._given_up:
                self._given_up = True
                self._warn(f"{self._service}: {_short(error)}; no more runs are logged there; {remedy}")

    def _open(self, task: Task) -> LoggedRun:
        """The run as it is logged, begun where it is not (after a failure that is tried again it is)."""
        if task.hash not in self._runs:
            from sweep.events import hyperparameters  # tensorboardX takes long to import

            folder = str(self._store.sweep(self._sweep.name).resolve())
            parameters = {"label": task.configuration.label, "run": task.hash, **hyperparameters(task.run)}
            run = LoggedRun(describe(task), f"{task.hash}-{secrets.token_hex(4)}", parameters, folder)
            self._runs[task.hash] = run
            self._callback.log_trial_start(run)
        return self._runs[task.hash]

    def _look(self, task: Task) -> LoggedRun:
        """Log the epochs since the last look."""
        from sweep.events import numbers

        run = self._open(task)
        for record in self._store.run(task.hash).epochs():
            if record.epoch > run.epoch:
                run.epoch = record.epoch
                self._log(run, numbers(record))
        return run

    def _end(self, task: Task, final: FinalRecord) -> None:
        run = self._look(task)
        ends = {name: getattr(final, name) for name in SHOWN} | final.metrics | _test(self._store.run(task.hash))
        outcome = {"status": final.status} | ({"reason": _short(final.reason)} if final.reason else {})
        self._log(run, {f"end/{name}": value for name, value in ends.items() if value is not None})
        self._close(run, outcome, failed=final.status in ("failed", "diverged"))
        del self._runs[task.hash]

    def _close(self, run: LoggedRun, outcome: dict[str, str], failed: bool) -> None:
        # A callback takes words as parameters: Weights & Biases' with a result, MLflow's at a start.
        self._log(run, {"config": outcome})
        run.config = outcome
        self._callback.log_trial_start(run)
        self._callback.log_trial_end(run, failed=failed)

    def _log(self, run: LoggedRun, values: dict[str, Any]) -> None:
        self._callback.log_trial_result(run.epoch, run, {"training_iteration": run.epoch, **values})


def _test(folder: RunFolder) -> dict[str, float]:
    """Test metrics of a run that has ended."""
    path = folder.file("test.json")
    return TestRecord.model_validate_json(path.read_bytes()).metrics if path else {}


def _short(said: object) -> str:
    """The first line of an error or a reason, with the kind of an error that says nothing."""
    lines = str(said).strip().splitlines() or [type(said).__name__]
    return lines[0][:300]
