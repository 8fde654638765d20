"""Many configurations against one, under shared seeds: Dunnett's test with seeds as blocks, and its power.

Pure functions of arrays. Source: Dunnett, JASA 1955 (many to one); Dunnett and Tamhane, Statistics in Medicine 1991
(step-down); Satterthwaite, Biometrics Bulletin 1946, and Welch, Biometrika 1947 (unequal noise)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from sweep.analysis.noise import difference_noise, student_quantile, sum_of_variances
from sweep.analysis.two_way import COLLAPSE, POWER, SIGNIFICANCE

MOST_SEEDS = 1000


@dataclass(frozen=True)
class ManyToOne:
    """Differences of k configurations to one, each [k].

    mean: over the n common seeds; deviation, freedom: of one difference, those of the wider interval where its own
    scatter judges beside that of the family; p: of no difference, alone; p_adjusted: over the family; all NaN where
    nothing can be judged. family: how many different ones were tested; noise: deviation of one run beyond what its seed
    shares, pooled over all; pooled: whether that judges, or the one's own noise, which is larger."""

    mean: np.ndarray
    n: np.ndarray
    deviation: np.ndarray
    freedom: np.ndarray
    p: np.ndarray
    p_adjusted: np.ndarray
    family: int
    noise: float
    pooled: bool


def many_to_one(values: np.ndarray, floor: float = 0.0) -> ManyToOne:
    """Compare configurations with one under shared seeds.

    values: [k + 1, seeds], the one first, NaN where there is no run; floor: the least noise of a run, that of rounding.

    The noise is pooled over all configurations, beyond what the runs of a seed share; where the one scatters more than
    the others, its own counts, with Satterthwaite's degrees of freedom. A configuration may scatter more, too: its p is
    no smaller than that of Welch's test, which takes its own noise, nor than seeds that collapse allow. One that
    scatters wildly adds nothing to the noise of the others; its own is all that judges it, over the family by
    Bonferroni. Those that are equal under every seed count once in the family."""
    differences = values[1:] - values[:1]
    n = np.count_nonzero(~np.isnan(differences), axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.nansum(differences, axis=1) / n
    noises = difference_noise(values, floor)
    t, alone = _judged(mean, n, noises.variance, noises.freedom)
    _, welch = _judged(mean, n, noises.own_variance, noises.own_freedom)
    judged, single = (n > 1) & ~np.isnan(t), np.fmax(alone, welch)
    lines = [line.tobytes() for line in differences.round(12) + 0.0]
    first = {line: row for row, line in reversed(list(enumerate(lines))) if judged[row]}
    distinct = np.array(sorted(first.values()), int)
    order = distinct[np.lexsort((-t[distinct], single[distinct]))]
    left, least = np.arange(len(order), 0, -1), least_p(n)
    stepped = dunnett_p(t[order], left, noises.freedom)
    adjusted, p = np.full(len(n), np.nan), np.where(judged, np.maximum(single, least), np.nan)
    # Dunnett's test knows the noise of the family alone, which is not that of what scatters wildly.
    times = np.where(noises.wild[order], left, 1)
    floors = np.maximum(left * least[order], times * p[order])
    adjusted[order] = np.minimum(1, np.maximum.accumulate(np.maximum(stepped, floors)))
    adjusted = np.where(judged, [adjusted[first.get(line, row)] for row, line in enumerate(lines)], np.nan)
    deviation, freedom = noises.of_wider_interval()
    freedom = np.where(n > 1, freedom, np.nan)
    return ManyToOne(mean, n, deviation, freedom, p, adjusted, len(distinct), noises.run, noises.pooled)


def least_p(n: Any) -> Any:
    """Give the smallest p-value that n seeds allow: all of one of two configurations may have collapsed."""
    return 2 * COLLAPSE ** np.asarray(n, float)


def _judged(mean: np.ndarray, n: np.ndarray, variance: Any, freedom: Any) -> tuple[np.ndarray, np.ndarray]:
    """Compute |t| and its p-value; t is 0 for a difference of zero without noise, NaN for another one."""
    from scipy.special import stdtr

    deviation = np.sqrt(np.broadcast_to(variance, mean.shape))
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.abs(mean) / deviation * np.sqrt(n)
    t = np.where(deviation > 1e-12, t, np.where(np.abs(mean) < 1e-12, 0.0, np.nan))
    return t, np.asarray(2 * stdtr(freedom, -t))


# Dunnett's distribution ----------------------------------------------------------------------------------------


@lru_cache(maxsize=2)
def _nodes(count: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Give quantiles in (0, 1), denser towards both ends, where few degrees of freedom have long tails, and the share
    that each stands for."""
    places, shares = np.polynomial.legendre.leggauss(count)
    angles = math.pi * (places + 1) / 2
    return (1 - np.cos(angles)) / 2, shares * math.pi / 4 * np.sin(angles)


@lru_cache(maxsize=1)
def _normal_nodes() -> tuple[np.ndarray, np.ndarray]:
    normal, weights = np.polynomial.hermite_e.hermegauss(41)
    return normal, weights / weights.sum()


def _chi(freedom: Any, count: int = 40) -> np.ndarray:
    """Give quantiles of a sample deviation at the nodes, of a deviation of one, [..., nodes]."""
    from scipy.special import gammaincinv

    half = np.asarray(freedom, float)[..., None] / 2
    return np.sqrt(gammaincinv(half, _nodes(count)[0]) / half)


def dunnett_p(t: Any, k: Any, freedom: Any) -> np.ndarray:
    """Compute the chance that any of k differences to one common value, without effect, has an absolute t of ``t`` or
    more. t, k: [...] or numbers; freedom: degrees of the noise, so too; NaN where there are less than one."""
    from scipy.special import ndtr

    t, k, freedom = np.asarray(t, float), np.asarray(k, float), np.asarray(freedom, float)
    normal, weights = _normal_nodes()
    reach = math.sqrt(2) * (np.abs(t)[..., None] * _chi(np.maximum(freedom, 1)))[..., None]
    within = ndtr(reach + normal) - ndtr(normal - reach)
    found = np.clip(1 - (within ** k[..., None, None]) @ weights @ _nodes()[1], 0, 1)
    return np.where(freedom >= 1, found, np.nan)


# Power ---------------------------------------------------------------------------------------------------------

COARSE = 16
"""Nodes of a sample deviation in sums over two of them."""


def critical_t(k: int, freedom: Any, level: float = SIGNIFICANCE) -> np.ndarray:
    """Give the t that is significant at ``level`` for the largest of k differences; freedom: [...] or a number."""
    most = np.full(np.shape(freedom), 1000.0)
    return _falling(lambda t: dunnett_p(t, k, freedom), level, np.zeros_like(most), most)


@lru_cache(maxsize=256)
def _least_noncentrality(n: int, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Give what a difference must reach, in its deviations, to be found among k with n seeds, by the scatter of the one
    and of the configuration; and the shares of these cases. Both [cases], for equal noise."""
    if k == 1:
        return critical_t(1, n - 1) * _chi(n - 1), _nodes()[1]
    scatter, shares = (1 + 1 / k) * _chi(n - 1, COARSE) ** 2, _nodes(COARSE)[1]
    more, pooled = scatter > 1 + 1 / k, k * (n - 1)
    sums, freedom = sum_of_variances(scatter, n - 1, 1 - 1 / k, (k - 1) * (n - 1))
    family = critical_t(k, np.where(more, freedom, pooled)) * np.sqrt(np.where(more, sums, 2) / 2)
    one = np.where(more, scatter, 1.0)[:, None], np.where(more, n - 1, pooled)[:, None]
    own, own_freedom = sum_of_variances(*one, scatter, n - 1)
    welch = student_quantile(own_freedom) * np.sqrt(own / 2)
    return np.maximum(family[:, None], welch).ravel(), np.outer(shares, shares).ravel()


def power(difference: float, noise: float, n: int, k: int) -> float:
    """Give the probability that a difference is found, as the largest of k, by :func:`many_to_one` with n seeds.

    noise: deviation of one run beyond what its seed shares, in the unit of the difference."""
    if n < 2 or k * least_p(n) >= SIGNIFICANCE:
        return 0.0
    from scipy.special import ndtr

    least, shares = _least_noncentrality(n, k)
    noncentrality = difference / (noise * math.sqrt(2 / n)) if noise else math.inf
    return float(ndtr(noncentrality - least) @ shares)


def detectable_difference(noise: float, n: int, k: int) -> float:
    """Give the difference that is found with 80 % probability, as the largest of k, with n seeds; infinite where none
    can be found, NaN where the noise is not known."""
    if math.isnan(noise):
        return math.nan
    if power(math.inf, 1.0, n, k) < POWER:
        return math.inf
    found = _falling(lambda difference: -power(float(difference), 1.0, n, k), -POWER, np.zeros(()), np.full((), 1e4))
    return noise * float(found)


def seeds_needed(difference: float, noise: float, k: int) -> int | None:
    """Give the fewest seeds with which a difference is found with 80 % probability, as the largest of k; None where
    MOST_SEEDS are too few."""
    low, high = 1, MOST_SEEDS
    if power(difference, noise, high, k) < POWER:
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if power(difference, noise, middle, k) >= POWER else (middle, high)
    return high


def _falling(function: Any, level: float, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Find where a falling function of arrays reaches ``level``, by bisection."""
    for _ in range(60):
        middle = (low + high) / 2
        above = function(middle) > level
        low, high = np.where(above, middle, low), np.where(above, high, middle)
        if np.all(high - low < 1e-7 * high):
            break
    return high
