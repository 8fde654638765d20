"""Records of a run: strict, unchangeable, and equal when read back."""

from __future__ import annotations

import math

import pytest
from pydantic import ValidationError
from support.small_runs import make_environment, make_run

from sweep.runs.records import FinalRecord, IndexEntry, Run, TestRecord, is_run_name, is_sweep_name


def test_a_record_is_equal_when_read_back() -> None:
    run, environment = make_run(), make_environment()
    assert Run.model_validate_json(run.model_dump_json()) == run
    assert type(environment).model_validate_json(environment.model_dump_json()) == environment


def test_a_number_that_is_none_stays_so() -> None:
    record = TestRecord(metrics={"test_map": math.nan, "test_accuracy": math.inf})
    metrics = TestRecord.model_validate_json(record.model_dump_json()).metrics
    assert math.isnan(metrics["test_map"])
    assert metrics["test_accuracy"] == math.inf


@pytest.mark.parametrize(
    "text", ['{"status": "done", "colour": 1}', '{"status": "finished"}', '{"status": "failed", "cause": "weather"}']
)
def test_unknown_fields_and_words_are_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        FinalRecord.model_validate_json(text)


@pytest.mark.parametrize("values", [[], {}, {"train": 3}, {"train": None}], ids=str)
def test_a_run_without_a_readable_recipe_is_refused_in_order(values: object) -> None:
    with pytest.raises(ValidationError):
        Run.model_validate(values)


def test_what_a_record_leaves_out_is_as_little_as_there_can_be() -> None:
    final = FinalRecord.model_validate_json('{"status": "done"}')
    assert (final.reason, final.cause, final.failures, final.selected_epoch, final.metrics) == (
        None,
        None,
        [],
        None,
        {},
    )
    assert (final.epochs_trained, final.samples, final.forward_passes, final.seconds) == (0, 0, 0, 0)
    assert (final.seconds_per_epoch, final.samples_per_second, final.peak_memory_mib, final.attempts) == (0, 0, 0, 1)
    fields = make_run().model_dump(exclude={"workers", "numerics"})
    assert (Run.model_validate(fields).workers, Run.model_validate(fields).numerics) == (1, 0)


def test_a_record_cannot_be_changed() -> None:
    final = FinalRecord(status="done")
    with pytest.raises(ValidationError, match="frozen"):
        final.attempts = 2  # type: ignore[misc]
    with pytest.raises(ValidationError, match="role"):
        IndexEntry.model_validate({"hash": "a", "role": "guest"})


@pytest.mark.parametrize(
    ("text", "valid"),
    [("0a9Z", True), ("a" * 64, True), ("a" * 65, False), ("", False), ("../a", False), ("a/b", False), ("a\n", False),
     ("a.b", False), (7, False), (None, False), (b"a", False)],
)  # fmt: skip
def test_only_letters_and_digits_name_a_run(text: object, valid: bool) -> None:
    assert is_run_name(text) is valid


@pytest.mark.parametrize(
    ("text", "valid"),
    [("a", True), ("A1_.+-z", True), ("9", True), ("a" * 100, True), ("a" * 101, False), ("", False), (".a", False),
     ("-a", False), ("a/b", False), ("a b", False), ("a\n", False), ("runs", False), ("runs2", True)],
)  # fmt: skip
def test_a_sweep_s_name_is_a_folder_of_the_results_that_shows(text: str, valid: bool) -> None:
    assert is_sweep_name(text) is valid
