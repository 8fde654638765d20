"""Options added later: without them an identity is what it was, and old records are read as they were meant."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel, Field

import data
from sweep.runs import records
from sweep.runs.identity import run_hash
from sweep.runs.later_options import with_later, without_later
from sweep.runs.records import Run


class Inner(BaseModel):
    every: int = 1
    warmup: int = Field(5, json_schema_extra={"as_before": 0})


class Outer(BaseModel):
    rate: float = 0.1
    nesterov: bool = Field(True, json_schema_extra={"as_before": False})
    inner: Inner | None = Inner()
    many: dict[str, Inner] = {}


@pytest.mark.parametrize(
    ("values", "left"),
    [
        ({"rate": 0.1, "nesterov": False}, {"rate": 0.1}),
        ({"rate": 0.1, "nesterov": True}, {"rate": 0.1, "nesterov": True}),
        ({"inner": {"every": 2, "warmup": 0}}, {"inner": {"every": 2}}),
        ({"inner": {"every": 2, "warmup": 5}}, {"inner": {"every": 2, "warmup": 5}}),
        ({"inner": None}, {"inner": None}),
        ({"many": {"a": {"every": 2, "warmup": 0}}}, {"many": {"a": {"every": 2, "warmup": 0}}}),
    ],
)
def test_a_later_option_that_changes_nothing_is_left_out(values: dict[str, Any], left: dict[str, Any]) -> None:
    assert without_later(Outer, values) == left


def test_a_record_without_a_later_option_is_read_as_it_was_meant() -> None:
    assert with_later(Outer, {"rate": 0.2}) == {"rate": 0.2, "nesterov": False}
    assert with_later(Outer, {"inner": {"every": 2}, "nesterov": True}) == {
        "inner": {"every": 2, "warmup": 0},
        "nesterov": True,
    }
    assert Outer().nesterov, "the default of a sweep written now"


class Recipe(records.Recipe):
    nesterov: bool = Field(True, json_schema_extra={"as_before": False})


class LaterRun(Run):
    train: Recipe


def test_an_option_of_the_recipe_that_is_added_later_changes_no_hash(
    monkeypatch: pytest.MonkeyPatch, recorded: Run
) -> None:
    before = run_hash(recorded)
    monkeypatch.setattr(records, "Recipe", Recipe)
    monkeypatch.setattr("sweep.runs.identity.Run", LaterRun)
    read = LaterRun.model_validate_json(recorded.model_dump_json())
    assert not read.train.nesterov
    assert run_hash(read) == before
    planned = read.model_copy(update={"train": Recipe(**recorded.train.model_dump())})
    assert planned.train.nesterov
    assert run_hash(planned) != before


def test_an_option_of_a_dataset_that_is_added_later_changes_no_hash(
    monkeypatch: pytest.MonkeyPatch, recorded: Run
) -> None:
    before, source = run_hash(recorded), data.get("digits")

    class Options(source.Options):  # type: ignore[name-defined, misc]
        blur: float = Field(0.5, json_schema_extra={"as_before": 0.0})

    monkeypatch.setattr(source, "Options", Options)
    assert run_hash(recorded) == before
    assert run_hash(recorded.model_copy(update={"data": {**recorded.data, "blur": 0.0}})) == before
    assert run_hash(recorded.model_copy(update={"data": {**recorded.data, "blur": 0.5}})) != before


def test_the_version_of_the_numbers_belongs_to_the_identity(recorded: Run) -> None:
    hashes = {run_hash(recorded.model_copy(update={"numerics": version})) for version in (0, 1, 2)}
    assert len(hashes) == 3


@pytest.fixture
def recorded() -> Run:
    return Run(
        method="joint",
        hyperparameters={},
        dataset="digits",
        data={"views": ["left", "profile"], "train_samples": 100, "split_seed": 0},
        fingerprint="abc",
        encoders={"left": {"name": "mlp"}, "profile": {"name": "mlp"}},
        train=records.Recipe(),
        epochs=2,
        metric="accuracy",
        patience=None,
        test_peak=False,
        seed=0,
        source={"method": "m", "dataset": "d"},
    )
