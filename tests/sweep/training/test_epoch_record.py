"""The record of an epoch is read as it was written, also those from before there were phases."""

from __future__ import annotations

import math
from typing import Any

import pytest
from pydantic import ValidationError

from sweep.training.epoch_record import EpochRecord


def fields(**changed: Any) -> dict[str, Any]:
    return {
        "epoch": 3, "epochs": 5, "selectable": 2, "loss": 0.5, "learning_rate": 0.1, "seconds": 2.0, "samples": 45,
        "forward_passes": 90.0, "samples_per_second": 22.5, "peak_memory_mib": 8.0,
        "metrics": {"validation_accuracy": 0.25}, "diagnostics": {}, **changed,
    }  # fmt: skip


def test_a_record_is_read_as_it_was_written_with_what_is_no_number() -> None:
    record = EpochRecord.model_validate(fields(phase="joint", metrics={"validation_map": math.nan}))
    again = EpochRecord.model_validate_json(record.model_dump_json())
    assert math.isnan(again.metrics["validation_map"])
    assert {**again.model_dump(), "metrics": {}} == {**record.model_dump(), "metrics": {}}


def test_before_there_were_phases_any_epoch_could_be_selected() -> None:
    early = fields()
    del early["selectable"]
    assert EpochRecord.model_validate(early).selectable == 3
    assert EpochRecord.model_validate(fields(selectable=None)).selectable is None
    assert EpochRecord.model_validate(fields()).selectable == 2


@pytest.mark.parametrize("changed", [{"temperature": 1.0}, {"epoch": None}])
def test_what_is_no_record_is_refused(changed: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        EpochRecord.model_validate(fields(**changed))
    with pytest.raises(ValidationError):
        EpochRecord.model_validate([1, 2])


def test_a_record_does_not_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        EpochRecord.model_validate(fields()).epoch = 4  # type: ignore[misc]
