"""Test samples as replicates: hand-made predictions, scipy, and intervals that hold what they should."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from sweep.analysis.items import compare_items, mcnemar_p, right_by_repeat, sampling_deviation
from sweep.analysis.variance_components import components
from sweep.runs.predictions import PREDICTIONS, SamplePredictions, read_predictions


def write(folder: Path, name: str, right: list[int]) -> None:
    """Leave the predictions of a run: which of the samples of class 0 it classifies rightly."""
    classes = np.array([1 - np.array(right)] * 2, np.int32)
    found = SamplePredictions(
        ("multi", "audio"), classes, np.zeros(classes.shape, np.float32), np.zeros(len(right), int)
    )
    (folder / name).mkdir(parents=True)
    (folder / name / PREDICTIONS).write_bytes(found.to_bytes())


def test_predictions_are_found_by_split_and_seed_and_may_be_missing(tmp_path: Path) -> None:
    write(tmp_path, "a", [1, 0, 1])
    write(tmp_path, "b", [1, 1, 1])
    write(tmp_path, "d", [1, 1, 1])
    (tmp_path / "d" / PREDICTIONS).write_bytes(b"torn")
    runs = pd.DataFrame(
        {"hash": [*"abcd"], "seed": [0, 1, 2, 3], "split": 4, "status": ["done", "done", "done", "done"]}
    )
    with pytest.warns(UserWarning, match=r"d/predictions.npz: no predictions: .*; the report does without"):
        found = right_by_repeat(runs, tmp_path)
    assert {key: right.tolist() for key, right in found.items()} == {(4, 0): [1, 0, 1], (4, 1): [1, 1, 1]}
    assert right_by_repeat(runs[:2], tmp_path, "video") == {}


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("labels", np.array(["x", "y"])),
        ("labels", np.array(3)),
        ("classes", np.array([[0.5, 1.0]] * 2)),
        ("heads", None),
    ],
)
def test_predictions_that_hold_something_else_are_told(tmp_path: Path, name: str, values: Any) -> None:
    whole = SamplePredictions(
        ("multi", "audio"), np.zeros((2, 2), np.int32), np.zeros((2, 2), np.float32), np.zeros(2, np.int32)
    )
    arrays = {**np.load(io.BytesIO(whole.to_bytes())), name: values}
    np.savez(tmp_path / PREDICTIONS, **{key: array for key, array in arrays.items() if array is not None})
    with pytest.warns(UserWarning, match="no predictions"):
        assert read_predictions(tmp_path) is None


def test_runs_on_other_test_samples_are_not_compared_sample_by_sample(tmp_path: Path) -> None:
    for name, right in {"a": [1, 0, 1], "b": [1, 1, 1], "c": []}.items():
        write(tmp_path, name, right)
    runs = pd.DataFrame({"hash": [*"abc"], "seed": [0, 1, 2], "split": 0, "status": "done", "test_samples": [3, 4, 0]})
    assert list(right_by_repeat(runs, tmp_path)) == [(0, 0)]
    three, four = np.ones(3), np.ones(4)
    assert compare_items({0: three, 1: three}, {0: four, 1: three}) is None
    assert np.isnan(sampling_deviation([three, four]))


def test_mcnemars_test_is_the_binomial_test_of_discordant_samples() -> None:
    for better, worse in ((0, 0), (5, 1), (3, 3), (0, 9)):
        n = better + worse
        assert mcnemar_p(better, worse) == pytest.approx(stats.binomtest(better, n).pvalue if n else 1)
    first, second = np.array([1.0, 1, 1, 1, 0, 1]), np.array([0.0, 0, 0, 1, 0, 0])
    found = compare_items({3: first, 4: first}, {3: second})
    assert found is not None
    assert (found.difference, found.items, found.seeds) == (pytest.approx(4 / 6), 6, 1)
    assert found.p == pytest.approx(stats.binomtest(4, 4).pvalue)
    assert compare_items({1: first}, {2: second}) is None


def test_the_interval_over_samples_is_that_of_their_mean() -> None:
    draw = np.random.default_rng(1)
    right = [(draw.random(400) < 0.8).astype(float) for _ in range(3)]
    assert sampling_deviation(right) == pytest.approx(np.mean(right, axis=0).std() / 20, rel=0.1)
    other = [(draw.random(400) < 0.8).astype(float) for _ in range(3)]
    found = compare_items(dict(enumerate(right)), dict(enumerate(other)))
    assert found is not None
    half = 1.96 * (np.mean(right, axis=0) - np.mean(other, axis=0)).std() / 20
    assert (found.low, found.high) == pytest.approx((found.difference - half, found.difference + half), abs=0.1 * half)


def test_components_part_seeds_from_splits(tmp_path: Path) -> None:
    values = {0: [0.8, 0.82], 1: [0.9, 0.92], 2: [0.7, 0.72]}
    runs = pd.DataFrame([
        {"hash": f"{split}{seed}", "split": split, "seed": seed, "status": "done", "test_accuracy": value}
        for split, found in values.items()
        for seed, value in enumerate(found)
    ])  # fmt: skip
    found = components(runs, tmp_path)
    assert (found.runs, found.splits) == (6, 3)
    assert found.seed == pytest.approx(np.std([0.8, 0.82], ddof=1))
    assert found.split == pytest.approx(np.sqrt(0.01 - found.seed**2 / 2))
    assert np.isnan(found.sample)
    write(tmp_path, "00", [1, 1, 0, 1])
    assert components(runs, tmp_path).sample == pytest.approx(np.sqrt(0.75 * 0.25 / 4), rel=0.1)
    one = components(runs[runs["split"].eq(0)], tmp_path)
    assert np.isnan(one.split)
    assert np.isnan(components(runs.iloc[:1], tmp_path).seed)


def test_one_seed_is_judged_exactly_and_several_by_resampling() -> None:
    first = {0: np.array([1.0, 1, 1, 1, 0, 1, 1, 0]), 1: np.array([1.0, 1, 0, 1, 1, 1, 1, 0])}
    second = {1: np.array([0.0, 1, 0, 1, 0, 1, 0, 0]), 2: np.zeros(8), 0: np.array([1.0, 0, 0, 1, 1, 0, 1, 0])}
    one = compare_items({0: first[0]}, second, draws=200)
    assert one is not None
    assert (one.difference, one.items, one.seeds) == (0.25, 8, 1)
    assert one.p == pytest.approx(stats.binomtest(3, 4).pvalue)
    several = compare_items(first, second, draws=200)
    assert several is not None
    assert (several.difference, several.items, several.seeds) == (pytest.approx(0.3125), 8, 2)
    # The draws begin alike at each call.
    apart = np.mean([first[seed] - second[seed] for seed in (0, 1)], axis=0)
    weights = np.random.default_rng(0).multinomial(8, np.full(8, 1 / 8), size=200)
    drawn = weights @ apart / 8
    assert (several.low, several.high) == pytest.approx(tuple(np.quantile(drawn, [0.025, 0.975])))
    as_far = np.count_nonzero(np.abs(drawn - 0.3125) >= 0.3125 - 1e-12)
    assert several.p == pytest.approx((1 + as_far) / 201)
    same = compare_items(first, first, draws=200)
    assert same is not None
    assert (same.difference, same.low, same.high, same.p) == (0, 0, 0, 1)


def test_the_deviation_of_few_samples_is_that_of_their_draws() -> None:
    right = [np.array([1.0, 1, 0, 1]), np.array([1.0, 0, 0, 1])]
    weights = np.random.default_rng(0).multinomial(4, np.full(4, 1 / 4), size=50)
    expected = (weights @ np.array([1, 0.5, 0, 1]) / 4).std(ddof=1)
    assert sampling_deviation(right, draws=50) == pytest.approx(expected)
    assert np.isnan(sampling_deviation([]))


def test_of_several_runs_of_one_seed_the_first_with_predictions_counts(tmp_path: Path) -> None:
    for name, right in {"b": [1, 0], "c": [0, 0], "d": [1, 1], "e": [0, 1, 1]}.items():
        write(tmp_path, name, right)
    runs = pd.DataFrame(
        {
            "hash": [*"abcdee"],
            "seed": [0, 0, 0, 1, 2, 3],
            "split": 0,
            "status": ["done"] * 3 + ["failed"] + ["done"] * 2,
        }
    )
    found = right_by_repeat(runs, tmp_path)
    assert {key: right.tolist() for key, right in found.items()} == {(0, 0): [1, 0], (0, 2): [0, 1, 1]}
    sized = runs.assign(test_samples=[2, None, 2, 2, 3, 3])
    assert list(right_by_repeat(sized, tmp_path)) == [(0, 0), (0, 2)]
    other = right_by_repeat(sized, tmp_path, "audio")
    assert [right.tolist() for right in other.values()] == [[1, 0], [0, 1, 1]]
