"""Many configurations against one: scipy's Dunnett test, hand calculation, simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from benchmarks import conclusion_rates
from sweep.analysis.many_to_one import (
    critical_t,
    detectable_difference,
    dunnett_p,
    least_p,
    many_to_one,
    power,
    seeds_needed,
)
from sweep.analysis.noise import pooled_noise


def test_dunnetts_distribution_equals_scipys() -> None:
    draw = np.random.default_rng(0)
    groups = [draw.standard_normal(5) for _ in range(8)]
    expected = stats.dunnett(*groups[1:], control=groups[0], random_state=1)
    assert dunnett_p(expected.statistic, 7, 32) == pytest.approx(expected.pvalue, abs=1e-3)
    # Of one difference it is Student's.
    assert dunnett_p([0.5, 2.0, 4.0], 1, 9) == pytest.approx(2 * stats.t.sf([0.5, 2.0, 4.0], 9), abs=1e-6)
    assert critical_t(1, 9) == pytest.approx(stats.t.isf(0.025, 9), rel=1e-4)
    # Dunnett 1964, table of two-sided 5 % points: 7 treatments, 20 degrees of freedom.
    assert critical_t(7, 20) == pytest.approx(2.86, abs=0.005)
    assert np.isnan(dunnett_p([1.0], 3, 0)).all()


def test_noise_is_what_neither_configuration_nor_seed_explains() -> None:
    draw = np.random.default_rng(1)
    values = draw.standard_normal((4, 6))
    rest = values - values.mean(1, keepdims=True) - values.mean(0) + values.mean()
    noise, freedom = pooled_noise(values)
    assert freedom == 15
    assert noise == pytest.approx(math.sqrt((rest**2).sum() / 15))
    shifted = values + np.arange(6) + 10 * np.arange(4)[:, None]
    assert pooled_noise(shifted)[0] == pytest.approx(noise)
    shifted[0, 1:] = shifted[1, 0] = np.nan  # 18 runs, of 4 configurations and 6 seeds, joined
    assert pooled_noise(shifted)[1] == 18 - 4 - 5
    assert math.isnan(pooled_noise(values[:1])[0])


def test_a_lost_run_costs_its_seed_and_no_more() -> None:
    values = np.random.default_rng(2).standard_normal((4, 6))
    values[2, 3] = np.nan
    found = many_to_one(values)
    assert found.n.tolist() == [6, 5, 6]
    assert found.mean[1] == pytest.approx(np.nanmean(values[2] - values[0]))


def test_equal_configurations_count_once() -> None:
    draw = np.random.default_rng(3)
    values = draw.standard_normal((4, 5))
    twice = many_to_one(np.vstack([values, values[1:2], values[1:2]]))
    assert twice.family == 3
    assert twice.p_adjusted[0] == twice.p_adjusted[3] == twice.p_adjusted[4]


def test_what_repeats_another_is_no_evidence_of_little_noise() -> None:
    values = np.random.default_rng(8).standard_normal((3, 4))
    repeated = np.vstack([values, values[0], values[1], values[0]])
    assert many_to_one(repeated).noise == pytest.approx(many_to_one(values).noise)
    # Two of three are one: what is left of two seeds is one degree of freedom.
    found = many_to_one(np.array([[0.5, 0.6], [0.5, 0.6], [0.52, 0.623]]))
    assert found.mean == pytest.approx([0, 0.0215])
    alone = stats.ttest_rel([0.52, 0.623], [0.5, 0.6]).pvalue
    assert found.p[1] == pytest.approx(max(alone, 0.02))
    assert found.p_adjusted[1] == pytest.approx(float(dunnett_p(stats.t.isf(alone / 2, 1), 2, 1)))
    # Where all are one, nothing differs.
    assert many_to_one(np.array([[0.5, 0.6], [0.5, 0.6]])).p.tolist() == [1]


def test_step_down_of_two_by_hand() -> None:
    # The larger t is judged among two, the smaller alone.
    values = np.random.default_rng(4).normal([[0], [3], [1]], 1, (3, 8))
    found = many_to_one(values)
    assert found.pooled
    t = np.abs(found.mean) / found.noise * math.sqrt(8 / 2)
    assert found.p_adjusted[0] == pytest.approx(max(float(dunnett_p(t[0], 2, 14)), found.p[0]))
    assert found.p_adjusted[1] == pytest.approx(max(float(dunnett_p(t[1], 1, 14)), found.p[1]))


def welch(one: float, one_freedom: float, other: float, other_freedom: float) -> tuple[float, float]:
    """Give the sum of two variances and its degrees of freedom."""
    return one + other, (one + other) ** 2 / (one**2 / one_freedom + other**2 / other_freedom)


def test_a_method_that_scatters_more_is_not_claimed_beyond_its_own_welch_test() -> None:
    values = np.random.default_rng(5).standard_normal((8, 6))
    values[3] *= 20
    values[3] += 30
    found = many_to_one(values)
    own = np.var(values[3] - np.delete(values, 3, axis=0).mean(0), ddof=1)
    # It scatters wildly, so that the noise of the family is that of the other seven.
    assert found.noise == pooled_noise(np.delete(values, 3, axis=0))[0]
    variance, freedom = welch(own, 5, found.noise**2, 30)
    assert found.pooled
    assert found.deviation[2] == pytest.approx(math.sqrt(variance))
    assert found.freedom[2] == pytest.approx(freedom)
    alone = 2 * stats.t.sf(found.mean[2] / math.sqrt(variance / 6), freedom)
    assert found.p[2] == pytest.approx(alone)
    assert found.p_adjusted[2] == pytest.approx(min(1, 7 * alone))
    assert found.deviation[0] < 2 * found.noise


def test_a_method_that_collapsed_under_a_seed_takes_no_power_from_the_others() -> None:
    values = 0.9 + 0.01 * np.random.default_rng(8).standard_normal((12, 5))
    values[1] -= 0.06
    found = many_to_one(values)
    values[7, 2] = 0.1
    beside = many_to_one(values)
    assert beside.p_adjusted[0] < 0.001
    assert beside.p_adjusted[0] == pytest.approx(found.p_adjusted[0], rel=1)
    assert beside.noise == pytest.approx(found.noise, rel=0.1)
    assert beside.p_adjusted[6] > 0.1


def test_where_the_one_scatters_more_its_own_noise_counts() -> None:
    values = np.random.default_rng(6).standard_normal((8, 6))
    values[0] *= 20
    found = many_to_one(values)
    assert not found.pooled
    one = np.var(values[0] - values[1:].mean(0), ddof=1)
    variance, freedom = welch(one, 5, pooled_noise(values[1:])[0] ** 2 * (1 - 1 / 7), 30)
    t = np.abs(found.mean) / math.sqrt(variance / 6)
    assert found.p_adjusted.min() == pytest.approx(max(float(dunnett_p(t.max(), 7, freedom)), found.p[t.argmax()]))
    # A single difference takes the method's own noise, too.
    row = 1 + int(t.argmax())
    own = np.var(values[row] - np.delete(values, row, axis=0).mean(0), ddof=1)
    assert found.p[row - 1] == pytest.approx(
        2 * stats.t.sf(abs(found.mean[row - 1]) / math.sqrt((one + own) / 6), welch(one, 5, own, 5)[1]), abs=1e-9
    )


def test_seeds_that_agree_are_no_proof() -> None:
    # No spread, a step of 0.01: the deviation of a difference is that of rounding, 0.01 / sqrt(6).
    level = np.full((2, 3), 0.5)
    level[1] -= 0.01
    assert many_to_one(level, 0.01 / math.sqrt(12)).p == pytest.approx(2 * stats.t.sf(math.sqrt(18), 2))
    assert many_to_one(level, 0.0).p_adjusted == pytest.approx(math.nan, nan_ok=True)
    assert many_to_one(np.full((2, 3), 0.5)).p_adjusted.tolist() == [1.0]
    # p is never below twice the chance that all seeds of one side collapse where a tenth does.
    for n in (2, 3):
        far = many_to_one(np.array([[0.1] * n, [1.0] * n]), 1e-7)
        assert far.p == far.p_adjusted == pytest.approx(2 * 0.1**n)
    one = many_to_one(np.array([[0.1], [0.9]]))
    assert np.isnan([one.p[0], one.p_adjusted[0]]).all()


@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("case", conclusion_rates.CASES)
def test_equal_methods_are_told_apart_in_one_sweep_of_twenty_at_most(case: str, seeds: int) -> None:
    _, ours = conclusion_rates.false_claims(case, seeds, methods=7, sweeps=100)
    assert ours <= 0.05 + 0.04  # two standard errors of 100 sweeps


@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("case", conclusion_rates.UNEQUAL)
def test_unequal_noise_finds_little_that_is_not_there(case: str, seeds: int) -> None:
    assert conclusion_rates.false_claims(case, seeds, methods=7, sweeps=200)[1] <= 0.05 + 0.03


def test_shared_noise_finds_what_separate_tests_miss() -> None:
    plain, ours = conclusion_rates.difference_power(2, seeds=5, methods=7, sweeps=100)
    assert plain < 0.3
    assert ours > 0.42


@pytest.mark.parametrize(("seeds", "methods"), [(5, 7), (10, 1), (4, 20)])
def test_what_is_said_to_be_found_is_found(seeds: int, methods: int) -> None:
    difference = detectable_difference(1.0, seeds, methods)
    assert power(difference, 1.0, seeds, methods) == pytest.approx(0.8, abs=1e-3)
    found = conclusion_rates.difference_power(difference, seeds, methods, sweeps=200)[1]
    assert found == pytest.approx(0.8, abs=0.08)


def test_seeds_needed_are_the_fewest() -> None:
    needed = seeds_needed(1.0, 1.0, 7)
    assert needed is not None
    assert power(1.0, 1.0, needed, 7) >= 0.8 > power(1.0, 1.0, needed - 1, 7)
    assert seeds_needed(0.001, 1.0, 7) is None
    # Two seeds tell three configurations or more from a baseline in no case.
    assert detectable_difference(0.01, 2, 3) == math.inf
    assert detectable_difference(1.0, 3, 3) < math.inf
    assert seeds_needed(1.0, 1e-9, 3) == 3
    assert seeds_needed(1.0, 1e-9, 1) == 2
    assert math.isnan(detectable_difference(math.nan, 5, 3))


@pytest.mark.parametrize(("seeds", "difference", "noise"), [(2, 1.0, 1.0), (4, 1.0, 0.5), (10, 1.4, 1.0)])
def test_the_power_of_one_difference_is_that_of_the_paired_t_test(seeds: int, difference: float, noise: float) -> None:
    noncentrality = difference / (noise * math.sqrt(2 / seeds))
    expected = stats.nct.sf(stats.t.isf(0.025, seeds - 1), seeds - 1, noncentrality)
    assert power(difference, noise, seeds, 1) == pytest.approx(expected, abs=1e-6)


def test_power_at_its_ends() -> None:
    assert power(1.0, 0.0, 5, 7) == pytest.approx(1)
    assert power(math.inf, 1.0, 1, 1) == power(math.inf, 1.0, 2, 3) == 0
    assert power(math.inf, 1.0, 2, 2) == pytest.approx(1)
    assert detectable_difference(0.0, 5, 7) == 0


def test_what_can_be_found_among_several_stays_as_it_is() -> None:
    # As simulations found them: what is said to be found is found, above.
    assert power(1.0, 0.5, 4, 3) == pytest.approx(0.33826, abs=1e-4)
    assert power(2.0, 1.0, 5, 7) == pytest.approx(0.49691, abs=1e-4)
    assert detectable_difference(0.5, 5, 7) == pytest.approx(0.5 * 2.65241, abs=1e-4)
    assert [seeds_needed(1.0, 1.0, k) for k in (1, 7)] == [18, 26]
    assert seeds_needed(0.126, 1.0, 1) == 991
    assert seeds_needed(0.125, 1.0, 1) is None


def test_the_critical_t_leaves_the_level_outside_of_its_box() -> None:
    box = np.full(7, float(critical_t(7, 20, 0.01)))
    shared = stats.multivariate_t(shape=(np.eye(7) + 1) / 2, df=20, seed=0)
    assert shared.cdf(box, lower_limit=-box) == pytest.approx(0.99, abs=5e-4)
    # Dunnett 1964, two-sided 1 % points: 7 treatments, 20 degrees of freedom.
    assert box[0] == pytest.approx(3.60, abs=0.005)
    assert critical_t(2, [5, 1000]) == pytest.approx([3.03, 2.21], abs=0.01)


def test_a_lost_run_is_judged_over_the_seeds_that_are_left() -> None:
    values = np.random.default_rng(2).standard_normal((4, 6))
    values[2, 3:] = np.nan
    values[3, 1:] = np.nan
    found = many_to_one(values)
    assert found.n.tolist() == [6, 3, 1]
    assert np.isnan([found.p[2], found.p_adjusted[2], found.freedom[2]]).all()
    assert not np.isnan([*found.p[:2], *found.p_adjusted[:2], *found.freedom[:2]]).any()
    assert found.family == 2
    assert least_p(found.n).tolist() == pytest.approx([2e-6, 2e-3, 0.2])
    none = many_to_one(np.array([[0.5, np.nan], [np.nan, 0.6]]))
    assert np.isnan(none.mean).all()
    assert none.family == 0
