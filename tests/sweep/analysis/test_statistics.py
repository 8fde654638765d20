"""Statistics over seeds against scipy, naive loops, hand calculation and simulation."""

from __future__ import annotations

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
    far = statistics.paired_shares(pd.Series([1.0, 0.2, 1.0]), pd.Series([0.0, 0.1, 0.0]), 0.1)[0]
    assert (far.low, far.high) == (pytest.approx(-0.59, abs=0.01), 1)


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


@given(st.lists(st.tuples(shares, shares), min_size=2, max_size=9))
def test_paired_test_equals_scipys(pairs: list[tuple[float, float]]) -> None:
    a, b = (pd.Series(side) for side in zip(*pairs, strict=True))
    found, p = statistics.paired(a, b)
    assert found.mean == pytest.approx(float((a - b).mean()))
    if found.deviation > 1e-9:
        assert p == pytest.approx(stats.ttest_rel(a, b).pvalue, rel=1e-6, abs=1e-12)


def test_paired_uses_common_seeds_only() -> None:
    found, p = statistics.paired(pd.Series({0: 0.5, 1: 0.7, 2: 0.9}), pd.Series({1: 0.6, 2: 0.7, 5: 0.1}))
    assert (found.n, found.mean) == (2, pytest.approx(0.15))
    assert p == pytest.approx(stats.ttest_rel([0.7, 0.9], [0.6, 0.7]).pvalue)


def test_paired_without_spread() -> None:
    same = pd.Series([0.5, 0.5, 0.5])
    assert statistics.paired(same, same)[1] == 1
    assert math.isnan(statistics.paired(same, same - 0.25)[1])
    assert math.isnan(statistics.paired(same[:1], same)[1])


def test_seeds_that_agree_are_no_proof() -> None:
    # No spread: the deviation is what rounding both values to steps of 0.01 gives, 0.01 / sqrt(6).
    level = pd.Series([0.5, 0.5, 0.5])
    _, p = statistics.paired_shares(level, level - 0.01, 0.01)
    assert p == pytest.approx(2 * stats.t.sf(math.sqrt(18), 2))
    # p is never below twice the chance that all seeds of one side collapse where a tenth does.
    for n in (2, 3):
        ones = pd.Series(np.ones(n))
        assert statistics.paired_shares(ones, ones - 0.9, 1e-6)[1] == pytest.approx(2 * 0.1**n)
    assert statistics.paired_shares(level, level, 0.01)[1] == 1
    # A spread beyond rounding is judged as it is.
    a, b = pd.Series([0.9, 0.95, 0.93, 0.97]), pd.Series([0.91, 0.90, 0.91, 0.91])
    assert statistics.paired_shares(a, b, 0.01)[1] == pytest.approx(stats.ttest_rel(a, b).pvalue)


def test_resolution_is_that_of_the_samples_else_the_smallest_step() -> None:
    assert statistics.smallest_step([0.5, 0.58, 0.54, math.nan, 0.5 + 1e-13]) == pytest.approx(0.04)
    assert statistics.smallest_step([0.5, 0.5]) == statistics.smallest_step([]) == 0
    runs = frame({0: [0.5, 0.58, "failed"], 1: [0.9]}).assign(test_samples=[400, 200, None, None])
    assert statistics.resolution(runs.rename(columns={"m": "test_accuracy"}), "test_accuracy") == 1 / 200
    assert statistics.resolution(runs, "m") == pytest.approx(0.08)
    assert statistics.resolution(runs.assign(test_samples=None, test_map=runs["m"]), "test_map") == pytest.approx(0.08)
    assert statistics.resolution(runs, "absent") == 0


def test_intervals_know_the_size_of_the_test_split() -> None:
    agree = frame({0: [0.9, 0.9, 0.9]}).rename(columns={"m": "test_accuracy"})
    assert math.isnan(statistics.summarise(agree, ["x"], "test_accuracy")["low"][0])
    known = statistics.summarise(agree.assign(test_samples=100), ["x"], "test_accuracy")
    half = statistics.half_width(0.01 / math.sqrt(12), 3)
    assert (known["low"][0], known["high"][0]) == pytest.approx((0.9 - half, 0.9 + half))


def test_differences_know_the_resolution_of_their_dataset() -> None:
    # On d all seeds are one step of 0.01 above joint training; "other" has a step of its own.
    same, above = frame({0: [0.5, 0.6, 0.7]}), frame({0: [0.51, 0.61, 0.71]})
    other = frame({0: [0.1, 0.1004, 0.2]}, dataset="other")
    table = statistics.differences(pd.concat([above, other]), pd.concat([same, other]), "m", ["label"])
    assert table["p"].tolist() == pytest.approx([2 * stats.t.sf(math.sqrt(18), 2), 1])
    many = {"columns": {"m": "test_accuracy"}}
    above, same = (each.rename(**many).assign(test_samples=100_000) for each in (above, same))
    finer = statistics.differences(above, same, "test_accuracy", ["label"])
    assert finer["p"].tolist() == pytest.approx([0.002])


@pytest.mark.parametrize("seeds", [2, 3, 5, 10])
@pytest.mark.parametrize("case", conclusion_rates.CASES)
def test_equal_methods_are_told_apart_in_one_sweep_of_twenty_at_most(case: str, seeds: int) -> None:
    plain, ours = conclusion_rates.false_claims(case, seeds, methods=7, sweeps=400)
    assert ours <= 0.05 + 0.02  # two standard errors of 400 sweeps
    assert ours <= plain


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


def test_differences_are_paired_within_a_dataset() -> None:
    rows = pd.concat([
        frame({0: [0.6, 0.7, 0.8]}, label="a"),
        frame({0: [0.5, 0.5, "failed"]}, label="b"),
        frame({0: [0.1]}, label="a", dataset="other"),
    ])  # fmt: skip
    table = statistics.differences(rows, frame({0: [0.5, 0.5, 0.5]}), "m", ["label"])
    assert table[["label", "dataset", "n"]].to_numpy().tolist() == [["a", "d", 3], ["b", "d", 2], ["a", "other", 0]]
    assert table["mean"].tolist()[:2] == pytest.approx([0.2, 0.0])
    assert table["p_holm"].tolist()[:2] == pytest.approx([2 * stats.ttest_1samp([0.1, 0.2, 0.3], 0).pvalue, 1.0])
    assert math.isnan(table["p_holm"][2])


def test_differences_count_the_seeds_that_were_lost() -> None:
    rows = frame({0: ["failed", "diverged", 0.6, 0.7, "running"]})
    (row,) = statistics.differences(rows, frame({0: [0.5, 0.5, "pruned"]}), "m", ["label"]).to_dict("records")
    assert (row["n"], row["lost"], row["seeds"], row["baseline_lost"]) == (0, 2, 5, 1)
    again = pd.concat([rows, frame({0: [0.6]})])
    assert statistics.lost_seeds(again) == {1}


def test_of_several_runs_of_one_seed_the_first_counts() -> None:
    twice = frame({0: [0.6, 0.7, 0.1, 0.9]}, seeds=[0, 1, 1, 0])
    base = frame({0: [0.5, 0.5, 0.0]}, seeds=[0, 1, 0])
    (row,) = statistics.differences(twice, base, "m", ["label"]).to_dict("records")
    assert (row["n"], row["mean"]) == (2, pytest.approx(0.15))
    twice.loc[0, "status"] = "failed"
    (row,) = statistics.differences(twice, base, "m", ["label"]).to_dict("records")
    assert (row["n"], row["mean"]) == (2, pytest.approx((0.4 + 0.2) / 2))


def test_compare_prints_mean_half_width_and_n() -> None:
    rows = frame({0: [0.49, 0.50, 0.51]}).assign(k=[0.1, math.nan, math.nan])
    row = statistics.compare(rows, ["m", "k", "absent"]).iloc[0]
    assert (row["label"], row["n"], row["failed"], row["missing"]) == ("a", 3, 0, 0)
    assert (row["m"], row["k"], row["absent"]) == ("50.0 ± 2.5", "10.0 (n = 1)", "–")
