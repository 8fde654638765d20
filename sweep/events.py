"""TensorBoard event files of a run, in its folder."""

from __future__ import annotations

import time
from pathlib import Path

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary

from sweep.records import EpochRecord

FLUSH_EVERY = 5.0
"""Seconds between two moments at which a live TensorBoard sees more."""


class EventWriter:
    """Writes every number of an epoch under its name; ``step`` is the epoch. It writes in the caller's thread, so that
    a full disk is the caller's OSError (tensorboardX's SummaryWriter dies of it in a thread of its own)."""

    def __init__(self, folder: Path, from_epoch: int) -> None:
        self._writer = EventsWriter(str(folder / "events"), filename_suffix=f".{from_epoch}")
        # TensorBoard forgets what an interrupted run wrote after its last checkpoint.
        start = SessionLog(status=SessionLog.START)
        self._writer.write_event(Event(wall_time=time.time(), step=from_epoch, session_log=start))
        self._flushed = time.monotonic()

    def add(self, record: EpochRecord) -> None:
        """The numbers of one epoch. Raises OSError where they cannot be written."""
        values = {"loss": record.loss, "learning_rate": record.learning_rate, **record.metrics}
        values |= {f"diagnostics/{name}": value for name, value in record.diagnostics.items()}
        shown = [
            Summary.Value(tag=name.replace("validation_", "validation/"), simple_value=value)
            for name, value in values.items()
        ]
        self._writer.write_event(Event(wall_time=time.time(), step=record.epoch, summary=Summary(value=shown)))
        if time.monotonic() - self._flushed > FLUSH_EVERY:
            self._writer.flush()
            self._flushed = time.monotonic()

    def close(self) -> None:
        self._writer.close()
