"""The record of one epoch, which training gives and every reader of results takes."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator


class Record(BaseModel):
    """Base of the typed records: no unknown fields, no changes."""

    # A metric may be NaN (a split without any class in common): it stays NaN when read back.
    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="constants")


class EpochRecord(Record):
    """One epoch, a line of metrics.jsonl. ``epoch`` counts from 1; ``samples`` and ``forward_passes`` since the start
    of training (passes through all encoders, in samples); memory in MiB."""

    epoch: int
    epochs: int
    phase: str = ""
    """Name of the phase that the epoch belongs to; empty in records from before there were phases."""
    selectable: int | None
    """Number of the epoch among those that may be selected, from 1, by which runs are judged at equal epochs; None
    where it may not be."""
    loss: float
    learning_rate: float
    seconds: float
    samples: int
    forward_passes: float
    samples_per_second: float
    peak_memory_mib: float
    metrics: dict[str, float]
    """Of the validation split; empty where the epoch was not validated."""
    diagnostics: dict[str, float]

    @model_validator(mode="before")
    @classmethod
    def _all_selectable(cls, values: Any) -> Any:
        """Read records from before there were phases, when any epoch could be selected."""
        if isinstance(values, dict) and "selectable" not in values:
            return {**values, "selectable": values.get("epoch")}
        return values
