"""Ranges of a sweep: the values they stand for, and what lies within them."""

from __future__ import annotations

import pytest

from methods.base.hyperparameters import Choice, Integer, LogUniform, Uniform
from sweep.config import contains

pytest_plugins = ["support.fake_declarations"]


@pytest.mark.parametrize(
    ("space", "inside", "outside"),
    [
        (Uniform(0, 1), [0, 0.5, 1], [-0.1, 1.1, "0.5", None, True]),
        (LogUniform(0.1, 1), [0.1, 1], [0.01]),
        (Integer(1, 3), [1, 2.0, 3], [0, 1.5, 4]),
        (Choice((1, "a", None)), [1, 1.0, "a", None], [2, True, "b"]),
    ],
)
def test_what_a_range_contains(space, inside, outside):
    assert all(contains(space, value) for value in inside)
    assert not any(contains(space, value) for value in outside)
