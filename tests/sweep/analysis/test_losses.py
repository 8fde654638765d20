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


def test_each_dataset_and_split_of_data_has_its_own_chance_level() -> None:
    known = runs(test_shapley_right=[0.2, 0.2, math.nan, math.nan])
    validation = known.rename(columns=lambda name: name.replace("test_", "validation_"))
    assert chance_level(validation, "validation_accuracy") == pytest.approx(0.2)
    other = known.assign(dataset="other", test_accuracy=[0.9, 1.0, math.nan, math.nan], label=["a", "a", "b", "b"])
    found = losses_table(pd.concat([known, other]), ["label", "dataset"], "test_accuracy")
    assert list(found) == ["label", "dataset", "seeds", "lost", "mean"]
    assert found[["label", "dataset", "seeds", "lost"]].to_numpy().tolist() == [
        ["a", "d", 4, 1],
        ["a", "other", 2, 0],
        ["b", "other", 2, 1],
    ]
    assert found["mean"].tolist() == pytest.approx([1.9 / 3, 0.95, 0.3])


def test_a_run_that_was_repeated_counts_once_and_none_has_no_mean() -> None:
    known = runs(seed=[0, 0, 1, 1], test_shapley_right=[0.2, 0.2, math.nan, math.nan])
    (row,) = losses_table(known, ["label", "dataset"], "test_accuracy").to_dict("records")
    assert (row["seeds"], row["lost"], row["mean"]) == (2, 1, pytest.approx((0.8 + 0.2) / 2))
    none = known.assign(status="running")
    assert math.isnan(losses_table(none, ["label", "dataset"], "test_accuracy")["mean"][0])
    assert losses_table(none.iloc[:0], ["label", "dataset"], "test_accuracy").empty
    absent = losses_table(known.assign(status="done"), ["label", "dataset"], "test_map")
    assert math.isnan(absent["mean"][0])
