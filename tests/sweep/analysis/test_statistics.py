"""Statistics over seeds against scipy, naive loops, hand calculation and simulation."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from benchmarks import conclusion_rates
from sweep.analysis import statistics

shares = st.floats(0, 1, allow_nan=False)
samples = st.lists(shares, min_size=2, max_size=12)


def frame(values: dict[object, list[float | str]], seeds: list[int] | None = None, **columns: object) -> pd.DataFrame:
    """Rows of a curve: value -> accuracy of each seed, or the status of a seed without one."""
    rows = [
        {"x": x, "seed": (seeds or list(range(len(found))))[i], "status": v if isinstance(v, str) else "done",
         "m": math.nan if isinstance(v, str) else v, "dataset": "d", "label": "a", **columns}
        for x, found in values.items()
        for i, v in enumerate(found)
    ]  # fmt: skip
    return pd.DataFrame(rows)


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
    assert statistics.smallest_step([0.5, 0.58], items=400) == 1 / 400
    assert statistics.smallest_step([0.5, 0.5]) == statistics.smallest_step([]) == 0


def test_differences_know_the_resolution_of_their_dataset() -> None:
    # On d all seeds are one step of 0.01 above joint training; "other" has a step of its own.
    same, above = frame({0: [0.5, 0.6, 0.7]}), frame({0: [0.51, 0.61, 0.71]})
    other = frame({0: [0.1, 0.1004, 0.2]}, dataset="other")
    table = statistics.differences(pd.concat([above, other]), pd.concat([same, other]), "m", ["label"])
    assert table["p"].tolist() == pytest.approx([2 * stats.t.sf(math.sqrt(18), 2), 1])
    finer = statistics.differences(above, same, "m", ["label"], items=100_000)
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


def test_sensitivity_over_unequal_numbers_of_seeds_is_a_test_without_blocks() -> None:
    # Seeds in common are too few to be blocks: of two values that is the two-sample t test.
    few, many = [0.50, 0.53], [0.54, 0.52, 0.56, 0.55, 0.53, 0.57]
    found = statistics.sensitivity(frame({1: few, 2: many}), "x", "m")
    assert found.p == pytest.approx(stats.ttest_ind(few, many).pvalue, rel=1e-4)
    assert found.n == (2, 6)
    # The noise weighs each value by its degrees of freedom.
    freedom = (np.var(few, ddof=1) + 5 * np.var(many, ddof=1)) / 6
    assert found.noise == pytest.approx(math.sqrt(freedom))
    # A value with one seed has a mean and no deviation.
    single = statistics.sensitivity(frame({1: [0.5], 2: many}), "x", "m")
    assert (single.noise, single.n) == (pytest.approx(np.std(many, ddof=1)), (1, 6))
    assert single.p == pytest.approx(stats.ttest_ind([0.5], many).pvalue, rel=1e-4)


def test_sensitivity_by_hand() -> None:
    # Means 0.50 and 0.58; deviations 0.01 (n = 3) and 0.02 (n = 3): pooled sqrt((2 * 1e-4 + 2 * 4e-4) / 4).
    found = statistics.sensitivity(frame({0.1: [0.49, 0.50, 0.51], 0.2: [0.56, 0.58, 0.60]}), "x", "m")
    noise = math.sqrt(2.5e-4)
    assert found.span == pytest.approx(0.08)
    assert found.noise == pytest.approx(noise)
    assert found.ratio == pytest.approx(0.08 / noise)
    # Of two values with seeds as blocks it is the paired t test.
    assert found.p == pytest.approx(stats.ttest_rel([0.49, 0.50, 0.51], [0.56, 0.58, 0.60]).pvalue, rel=1e-4)
    assert (found.best, found.worst, found.n) == (0.2, 0.1, (3, 3))
    assert found.verdict().startswith("Sensitive: the mean moves by 8.0 points over 2 values")
    assert "best at 0.2, worst at 0.1" in found.verdict()
    words = statistics.sensitivity(frame({"head": [0.49, 0.50, 0.51], "all": [0.56, 0.58, 0.60]}), "x", "m")
    assert "best at all, worst at head" in words.verdict()


def test_a_value_that_diverges_under_every_seed_is_what_sensitive_means() -> None:
    level = [0.50, 0.51, 0.49]
    rows = frame({0.1: level, 0.2: level[::-1], 0.9: ["diverged", "diverged", "failed"]})
    found = statistics.sensitivity(rows, "x", "m")
    assert found.diverged == ((0.9, 3),)
    assert found.verdict().startswith("Sensitive: training diverges under every seed at 0.9 (3 seeds). Over the other")
    alone = statistics.sensitivity(frame({0.1: level, 0.9: ["diverged"]}), "x", "m").verdict()
    assert alone.startswith("Sensitive: training diverges under every seed at 0.9 (1 seed).")
    # One that has not ended under every seed is no such case, and one that failed otherwise tells nothing.
    begun = statistics.sensitivity(frame({0.1: level, 0.2: level, 0.9: ["diverged", "running"]}), "x", "m")
    assert begun.diverged == ()
    broken = statistics.sensitivity(frame({0.1: level, 0.2: level, 0.9: ["failed", "failed"]}), "x", "m")
    assert broken.diverged == ()
    assert broken.verdict().endswith("Nothing is known at 0.9: every run failed.")
    assert not broken.verdict().startswith("Sensitive")


def test_seeds_that_diverged_are_told_beside_the_survivors() -> None:
    found = statistics.sensitivity(frame({0.1: [0.5, 0.51, 0.49], 0.2: [0.6, "diverged", 0.61]}), "x", "m")
    assert found.unstable == ((0.2, 1, 3),)
    assert "Training diverged at 0.2 (1 of 3 seeds): the means there are of the survivors." in found.verdict()


def test_sensitivity_without_effect_is_called_chance() -> None:
    rows = frame({0.1: [0.49, 0.50, 0.51], 0.2: [0.48, 0.50, 0.52], 0.3: [0.50, 0.51, 0.52]})
    assert statistics.sensitivity(rows, "x", "m").verdict().startswith("No sensitivity shown: the mean")


def test_no_sensitivity_is_never_said_without_what_would_have_been_found() -> None:
    rows = frame({0.1: [0.49, 0.50, 0.51], 0.2: [0.48, 0.50, 0.52], 0.3: [0.50, 0.51, 0.52]})
    found = statistics.sensitivity(rows, "x", "m")
    least = f"a range of {100 * found.detectable():.1f} points would have been found with 80 % probability."
    assert found.verdict().endswith(least)
    assert found.detectable(4) > found.detectable()
    corrected = found.verdict(0.8, sentences=4)
    assert "p = 0.800 corrected for 4 sentences" in corrected
    assert f"a range of {100 * found.detectable(4):.1f} points" in corrected
    two = statistics.sensitivity(frame({0.1: [0.2, 0.8], 0.2: [0.9, 0.3]}), "x", "m").verdict()
    assert two.endswith("no range at all would have been found with 80 % probability.")


def test_sensitivity_is_judged_within_seeds() -> None:
    # Seeds differ by ten points, values by one within every seed.
    levels = np.array([0.5, 0.6, 0.7, 0.8])
    wobble = np.array([[0, 1, -1, 0], [1, 0, 0, -1], [-1, 0, 1, 0]]) / 1000
    rows = frame({x: (levels + x + wobble[i]).tolist() for i, x in enumerate((0.0, 0.01, 0.02))})
    found = statistics.sensitivity(rows, "x", "m")
    assert found.p < 0.01
    assert stats.f_oneway(*(levels + x for x in (0.0, 0.01, 0.02))).pvalue > 0.9
    assert "0.2 of it not shared by the runs of a seed" in found.verdict()


def test_sensitivity_says_where_it_cannot_judge() -> None:
    assert "one seed a value" in statistics.sensitivity(frame({1: [0.5], 2: [0.6]}), "x", "m").verdict()
    assert "fewer than two values" in statistics.sensitivity(frame({1: [0.5, 0.6], 2: ["failed"]}), "x", "m").verdict()


def test_sensitivity_without_noise() -> None:
    still = statistics.sensitivity(frame({1: [0.5, 0.5], 2: [0.5, 0.5]}), "x", "m")
    moved = statistics.sensitivity(frame({1: [0.5, 0.5], 2: [0.6, 0.6]}), "x", "m")
    assert (still.ratio, still.p) == (0, 1)
    assert moved.ratio == math.inf
    # The noise counts as that of rounding to steps of 0.1.
    assert moved.p == pytest.approx(stats.f.sf(12, 1, 1), rel=1e-6)


def test_compare_prints_mean_half_width_and_n() -> None:
    rows = frame({0: [0.49, 0.50, 0.51]}).assign(k=[0.1, math.nan, math.nan])
    row = statistics.compare(rows, ["m", "k", "absent"]).iloc[0]
    assert (row["label"], row["n"], row["failed"], row["missing"]) == ("a", 3, 0, 0)
    assert (row["m"], row["k"], row["absent"]) == ("50.0 ± 2.5", "10.0 (n = 1)", "–")
