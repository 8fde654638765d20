"""Statistics over seeds against scipy, naive loops, hand calculation and simulation."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from support.seed_frames import frame

from benchmarks import conclusion_rates
from sweep.analysis import statistics

shares = st.floats(0, 1, allow_nan=False)
samples = st.lists(shares, min_size=2, max_size=12)


@given(samples)
def test_interval_equals_scipys(values: list[float]) -> None:
    found = statistics.estimate(values)
    deviation = np.std(values, ddof=1)
    low, high = stats.t.interval(0.95, len(values) - 1, loc=np.mean(values), scale=deviation / math.sqrt(len(values)))
    assert found.mean == pytest.approx(np.mean(values))
    assert found.deviation == pytest.approx(deviation)
    assert found.n == len(values)
    if deviation > 1e-9:
        assert (found.low, found.high) == pytest.approx((max(0, low), min(1, high)))
        whole = statistics.estimate_quantity(values)
        assert (whole.low, whole.high) == pytest.approx((low, high))


def test_interval_by_hand() -> None:
    # t(2, 0.975) = 4.302653; the sample deviation of 1, 2, 3 is 1.
    found = statistics.estimate_quantity([1, 2, 3, math.nan])
    assert found.high - found.mean == pytest.approx(4.302652730 / math.sqrt(3))
    assert (found.mean, found.deviation, found.n) == (2, 1, 3)


def test_one_value_has_no_interval_and_none_has_no_mean() -> None:
    one, none = statistics.estimate([0.5]), statistics.estimate([])
    assert (one.mean, one.n) == (0.5, 1)
    assert math.isnan(one.low)
    assert math.isnan(one.deviation)
    assert none.n == 0
    assert math.isnan(none.mean)


@pytest.mark.parametrize("n", [3, 5, 10])
def test_intervals_cover_the_truth_in_95_of_100_cases(n: int) -> None:
    draws = np.random.default_rng(n).normal(0.9, 0.01, (40_000, n))
    half = statistics.half_width(draws.std(axis=1, ddof=1), n)
    covered = np.mean(np.abs(draws.mean(axis=1) - 0.9) <= half)
    assert 0.945 <= covered <= 0.955


def test_intervals_of_shares_end_at_0_and_1_and_have_a_width() -> None:
    near = statistics.estimate([0.99, 1.0, 0.97])
    assert near.high == 1
    assert near.low == pytest.approx(near.mean - 4.302652730 * np.std([0.99, 1.0, 0.97], ddof=1) / math.sqrt(3))
    assert statistics.estimate([0.01, 0.0, 0.03]).low == 0
    # Seeds that agree: the deviation of rounding, or no interval where the resolution is not known.
    same = statistics.estimate([0.9, 0.9, 0.9], step=0.01)
    assert same.high - same.mean == pytest.approx(4.302652730 * 0.01 / math.sqrt(12) / math.sqrt(3))
    assert math.isnan(statistics.estimate([0.9, 0.9, 0.9]).low)
    table = statistics.summarise(frame({1: [0.9, 0.9, 0.9], 2: [0.9, 0.92, 0.91]}), ["x"], "m")
    assert table["high"][0] - table["mean"][0] == pytest.approx(same.high - same.mean)
    assert statistics.summarise(frame({1: [5.0, 7.0]}), ["x"], "m", share=False)["high"][0] > 1


def test_an_interval_that_is_cut_is_written_by_its_ends() -> None:
    assert statistics.interval_text(0.9, 0.89, 0.91) == "90.0 ± 1.0"
    assert statistics.interval_text(0.995, 0.98, 1.0) == "99.5 (98.0 to 100.0)"
    assert statistics.interval_text(0.9, math.nan, math.nan) == "90.0"
    table = pd.DataFrame({"mean": [0.9, 0.5], "low": [0.8, math.nan], "high": [0.95, math.nan]})
    assert statistics.interval_arms(table) == pytest.approx(np.array([[10, 0], [5, 0]]))


@pytest.mark.parametrize("seeds", [3, 10])
@pytest.mark.parametrize("case", ["normal", "1/50", "1/400"])
def test_intervals_hold_the_truth_where_values_scatter_evenly(case: str, seeds: int) -> None:
    assert conclusion_rates.coverage(case, seeds, sweeps=150) > 0.92


def test_curve_counts_what_it_leaves_out() -> None:
    rows = frame({0.5: [0.4, "failed", 0.6], 0.1: [0.2, 0.4, "missing"], 0.9: ["pruned", "diverged", "running"]})
    table = statistics.curve(rows, "x", "m")
    assert table["value"].tolist() == [0.1, 0.5, 0.9]
    assert table.index.tolist() == [0, 1, 2]
    assert table["mean"].tolist()[:2] == pytest.approx([0.3, 0.5])
    assert math.isnan(table["mean"][2])
    assert table["n"].tolist() == [2, 2, 0]
    assert table["failed"].tolist() == [0, 1, 2]
    assert table["missing"].tolist() == [1, 0, 1]


def test_a_metric_of_an_unfinished_run_does_not_enter() -> None:
    rows = frame({1: [0.2, 0.4]})
    rows.loc[1, "status"] = "pruned"
    assert statistics.curve(rows, "x", "m")["mean"].tolist() == [0.2]


def test_categories_keep_their_order_and_an_unknown_metric_is_empty() -> None:
    table = statistics.curve(frame({"b": [0.1], "a": [0.2], True: [0.3]}), "x", "absent")
    assert table["value"].tolist() == ["b", "a", True]
    assert table["n"].tolist() == [0, 0, 0]
    assert table["missing"].tolist() == [1, 1, 1]


def test_resolution_is_that_of_the_samples_else_the_smallest_step() -> None:
    assert statistics.smallest_step([0.5, 0.58, 0.54, math.nan, 0.5 + 1e-13]) == pytest.approx(0.04)
    assert statistics.smallest_step([0.5, 0.5]) == statistics.smallest_step([]) == 0
    runs = frame({0: [0.5, 0.58, "failed"], 1: [0.9]}).assign(test_samples=[400, 200, None, None])
    assert statistics.resolution(runs.rename(columns={"m": "test_accuracy"}), "test_accuracy") == 1 / 200
    assert statistics.resolution(runs, "m") == pytest.approx(0.08)
    assert statistics.resolution(runs.assign(test_samples=None, test_map=runs["m"]), "test_map") == pytest.approx(0.08)
    assert statistics.resolution(runs, "absent") == 0


def test_what_moves_in_the_same_steps_tells_the_resolution() -> None:
    """Where all networks but a collapsed one are perfect, modalities alone still show how many samples there are."""
    runs = frame({0: [1.0, 1.0], 1: [1.0, 0.5]}).rename(columns={"m": "validation_accuracy"})
    assert statistics.resolution(runs, "validation_accuracy") == 0.5
    told = runs.assign(
        validation_accuracy_left=[0.75, 0.765625, 0.875, 0.75], validation_macro_f1=[0.1, 0.101, 0.102, 0.103]
    )
    for name in ("validation_accuracy", "validation_accuracy_left", "validation_accuracy_right"):
        assert statistics.resolution(told, name) == 1 / 64
    (low, high), *_ = statistics.summarise(told, ["x"], "validation_accuracy")[["low", "high"]].to_numpy()
    half = float(statistics.half_width(1 / 64 / math.sqrt(12), 2))
    assert (low, high) == (pytest.approx(1 - half), 1)
    assert statistics.estimate_runs(told[told["x"].eq(0)], "validation_accuracy").low == pytest.approx(1 - half)


def test_intervals_know_the_size_of_the_test_split() -> None:
    agree = frame({0: [0.9, 0.9, 0.9]}).rename(columns={"m": "test_accuracy"})
    assert math.isnan(statistics.summarise(agree, ["x"], "test_accuracy")["low"][0])
    known = statistics.summarise(agree.assign(test_samples=100), ["x"], "test_accuracy")
    half = statistics.half_width(0.01 / math.sqrt(12), 3)
    assert (known["low"][0], known["high"][0]) == pytest.approx((0.9 - half, 0.9 + half))


def test_holm_by_hand() -> None:
    # Sorted 0.01, 0.02, 0.03, 0.04 times 4, 3, 2, 1, made monotone.
    assert statistics.holm([0.04, 0.01, math.nan, 0.03, 0.02]) == pytest.approx(
        [0.06, 0.04, math.nan, 0.06, 0.06], nan_ok=True
    )


@given(st.lists(shares, max_size=10))
def test_holm_keeps_the_order_and_lies_between_p_and_bonferroni(p: list[float]) -> None:
    adjusted = statistics.holm(p)
    naive = [min(1.0, max((len(p) - sorted(p).index(q)) * q for q in p if q <= mine)) for mine in p]
    order = np.argsort(p, kind="stable")
    assert (np.diff(adjusted[order]) >= 0).all()
    assert (adjusted >= np.array(p)).all()
    assert (adjusted <= np.minimum(1, len(p) * np.array(p)) + 1e-12).all()
    assert adjusted == pytest.approx(naive)


def test_compare_prints_mean_half_width_and_n() -> None:
    rows = frame({0: [0.49, 0.50, 0.51]}).assign(k=[0.1, math.nan, math.nan])
    row = statistics.compare(rows, ["m", "k", "absent"]).iloc[0]
    assert (row["label"], row["n"], row["failed"], row["missing"]) == ("a", 3, 0, 0)
    assert (row["m"], row["k"], row["absent"]) == ("50.0 ± 2.5", "10.0 (n = 1)", "–")


def test_a_seed_is_lost_where_no_run_of_it_finished() -> None:
    rows = frame({0: ["failed", "diverged", 0.6, 0.7, "running"]})
    assert statistics.lost_runs(rows) == {(-1, 0), (-1, 1)}
    assert statistics.lost_runs(pd.concat([rows, frame({0: [0.6]})])) == {(-1, 1)}


# Splits --------------------------------------------------------------------------------------------------------


def on_splits(values: dict[int, list[float]], label: str = "a") -> pd.DataFrame:
    """Runs of one configuration: split -> accuracy of each seed."""
    return pd.concat([frame({0: found}, split=split, label=label) for split, found in values.items()])


def test_intervals_over_splits_are_those_of_the_splits_means() -> None:
    runs = on_splits({0: [0.5, 0.52], 1: [0.6, 0.6, 0.63], 2: [0.4]})
    (row,) = statistics.summarise(runs, ["x"], "m").to_dict("records")
    means = [0.51, 0.61, 0.4]
    half = stats.t.ppf(0.975, 2) * np.std(means, ddof=1) / math.sqrt(3)
    assert (row["mean"], row["high"] - row["mean"]) == pytest.approx((np.mean(means), half))
    assert (row["n"], row["splits"], row["freedom"]) == (6, 3, 3)
    assert row["within"] == pytest.approx(math.sqrt((0.0002 + 0.0006) / 3))
    found = statistics.estimate_runs(runs, "m")
    assert (found.mean, found.high, found.n, found.splits, found.repeats) == pytest.approx(
        (row["mean"], row["high"], 6, 3, 3)
    )


def test_one_split_gives_the_interval_over_seeds() -> None:
    runs = on_splits({3: [0.8, 0.82, 0.87]})
    found, plain = statistics.estimate_runs(runs, "m"), statistics.estimate([0.8, 0.82, 0.87])
    assert dataclasses.astuple(found) == pytest.approx(dataclasses.astuple(plain))
    assert statistics.estimate_runs(runs.iloc[:0], "m").n == 0


def test_a_sensitivity_over_splits_has_the_splits_as_blocks() -> None:
    from sweep.analysis.sensitivity import sensitivity

    # A hundred seeds on each of two splits are two repeats.
    runs = pd.concat([frame({0: [0.5, 0.52] * 50, 1: [0.53, 0.55] * 50}, split=split) for split in (0, 1)])
    found = sensitivity(runs, "x", "m")
    assert found.splits == 2
    assert found.effect is not None
    assert found.effect.freedom == (1, 1)
    assert "100 runs a value on 2 splits" not in found.verdict()
    assert "200 runs a value on 2 splits" in found.verdict()


@pytest.mark.parametrize(
    ("by", "groups", "first"),
    [([], [0, 0, 0, 0, 0], [0]), (["label"], [0, 1, 0, 0, 1], [0, 1]), (["label", "lr"], [0, 1, 2, 0, 1], [0, 1, 2])],
)
def test_groups_are_numbered_in_order_of_appearance_and_what_lacks_a_value_is_one(
    by: list[str], groups: list[int], first: list[int]
) -> None:
    rows = pd.DataFrame({"label": ["b", "a", "b", "b", "a"], "lr": [0.1, np.nan, np.nan, 0.1, np.nan]}, range(5, 10))
    group, keys = statistics.grouped(rows, by)
    assert group.tolist() == groups
    pd.testing.assert_frame_equal(keys, rows[by].iloc[first].reset_index(drop=True))
    assert not len(statistics.grouped(rows.iloc[:0], by)[1])
