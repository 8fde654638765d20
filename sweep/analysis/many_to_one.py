"""Many configurations against one, under shared seeds: Dunnett's test with seeds as blocks, and its power.

Pure functions of arrays. Source: Dunnett, JASA 1955 (many to one); Dunnett and Tamhane, Statistics in Medicine 1991
(step-down)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from sweep.analysis.two_way import COLLAPSE, POWER, SIGNIFICANCE

UNSTEADY = 0.1
"""Chance, of equal noise, at which the one's own scatter counts as another than that of the many."""
MOST_SEEDS = 1000


@dataclass(frozen=True)
class ManyToOne:
    """Differences of k configurations to one, each [k].

    mean: over the n common seeds; deviation: of one difference; freedom: of that; p: of no difference, alone;
    p_adjusted: over the family; all NaN where nothing can be judged. family: how many different ones were tested;
    noise: deviation of one run beyond what its seed shares, pooled over all; pooled: whether that judges, or each
    difference its own scatter."""

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

    The noise is pooled over all configurations, beyond what the runs of a seed share. A difference that scatters more
    is judged by its own scatter, and all are where the one scatters more than the others: then noise is not equal, and
    pooled it would find differences that are none. P-values are no smaller than seeds that collapse allow. Those that
    are equal under every seed count once in the family."""
    differences = values[1:] - values[:1]
    n = np.count_nonzero(~np.isnan(differences), axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.nansum(differences, axis=1) / n
        own = np.sqrt(np.nansum((differences - mean[:, None]) ** 2, axis=1) / (n - 1))
    noise, freedom = pooled_noise(values)
    noise = max(noise, floor)
    pooled = not _scatters_more(values, floor)
    deviation = np.fmax(math.sqrt(2) * noise, own)
    freedom_of = np.where(n > 1, freedom if pooled else np.maximum(n - 1, 1), np.nan)
    t = _statistic(mean, deviation, n)
    judged = (n > 1) & ~np.isnan(t)
    lines = [line.tobytes() for line in differences.round(12) + 0.0]
    first = {line: row for row, line in reversed(list(enumerate(lines))) if judged[row]}
    distinct = np.array(sorted(first.values()), int)
    order = distinct[np.argsort(-t[distinct], kind="stable")]
    left, least = np.arange(len(order), 0, -1), least_p(n)
    alone = _student_p(t, freedom_of)
    stepped = dunnett_p(t[order], left, freedom) if pooled else left * alone[order]
    adjusted = np.full(len(n), np.nan)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(np.maximum(stepped, left * least[order])))
    adjusted = np.where(judged, [adjusted[first.get(line, row)] for row, line in enumerate(lines)], np.nan)
    p = np.where(judged, np.maximum(alone, least), np.nan)
    return ManyToOne(mean, n, deviation, freedom_of, p, adjusted, len(distinct), noise, pooled)


def least_p(n: Any) -> Any:
    """Give the smallest p-value that n seeds allow: all of one of two configurations may have collapsed."""
    return 2 * COLLAPSE ** np.asarray(n, float)


def pooled_noise(values: np.ndarray) -> tuple[float, int]:
    """Give the deviation of one run beyond its configuration's mean and what its seed shares, and its degrees of
    freedom. values: [configurations, seeds], NaN where there is no run; NaN for none. A configuration that repeats
    another under every seed, as a method does whose weight of its loss is 0, counts once: it is no second sign of
    little noise."""
    values = _different_rows(values)
    known = ~np.isnan(values)
    rows, seeds = np.nonzero(known)
    counts = known.sum(1)
    blocks = (seeds[:, None] == np.arange(values.shape[1])).astype(float)
    columns = np.column_stack([values[known], blocks])
    sums = np.zeros((len(values), columns.shape[1]))
    np.add.at(sums, rows, columns)
    centred = columns - (sums / np.maximum(counts, 1)[:, None])[rows]
    basis, sizes, _ = np.linalg.svd(centred[:, 1:], full_matrices=False)
    basis = basis[:, sizes > 1e-9]
    freedom = int(known.sum() - np.count_nonzero(counts) - basis.shape[1])
    if freedom < 1:
        return math.nan, 0
    rest = float(centred[:, 0] @ centred[:, 0] - ((centred[:, 0] @ basis) ** 2).sum())
    return math.sqrt(max(0.0, rest) / freedom), freedom


def _different_rows(values: np.ndarray) -> np.ndarray:
    """Leave out the rows that repeat an earlier one; where no two differ, all stay."""
    first = {row.tobytes(): place for place, row in reversed(list(enumerate(values.round(12) + 0.0)))}
    return values[sorted(first.values())] if len(first) > 1 else values


def _scatters_more(values: np.ndarray, floor: float) -> bool:
    """Tell whether the first row scatters about the means of the others more than noise equal to theirs does."""
    noise, freedom = pooled_noise(values[1:])
    common = ~np.isnan(values[0]) & (~np.isnan(values[1:])).any(0)
    if freedom < 1 or common.sum() < 2:
        return False
    others = np.nanmean(values[1:, common], axis=0)
    per_seed = np.mean(np.count_nonzero(~np.isnan(values[1:, common]), axis=0))
    variance = float(np.var(values[0, common] - others, ddof=1))
    from scipy.special import fdtri

    expected = max(noise, floor) ** 2 * (1 + 1 / per_seed)
    return variance > expected * float(fdtri(int(common.sum()) - 1, freedom, 1 - UNSTEADY)) + 1e-18


def _statistic(mean: np.ndarray, deviation: np.ndarray, n: np.ndarray) -> np.ndarray:
    """Compute |t|; 0 for a difference of zero without noise, NaN for another one."""
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.abs(mean) / deviation * np.sqrt(n)
    none = ~(deviation > 1e-12)
    return np.where(none, np.where(np.abs(mean) < 1e-12, 0.0, np.nan), t)


def _student_p(t: np.ndarray, freedom: np.ndarray) -> np.ndarray:
    from scipy.special import stdtr

    return np.asarray(2 * stdtr(freedom, -t))


# Dunnett's distribution ----------------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def _nodes() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    normal, weights = np.polynomial.hermite_e.hermegauss(41)
    places, shares = np.polynomial.legendre.leggauss(40)
    # Denser towards both ends, where few degrees of freedom have long tails.
    angles = math.pi * (places + 1) / 2
    return normal, weights / weights.sum(), (1 - np.cos(angles)) / 2, shares * math.pi / 4 * np.sin(angles)


def _chi(freedom: float) -> np.ndarray:
    """Give quantiles of a sample deviation at the nodes, of a deviation of one."""
    from scipy.special import gammaincinv

    return np.sqrt(gammaincinv(freedom / 2, _nodes()[2]) / (freedom / 2))


def dunnett_p(t: Any, k: Any, freedom: float) -> np.ndarray:
    """Compute the chance that any of k differences to one common value, without effect, has an absolute t of ``t`` or
    more. t: [...]; k: [...] or a number; freedom: degrees of the noise; NaN where there are none."""
    from scipy.special import ndtr

    t, k = np.asarray(t, float), np.asarray(k, float)
    if freedom < 1:
        return np.full(t.shape, np.nan)
    normal, weights, _, shares = _nodes()
    reach = math.sqrt(2) * np.abs(t[..., None, None]) * _chi(freedom)[:, None]
    within = ndtr(reach + normal) - ndtr(normal - reach)
    return np.clip(1 - (within ** k[..., None, None]) @ weights @ shares, 0, 1)


# Power ---------------------------------------------------------------------------------------------------------


def critical_t(k: int, freedom: float, level: float = SIGNIFICANCE) -> float:
    """Give the t that is significant at ``level`` for the largest of k differences."""
    return _falling(lambda t: float(dunnett_p(t, k, freedom)), level, 0.0, 1000.0)


def power(difference: float, noise: float, n: int, k: int) -> float:
    """Give the probability that a difference is found, as the largest of k, by :func:`many_to_one` with n seeds.

    noise: deviation of one run beyond what its seed shares, in the unit of the difference."""
    if n < 2 or k * least_p(n) >= SIGNIFICANCE:
        return 0.0
    from scipy.special import ndtr

    shares, scatter = _nodes()[3], _chi(n - 1)
    noncentrality = difference / (noise * math.sqrt(2 / n)) if noise else math.inf
    alone = float(ndtr(noncentrality - critical_t(1, n - 1, SIGNIFICANCE / k) * scatter) @ shares)
    if k == 1:
        return alone
    # The own scatter counts where it is larger than the pooled one.
    pooled = float(ndtr(noncentrality - critical_t(k, k * (n - 1)) * np.maximum(1, scatter)) @ shares)
    return (1 - UNSTEADY) * pooled + UNSTEADY * alone


def detectable_difference(noise: float, n: int, k: int) -> float:
    """Give the difference that is found with 80 % probability, as the largest of k, with n seeds; infinite where none
    can be found, NaN where the noise is not known."""
    if math.isnan(noise):
        return math.nan
    if power(math.inf, 1.0, n, k) < POWER:
        return math.inf
    return noise * _falling(lambda difference: -power(difference, 1.0, n, k), -POWER, 0.0, 1e4)


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


def _falling(function: Any, level: float, low: float, high: float) -> float:
    """Find where a falling function reaches ``level``, by bisection."""
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if function(middle) > level else (low, middle)
        if high - low < 1e-7 * high:
            break
    return high
