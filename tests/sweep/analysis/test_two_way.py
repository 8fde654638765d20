"""Two-way analysis against scipy, hand calculation and simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from benchmarks import conclusion_rates
from sweep.analysis import two_way


def effect(table: np.ndarray, floor: float = 0.0) -> two_way.Effect:
    """Judge a full table [values, seeds]."""
    values, seeds = np.indices(table.shape)
    return two_way.value_effect(table.ravel(), values.ravel(), seeds.ravel(), floor)


def test_two_values_are_judged_by_the_paired_t_test() -> None:
    table = np.array([[1.0, 5.0, 9.0], [4.0, 7.0, 12.0]])
    found = effect(table)
    rest = table - table.mean(0) - table.mean(1)[:, None] + table.mean()
    assert found.noise == pytest.approx(math.sqrt((rest**2).sum() / 2))
    assert found.freedom == (1, 2)
    assert found.p == pytest.approx(stats.ttest_rel(*table).pvalue)


def test_permutation_and_f_agree_where_noise_is_normal() -> None:
    random = np.random.default_rng(3)
    table = random.normal(0, 1, (4, 6)) + 5 * random.normal(0, 1, 6) + np.array([0, 0.5, 1, 1.5])[:, None]
    found = effect(table)
    rest = table - table.mean(0) - table.mean(1)[:, None] + table.mean()
    ratio = 6 * table.mean(1).var(ddof=1) / ((rest**2).sum() / 15)
    assert found.p == pytest.approx(stats.f.sf(ratio, 3, 15), abs=0.02)
    assert found == effect(table)


def test_seeds_without_a_partner_are_no_blocks() -> None:
    metric, values = np.array([0.1, 0.2, 0.4, 0.5]), np.array([0, 0, 1, 1])
    found = two_way.value_effect(metric, values, np.arange(4))
    assert not found.blocked
    assert found.p == pytest.approx(stats.ttest_ind([0.1, 0.2], [0.4, 0.5]).pvalue)
    single = two_way.value_effect(metric[::2], np.array([0, 1]), np.array([0, 0]))
    assert math.isnan(single.p)
    assert math.isnan(single.detectable_range(0.05))


def test_noise_is_no_smaller_than_its_floor() -> None:
    still = np.array([[0.5, 0.5, 0.5], [0.6, 0.6, 0.6]])
    assert effect(still, floor=0.1).p == pytest.approx(stats.f.sf(1.5, 1, 2))
    assert effect(np.full((2, 3), 0.5), floor=0.1).p == 1


def test_two_seeds_are_no_proof_where_all_runs_of_a_value_may_have_collapsed() -> None:
    fallen = np.array([[0.9, 0.91], [0.9, 0.91], [0.9, 0.911], [0.1, 0.1], [0.9, 0.909]])
    found = effect(fallen)
    assert (found.p, found.least) == pytest.approx((5 * 0.1**2, 5 * 0.1**2))
    # So no range at all can be found, where four values leave room for one.
    assert math.isinf(found.detectable_range(0.05))
    assert math.isfinite(effect(fallen[1:]).detectable_range(0.05))
    assert math.isinf(effect(np.full((5, 2), 0.5), floor=0.1).detectable_range(0.05))


def test_the_detectable_range_is_found_in_four_of_five_cases() -> None:
    random = np.random.default_rng(5)
    reach = two_way.Effect(0.5, 1.0, (2, 8), 5.0, True).detectable_range(0.05)
    tables = random.normal(0, 1, (4000, 3, 5)) + np.array([-0.5, 0.0, 0.5])[:, None] * reach
    rest = tables - tables.mean(1, keepdims=True) - tables.mean(2, keepdims=True) + tables.mean((1, 2), keepdims=True)
    ratios = 5 * tables.mean(2).var(1, ddof=1) / ((rest**2).sum((1, 2)) / 8)
    assert np.mean(stats.f.sf(ratios, 2, 8) < 0.05) == pytest.approx(0.8, abs=0.02)


@pytest.mark.parametrize("case", conclusion_rates.CASES)
def test_four_sentences_on_nothing_claim_in_one_report_of_twenty_at_most(case: str) -> None:
    _, ours = conclusion_rates.false_sensitivities(case, seeds=5, sentences=4, reports=100)
    assert ours <= 0.05 + 0.044  # two standard errors of 100 reports


def test_seeds_as_blocks_find_what_a_one_way_test_misses() -> None:
    alone, blocked = conclusion_rates.power(seeds=5, correlation=0.8, sweeps=150)
    assert blocked > 0.9 > 0.7 > alone


def test_three_values_by_hand() -> None:
    table = np.array([[0.1, 0.2, 0.3], [0.15, 0.21, 0.33], [0.2, 0.35, 0.4]])
    found = effect(table)
    rest = table - table.mean(0) - table.mean(1)[:, None] + table.mean()
    noise = (rest**2).sum() / 4
    assert found.noise == pytest.approx(math.sqrt(noise))
    assert (found.freedom, found.runs, found.blocked) == ((2, 4), pytest.approx(3), True)
    assert found.p == pytest.approx(stats.f.sf(3 * table.mean(1).var(ddof=1) / noise, 2, 4))
    assert found.least == pytest.approx(3 * 0.1**3)


def test_few_permutations_are_none_and_ten_seeds_need_none() -> None:
    random = np.random.default_rng(0)
    # Three values of five seeds can be permuted in 6^5 / 3! ways, of four seeds in too few; two values of nine, too.
    assert effect(random.normal(size=(3, 5))).least == 0
    assert effect(random.normal(size=(3, 4))).least == pytest.approx(3e-4)
    assert effect(random.normal(size=(2, 9))).least == pytest.approx(2e-9)
    assert effect(random.normal(size=(3, 9))).least == 0
    assert effect(random.normal(size=(3, 10))).least == pytest.approx(3e-10)


def test_permutations_count_with_the_runs_themselves() -> None:
    # Of 6^5 permutations six rename the values and are as large: about 3.9 of 4999, and the runs.
    table = np.arange(3)[:, None] + 0.01 * np.random.default_rng(0).normal(size=(3, 5))
    assert effect(table).p * 5000 == pytest.approx(5, abs=3)
    assert effect(table).p * 5000 == pytest.approx(round(effect(table).p * 5000), abs=1e-9)
    assert effect(np.tile(np.arange(5.0), (3, 1))).p == 1


def test_a_lost_run_leaves_its_seed_a_block() -> None:
    table = np.array([[0.1, 0.2, 0.35, 0.3], [0.15, 0.21, 0.33, 0.2], [0.2, 0.35, 0.4, 0.1]])
    kept = np.ones((3, 4), bool)
    kept[1, 2] = False
    values, seeds = (each[kept] for each in np.indices((3, 4)))
    found = two_way.value_effect(table[kept], values, seeds)
    dummies = [np.eye(4)[seeds], np.concatenate([np.eye(4)[seeds], np.eye(3)[values]], axis=1)]
    rest = [table[kept] - each @ np.linalg.lstsq(each, table[kept], rcond=None)[0] for each in dummies]
    without, full = (float((each**2).sum()) for each in rest)
    assert (found.blocked, found.freedom) == (True, (2, 5))
    assert found.noise == pytest.approx(math.sqrt(full / 5))
    assert found.p == pytest.approx(stats.f.sf((without - full) / 2 / (full / 5), 2, 5))
    assert found.runs == pytest.approx(3 / (1 / 4 + 1 / 3 + 1 / 4))


def test_the_detectable_range_is_that_of_the_noncentral_f() -> None:
    for level in (0.05, 0.01):
        reach = two_way.Effect(0.5, 0.02, (2, 8), 5.0, True).detectable_range(level)
        power = stats.ncf.sf(stats.f.isf(level, 2, 8), 2, 8, 5 * (reach / 0.02) ** 2 / 2)
        assert power == pytest.approx(0.8, abs=1e-4)
    assert math.isfinite(two_way.Effect(0.5, 0.02, (2, 8), 5.0, True, least=0.049).detectable_range(0.05))
    assert math.isinf(two_way.Effect(0.5, 0.02, (2, 8), 5.0, True, least=0.05).detectable_range(0.05))
