"""TensorBoard event files of a run, in its folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sweep.records import EpochRecord


class EventWriter:
    """Writes every number of an epoch under its name; ``step`` is the epoch."""

    def __init__(self, folder: Path, from_epoch: int) -> None:
        from tensorboardX import SummaryWriter

        # purge_step lets TensorBoard forget what an interrupted run wrote after its last checkpoint.
        self._writer: Any = SummaryWriter(str(folder), purge_step=from_epoch, max_queue=1000, flush_secs=5)

    def add(self, record: EpochRecord) -> None:
        values = {"loss": record.loss, "learning_rate": record.learning_rate, **record.metrics}
        values |= {f"diagnostics/{name}": value for name, value in record.diagnostics.items()}
        for name, value in values.items():
            self._writer.add_scalar(name.replace("validation_", "validation/"), value, record.epoch)

    def close(self) -> None:
        self._writer.close()
