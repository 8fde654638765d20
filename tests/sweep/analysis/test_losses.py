"""Seeds that were lost, and means that count them at chance level."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from sweep.analysis.losses import chance_level, losses_table


def runs(**columns: object) -> pd.DataFrame:
    found = {"status": ["done", "done", "diverged", "running"], "seed": [0, 1, 2, 3], "label": "a", "dataset": "d"}
    values = {"test_accuracy": [0.8, 0.9, math.nan, math.nan], "test_accuracy_left": [0.5, 0.6, math.nan, math.nan]}
    shapley = {"test_shapley_left": [0.4, 0.5, math.nan, math.nan], "test_imbalance": [0.1, 0.1, math.nan, math.nan]}
    return pd.DataFrame({**found, **values, **shapley, **columns})


def test_losses_count_at_the_share_of_the_most_frequent_class() -> None:
    rows = runs(test_shapley_right=[0.2, 0.2, math.nan, math.nan])
    assert chance_level(rows, "test_accuracy") == pytest.approx(0.2)
    (row,) = losses_table(rows, ["label", "dataset"], "test_accuracy").to_dict("records")
    assert (row["seeds"], row["lost"]) == (4, 1)
    assert row["mean"] == pytest.approx((0.8 + 0.9 + 0.2) / 3)


def test_a_level_that_is_not_known_is_not_made_up() -> None:
    both = runs(test_accuracy_right=[0.5, 0.6, math.nan, math.nan])
    assert math.isnan(chance_level(both, "test_accuracy"))
    assert math.isnan(losses_table(both, ["label", "dataset"], "test_accuracy")["mean"][0])
    assert math.isnan(chance_level(runs(test_map=0.5), "test_map"))
    assert math.isnan(chance_level(runs().drop(columns="test_shapley_left"), "test_accuracy"))


def test_without_losses_the_mean_is_the_mean() -> None:
    rows = runs().assign(status=["done", "done", "missing", "running"])
    (row,) = losses_table(rows, ["label", "dataset"], "test_accuracy").to_dict("records")
    assert (row["lost"], row["mean"]) == (0, pytest.approx(0.85))
