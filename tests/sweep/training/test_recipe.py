"""The recipe: strict types, bounds, no unknown keys."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from sweep.training.recipe import Recipe


def test_every_key_has_a_default_and_a_description() -> None:
    assert Recipe().optimizer == "sgd"
    assert Recipe().schedule.name == "constant"
    for field in Recipe.model_fields.values():
        assert field.description


@pytest.mark.parametrize(
    "values",
    [
        {"lr": 0.0},
        {"lr": "0.1"},
        {"lr": float("inf")},
        {"batch_size": 0},
        {"betas": [0.9]},
        {"schedule": {"name": "linear"}},
        {"schedule": {"factor": 1.0}},
        {"learning_rate": 0.1},
    ],
)
def test_what_is_no_recipe_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Recipe.model_validate(values)
