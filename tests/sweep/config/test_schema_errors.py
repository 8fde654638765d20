"""What pydantic finds wrong, in words."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from sweep.config.schema_errors import describe_value, explain
from sweep.training.recipe import Recipe


@pytest.mark.parametrize(
    ("values", "path", "message", "suggestion"),
    [
        ({"lr": "0.1"}, ("lr",), "expected a number, not '0.1'", "take the quotes off"),
        ({"lr": -1.0}, ("lr",), "expected a number above 0, not -1", ""),
        ({"lrr": 1.0}, ("lrr",), "no key of train called 'lrr'", "did you mean lr?"),
        (
            {"optimizer": "sgdd"},
            ("optimizer",),
            "'sgdd' is not possible: expected sgd, adam, adamw",
            "did you mean sgd?",
        ),
        ({"betas": [0.9]}, ("betas",), "expected at least 2 values, not a list", ""),
        ({"schedule": {"factr": 0.1}}, ("schedule", "factr"), "no key called 'factr'", "did you mean factor?"),
    ],
)
def test_a_mistake_says_what_would_have_been_right(
    values: dict[str, Any], path: tuple[str, ...], message: str, suggestion: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        Recipe.model_validate(values)
    (mistake,) = explain(caught.value, Recipe, values, "key of train")
    assert (mistake.path, mistake.message, mistake.suggestion) == (path, message, suggestion)


def test_values_are_named_as_they_are_written() -> None:
    values = [None, True, 0.5, 3, "a", "", {}, [], [1]]
    words = ["null", "true", "0.5", "3", "'a'", "an empty text", "a mapping", "an empty list", "a list"]
    assert [describe_value(value) for value in values] == words
