"""The part that all services have in common: a thread for each that tells its client of runs, as their folders hold
them."""

from __future__ import annotations

import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from queue import SimpleQueue
from typing import Any, Protocol

from sweep.config import Sweep
from sweep.engine.progress import Progress, describe
from sweep.engine.tasks import Task
from sweep.runs.records import FinalRecord, TestRecord
from sweep.runs.run_folder import RunFolder
from sweep.runs.store import Store

SETTINGS = {"MLFLOW_DISABLE_TELEMETRY": "true", "WANDB_SILENT": "true"}
"""Of the services' packages, which read them as they are imported."""
LOOK_EVERY = 3.0
"""Seconds between two looks at the epochs of a run under way."""
PATIENCE = 120.0
"""Seconds without any progress after which the end of a sweep waits no longer for a service."""
SHOWN = ("selected_epoch", "epochs_trained", "seconds", "forward_passes", "peak_memory_mib")
"""Numbers of how a run ended, besides its metrics."""


class ServiceClient(Protocol):
    """A connection to one service; whatever it raises ends it. ``SERVICE_logger.connect`` makes one."""

    def start(self, key: str, name: str, parameters: Mapping[str, Any]) -> None:
        """Begin a run. key: by which it is told apart from all others, also of other drivers."""

    def log(self, key: str, epoch: int, numbers: Mapping[str, float]) -> None:
        """Add numbers to the curves of a run under way."""

    def end(self, key: str, outcome: Mapping[str, str], failed: bool) -> None:
        """End a run. outcome: how, in words, under ``status`` and ``reason``."""

    def close(self) -> None:
        """Send what has not been sent yet."""


@contextmanager
def logging_to_services(sweep: Sweep, store: Store, progress: Progress) -> Iterator[None]:
    """Log the runs that ``progress`` hears of within it to the services that the sweep asks for. What was trained
    earlier is not logged again; a run that goes on after an interruption appears as a new one, with all its epochs."""
    loggers = [
        ServiceLogger(service, sweep, store, lambda line: progress.say(line, "yellow"))
        for service in sweep.loggers.chosen()
    ]
    progress.listeners += loggers
    try:
        yield
    finally:
        for logger in loggers:
            logger.close()


@dataclass
class _LoggedRun:
    """A run as a service knows it. epoch: the last one that was logged."""

    key: str
    epoch: int = 0


class ServiceLogger:
    """Has one service log the runs that a sweep trains, in a thread of its own: a slow server holds nothing up. One
    that fails is given up, with a line through ``warn``."""

    def __init__(self, service: str, sweep: Sweep, store: Store, warn: Callable[[str], None]) -> None:
        self._service, self._sweep, self._store, self._warn = service, sweep, store, warn
        self._client: ServiceClient
        self._runs: dict[str, _LoggedRun] = {}
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
            service = import_module(f"sweep.engine.loggers.{self._service}_logger")
            remedy = service.REMEDY
            folder = self._store.sweep(self._sweep.name).resolve()
            self._client = service.connect(getattr(self._sweep.loggers, self._service), self._sweep.name, folder)
            while (news := self._news.get()) is not None:
                news()
                self._heard += 1
            for run in self._runs.values():
                self._client.end(run.key, {"status": "interrupted"}, failed=True)
            self._client.close()
        except Exception as error:
            if not self._given_up:
                self._given_up = True
                self._warn(f"{self._service}: {_first_line(error)}; no more runs are logged there; {remedy}")

    def _open(self, task: Task) -> _LoggedRun:
        """Return the run as it is logged, begun where it is not (after a failure that is tried again it is)."""
        if task.hash not in self._runs:
            from sweep.runs.tensorboard import table_row  # tensorboardX takes long to import

            parameters = {"label": task.configuration.label, "run": task.hash, **table_row(task.run)}
            self._runs[task.hash] = run = _LoggedRun(f"{task.hash}-{secrets.token_hex(4)}")
            self._client.start(run.key, describe(task), parameters)
        return self._runs[task.hash]

    def _look(self, task: Task) -> _LoggedRun:
        """Log the epochs since the last look."""
        from sweep.runs.tensorboard import scalars

        run = self._open(task)
        for record in self._store.run(task.hash).epochs():
            if record.epoch > run.epoch:
                run.epoch = record.epoch
                self._client.log(run.key, run.epoch, scalars(record))
        return run

    def _end(self, task: Task, final: FinalRecord) -> None:
        run = self._look(task)
        ends = {name: getattr(final, name) for name in SHOWN} | final.metrics
        ends |= _test_metrics(self._store.run(task.hash))
        self._client.log(
            run.key, run.epoch, {f"end/{name}": value for name, value in ends.items() if value is not None}
        )
        outcome = {"status": final.status} | ({"reason": _first_line(final.reason)} if final.reason else {})
        self._client.end(run.key, outcome, failed=final.status in ("failed", "diverged"))
        del self._runs[task.hash]


def _test_metrics(folder: RunFolder) -> dict[str, float]:
    """Return the test metrics of a run that has ended."""
    path = folder.file("test.json")
    return TestRecord.model_validate_json(path.read_bytes()).metrics if path else {}


def _first_line(said: object) -> str:
    """Return the first line of an error or a reason, or the kind of an error that says nothing."""
    lines = str(said).strip().splitlines() or [type(said).__name__]
    return lines[0][:300]
