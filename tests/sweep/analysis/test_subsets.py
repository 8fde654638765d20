"""Columns of the accuracy with a part of the modalities."""

from __future__ import annotations

import math

import pandas as pd

from sweep.analysis.subsets import subset_columns


def test_subsets_stand_by_their_size_and_those_without_a_value_are_left_out() -> None:
    names = ["left+profile", "profile", "none", "left", "a+b+c", "empty"]
    runs = pd.DataFrame(
        {f"test_subset_{name}": [math.nan, 0.5] for name in names} | {"validation_subset_left": [0.1, 0.2]}
    )
    runs["test_subset_empty"] = math.nan
    assert subset_columns(runs) == {
        "none": "test_subset_none",
        "profile": "test_subset_profile",
        "left": "test_subset_left",
        "left + profile": "test_subset_left+profile",
        "a + b + c": "test_subset_a+b+c",
    }
    assert subset_columns(runs, "validation") == {"left": "validation_subset_left"}
    assert subset_columns(runs.drop(columns=list(runs))) == {}
