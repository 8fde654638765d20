"""Options of a corruption: bounds, what changes nothing, and samples that cannot be corrupted so."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from data.base.corruption import Corruption, modality_refusal, sample_refusal, time_axis


def corruption(**options: Any) -> Corruption:
    return Corruption.model_validate(options)


@pytest.mark.parametrize(
    ("given", "left"),
    [
        ({}, None),
        ({"noise": 0, "share": 0.5, "segment": True, "where": "all"}, None),
        ({"noise": 2, "share": 0}, None),
        ({"noise": 2, "segment": True}, {"noise": 2}),
        ({"drop": 0.1, "segment": True, "share": 0.3}, {"drop": 0.1, "segment": True}),
        ({"shuffle": 0.2, "noise": 1, "share": 0}, {"shuffle": 0.2}),
        ({"noise": 1, "drop": 0.2, "where": "all"}, {"noise": 1, "drop": 0.2, "where": "all"}),
    ],
)
def test_what_changes_nothing_is_left_out(given: dict[str, Any], left: dict[str, Any] | None) -> None:
    assert corruption(**given).without_idle() == (None if left is None else corruption(**left))


@pytest.mark.parametrize(
    "wrong",
    [{"noise": -1}, {"noise": float("inf")}, {"share": 1.1}, {"drop": -0.1}, {"shuffle": 2}, {"where": "train"},
     {"segment": 1}, {"amount": 1}],
)  # fmt: skip
def test_wrong_options_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        corruption(**wrong)


@pytest.mark.parametrize(
    ("shape", "axis"), [((5,), None), ((3, 100), 1), ((1, 64, 80), 2), ((3, 4, 8, 8), 1), ((1,) * 5, None)]
)
def test_time_of_a_sample(shape: tuple[int, ...], axis: int | None) -> None:
    assert time_axis(shape) == axis


def test_an_unknown_modality_is_told_with_the_nearest() -> None:
    assert modality_refusal("mor", ["fou", "mor"]) is None
    assert modality_refusal("more", ["fou", "mor"]) == (
        "no modality called 'more'; did you mean 'mor'? There are: fou, mor"
    )
    assert modality_refusal("xyz", ["fou", "mor"]) == "no modality called 'xyz'; There are: fou, mor"


def test_samples_that_cannot_be_corrupted_so() -> None:
    noise, segment = corruption(noise=1), corruption(drop=0.5, segment=True)
    assert sample_refusal(noise, (2, 8), tokens=True) == (
        "token ids are names, to which no noise can be added; use drop or shuffle"
    )
    assert sample_refusal(noise, (2, 8), tokens=False) is None
    assert "have no time" in str(sample_refusal(segment, (8,), tokens=False))
    assert sample_refusal(segment, (2, 8), tokens=True) is None
    assert sample_refusal(corruption(drop=0.5, shuffle=1), (2, 8), tokens=True) is None
