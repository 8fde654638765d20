"""TensorBoard event files of a run, in its folder: the curves of its epochs, and its row in the table of
hyperparameters."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary
from tensorboardX.summary import hparams

from sweep.runs.records import Run
from sweep.training.epoch_record import EpochRecord

FLUSH_EVERY = 5.0
"""Seconds between two moments at which a live TensorBoard sees more."""


class EventWriter:
    """Writes every number of an epoch under its name; ``step`` is the epoch. It writes in the caller's thread, so that
    a full disk is the caller's OSError (tensorboardX's SummaryWriter dies of it in a thread of its own)."""

    def __init__(self, run: Run, folder: Path, from_epoch: int) -> None:
        self._writer = EventsWriter(str(folder / "events"), filename_suffix=f".{from_epoch}")
        # TensorBoard forgets what an interrupted run wrote after its last checkpoint.
        start = SessionLog(status=SessionLog.START)
        self._writer.write_event(Event(wall_time=time.time(), step=from_epoch, session_log=start))
        shown = [f"end/{split}_{run.metric}" for split in ("validation", "test")]
        table, row, self._end_of_row = hparams(table_row(run), dict.fromkeys(shown))
        for summary in (table, row):
            self._writer.write_event(Event(wall_time=time.time(), summary=summary))
        self._flushed = time.monotonic()

    def add(self, record: EpochRecord) -> None:
        """Write the numbers of one epoch. Raises OSError where they cannot be written."""
        self._write(record.epoch, scalars(record))
        if time.monotonic() - self._flushed > FLUSH_EVERY:
            self._writer.flush()
            self._flushed = time.monotonic()

    def end(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Write what the run led to, at its selected epoch. Raises OSError as :meth:`add` does."""
        self._write(epoch, {f"end/{name}": value for name, value in metrics.items()})
        self._writer.write_event(Event(wall_time=time.time(), summary=self._end_of_row))

    def _write(self, epoch: int, values: Mapping[str, float]) -> None:
        shown = [Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        self._writer.write_event(Event(wall_time=time.time(), step=epoch, summary=Summary(value=shown)))

    def close(self) -> None:
        self._writer.close()


def scalars(record: EpochRecord) -> dict[str, float]:
    """Collect the numbers of an epoch under the names of their curves."""
    values = {"loss": record.loss, "learning_rate": record.learning_rate, **record.metrics}
    values |= {f"diagnostics/{name}": value for name, value in record.diagnostics.items()}
    return {name.replace("validation_", "validation/"): value for name, value in values.items()}


def table_row(run: Run) -> dict[str, str | float | bool]:
    """Collect what was chosen for a run, by the names of the configuration: its row in TensorBoard's table."""
    chosen: dict[str, Any] = {"method": run.method, "dataset": run.dataset, **run.hyperparameters}
    chosen |= {f"train.{name}": value for name, value in run.train.model_dump().items()}
    chosen |= {
        f"encoders.{modality}.{name}": value
        for modality, encoder in run.encoders.items()
        for name, value in encoder.items()
    }
    chosen |= {"epochs": run.epochs, "seed": run.seed, "workers": run.workers}
    return {
        name: value if isinstance(value, str | int | float) else json.dumps(value)
        for name, value in chosen.items()
        if value is not None
    }
