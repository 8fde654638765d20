"""The record of one epoch, which training gives and every reader of results takes."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Record(BaseModel):
    """Base of the typed records: no unknown fields, no changes."""

    # A metric may be NaN (a split without any class in common): it stays NaN when read back.
    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="constants")


class EpochRecord(Record):
    """One epoch, a line of metrics.jsonl. ``epoch`` counts from 1; ``samples`` and ``forward_passes`` since the start
    of training (passes through all encoders, in samples); memory in MiB."""

    epoch: int
    epochs: int
    loss: float
    learning_rate: float
    seconds: float
    samples: int
    forward_passes: float
    samples_per_second: float
    peak_memory_mib: float
    metrics: dict[str, float]
    diagnostics: dict[str, float]
