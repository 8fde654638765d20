"""Noise of runs and differences: against least squares with dummies, and against loops over rows and seeds."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from sweep.analysis.noise import difference_noise, pooled_noise, student_quantile, sum_of_variances, wild_rows

NAN = math.nan
QUIET_ONE = np.array([[0.5, 0.6, 0.55, NAN], [0.52, 0.61, 0.6, 0.7], [0.4, 0.7, NAN, 0.65], [0.52, 0.61, 0.6, 0.7]])
"""The first scatters no more than the others; the last repeats the second."""
WILD_ONE = np.array([[0.5, 0.9, 0.2, 0.6], [0.52, 0.61, 0.6, 0.7], [0.53, 0.62, 0.62, 0.70], [0.51, 0.61, 0.6, 0.69]])


def residuals(values: NDArray[np.float64]) -> tuple[float, int]:
    """Fit a level to each row and seed by least squares; the deviation of the rest and its degrees of freedom."""
    rows, seeds = np.nonzero(~np.isnan(values))
    dummies = np.concatenate([np.eye(len(values))[rows], np.eye(values.shape[1])[seeds]], axis=1)
    level, _, rank, _ = np.linalg.lstsq(dummies, values[rows, seeds], rcond=None)
    freedom = len(rows) - int(rank)
    return math.sqrt(float(((values[rows, seeds] - dummies @ level) ** 2).sum()) / freedom), freedom


def scatter(values: NDArray[np.float64], row: int) -> tuple[float, int, float]:
    """Variance of a row about the mean of the others under each seed, its degrees of freedom, and how many others."""
    apart, beside = [], []
    for seed, value in enumerate(values[row]):
        others = np.delete(values[:, seed], row)
        others = others[~np.isnan(others)]
        if not math.isnan(value) and len(others):
            apart.append(value - others.mean())
            beside.append(len(others))
    return float(np.var(apart, ddof=1)), len(apart) - 1, float(np.mean(beside))


def test_the_noise_of_a_family_is_that_of_all_different_rows() -> None:
    different = QUIET_ONE[:3]
    run, freedom = residuals(different)
    assert freedom == 4
    assert pooled_noise(QUIET_ONE) == (pytest.approx(run), 4)
    found = difference_noise(QUIET_ONE, 0.01)
    assert found.pooled
    assert (found.variance, found.freedom, found.run) == (pytest.approx(2 * run**2), 4, pytest.approx(run))
    for place, row in enumerate((1, 2, 1)):  # the last takes the place of the second, which it repeats
        own, own_freedom, _ = scatter(different, row)
        variance, degrees = sum_of_variances(run**2, 4, own, own_freedom)
        assert (found.own_variance[place], found.own_freedom[place]) == pytest.approx((variance, float(degrees)))


def test_the_wider_interval_is_that_of_the_family_or_a_differences_own() -> None:
    found = difference_noise(QUIET_ONE, 0.01)
    deviation, freedom = found.of_wider_interval()
    family = math.sqrt(found.variance) * stats.t.isf(0.025, 4)
    own = np.sqrt(found.own_variance) * stats.t.isf(0.025, found.own_freedom)
    assert (own > family).tolist() == [False, True, False]
    assert deviation**2 == pytest.approx(np.array([found.variance, found.own_variance[1], found.variance]))
    assert freedom == pytest.approx(np.array([4, found.own_freedom[1], 4]))


def test_where_the_one_scatters_more_the_others_share_is_taken_off() -> None:
    found = difference_noise(WILD_ONE, 0.0)
    one, freedom, others = scatter(WILD_ONE, 0)
    assert (freedom, others) == (3, 3)
    rest, rest_freedom = residuals(WILD_ONE[1:])
    variance, degrees = sum_of_variances(one, 3, rest**2 * (1 - 1 / 3), rest_freedom)
    assert not found.pooled
    assert (found.variance, found.freedom) == pytest.approx((float(variance), float(degrees)))
    assert found.run == pytest.approx(residuals(WILD_ONE)[0])
    for row in (1, 2, 3):
        own = sum_of_variances(one, 3, scatter(WILD_ONE, row)[0], 3)
        assert (found.own_variance[row - 1], found.own_freedom[row - 1]) == pytest.approx(
            (float(own[0]), float(own[1]))
        )


def test_noise_is_no_smaller_than_its_floor() -> None:
    still = np.array([[0.5, 0.5, 0.5], [0.6, 0.6, 0.6], [0.7, 0.7, 0.7]])
    found = difference_noise(still, 0.1)
    assert (found.pooled, found.run, found.freedom) == (True, 0.1, 4)
    assert found.variance == pytest.approx(0.02)
    assert found.own_variance == pytest.approx(np.array([0.02, 0.02]))
    wild = difference_noise(np.array([[0.2, 0.5, 0.8], *still[1:]]), 0.1)
    assert not wild.pooled
    assert wild.variance == pytest.approx(0.09 + 0.01 / 2)


def test_of_one_difference_the_noise_is_its_own() -> None:
    run, freedom = residuals(WILD_ONE[:2])
    assert run == pytest.approx(np.std(WILD_ONE[0] - WILD_ONE[1], ddof=1) / math.sqrt(2))
    found = difference_noise(WILD_ONE[:2], 0.0)
    assert (found.pooled, found.freedom, freedom) == (True, 3, 3)
    assert [found.variance, *found.own_variance] == pytest.approx([2 * run**2] * 2)
    assert found.own_freedom.tolist() == [3]
    assert difference_noise(WILD_ONE[:2], 0.3).variance == pytest.approx(0.18)
    # One common seed is no noise.
    assert math.isnan(difference_noise(WILD_ONE[:2, :1], 0.0).variance)
    assert pooled_noise(WILD_ONE[:2, :1])[1] == 0


def test_the_degrees_of_freedom_of_a_sum_are_satterthwaites() -> None:
    variance, freedom = sum_of_variances(np.array([1.0, 0.0]), 2, np.array([3.0, 0.0]), 4)
    assert variance.tolist() == [4, 0]
    assert freedom.tolist() == pytest.approx([16 / (1 / 2 + 9 / 4), 2])


def test_quantiles_are_students() -> None:
    assert student_quantile([1, 9]) == pytest.approx(stats.t.isf(0.025, [1, 9]))
    assert student_quantile(9, 0.01) == pytest.approx(stats.t.isf(0.005, 9))


def test_two_methods_under_two_seeds_have_noise_of_their_own() -> None:
    """Beside the one there is a single degree of freedom, and that is enough."""
    found = difference_noise(np.array([[0.0, 0.1], [0.0, 0.3], [1.0, 0.4]]), 0.0)
    assert found.own_variance[0] != found.own_variance[1]
    alone = difference_noise(np.array([[0.0, 0.1], [0.0, 0.3]]), 0.0)
    assert alone.own_variance.tolist() == [2 * alone.run**2]


def levels(rows: int, seeds: int) -> NDArray[np.float64]:
    """Rows that deviate from their level and their seed by -1, 0 and 1 in turns."""
    row, seed = np.mgrid[:rows, :seeds]
    return row + 10.0 * seed + (row + 2 * seed) % 3 - 1


@pytest.mark.parametrize(("times", "wild"), [(4.0, False), (6.0, True)])
def test_a_row_is_wild_from_five_times_the_median_deviation(times: float, wild: bool) -> None:
    values = levels(9, 6)
    values[4] += (times - 1) * (values[4] - 4 - 10 * np.arange(6))
    assert wild_rows(values).tolist() == [wild and row == 4 for row in range(9)]


def test_what_each_run_of_a_seed_shares_makes_no_row_wild() -> None:
    values = levels(9, 6)
    values[:, 2] -= 1e6
    assert not wild_rows(values).any()


def test_the_first_row_and_few_rows_or_seeds_are_never_wild() -> None:
    values = levels(9, 6)
    values[[0, 4], 3] += 1000
    assert wild_rows(values).tolist() == [False] * 4 + [True] + [False] * 4
    assert wild_rows(values[:6])[4]
    assert not wild_rows(values[:5]).any()
    values[4, [0, 1, 2]] = NAN
    assert wild_rows(values)[4]
    values[4, 4] = NAN
    assert not wild_rows(values).any()


def test_rows_of_no_noise_are_not_wild() -> None:
    assert not wild_rows(np.full((8, 5), 0.5)).any()


def test_a_wild_row_is_left_out_of_the_noise_of_the_family_and_has_its_own() -> None:
    values = np.random.default_rng(3).standard_normal((9, 5))
    values[5] *= 50
    tame = np.delete(values, 5, axis=0)
    found, expected = difference_noise(values, 0.0), difference_noise(tame, 0.0)
    assert found.wild.tolist() == [row == 4 for row in range(8)]
    assert not expected.wild.any()
    assert (found.run, found.variance, found.freedom) == (expected.run, expected.variance, expected.freedom)
    assert np.delete(found.own_variance, 4).tolist() == expected.own_variance.tolist()
    own, of_the_one = scatter(np.vstack([tame, values[5]]), 8)[0], found.own_variance[0] - scatter(tame, 1)[0]
    assert found.own_variance[4] == pytest.approx(own + of_the_one)


def test_the_sum_of_two_variances_of_nothing_has_the_freedom_of_the_first_and_warns_of_nothing() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        variance, freedom = sum_of_variances(np.zeros(2), np.array([3.0, 5.0]), 0.0, 4.0)
    assert (variance.tolist(), freedom.tolist()) == ([0.0, 0.0], [3.0, 5.0])
