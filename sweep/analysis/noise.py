"""Noise of runs and of their differences, beyond what the runs of a seed share. Pure functions of arrays."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from sweep.analysis.two_way import SIGNIFICANCE

WILD = 5.0
"""A configuration scatters wildly where its deviation is so many times the median of all."""
FEWEST_ROWS, FEWEST_SEEDS = 6, 3
"""Of fewer configurations, or seeds, the median says too little."""


@dataclass(frozen=True)
class DifferenceNoise:
    """Variances of one difference with their degrees of freedom: of the family, and [k] each difference's own.

    run: deviation of one run, pooled over all that do not scatter wildly; pooled: whether the family's is twice its
    square; wild: bool [k], which differences are to a configuration that does."""

    variance: float
    freedom: float
    own_variance: np.ndarray
    own_freedom: np.ndarray
    run: float
    pooled: bool
    wild: np.ndarray

    def of_wider_interval(self) -> tuple[np.ndarray, np.ndarray]:
        """Give deviation and degrees of freedom [k] of which the 95 % interval is wider."""
        pairs = (self.variance, self.freedom), (self.own_variance, self.own_freedom)
        widths = [np.sqrt(variance) * student_quantile(freedom) for variance, freedom in pairs]
        own = widths[1] > widths[0]
        return np.sqrt(np.where(own, self.own_variance, self.variance)), np.where(own, self.own_freedom, self.freedom)


def difference_noise(values: np.ndarray, floor: float) -> DifferenceNoise:
    """Measure the noise of differences to the first row. What scatters wildly (a run of it has collapsed, say) is left
    out of the noise of the family: else nothing could be found of any of the others."""
    rows, places = _different_rows(values)
    wild = wild_rows(rows)
    (run, freedom), (rest, rest_freedom) = pooled_noise(rows[~wild]), pooled_noise(rows[~wild][1:])
    run = max(run, floor)
    if rest_freedom < 1:  # one configuration alone: the noise of the difference is its own
        own = np.full(len(values) - 1, 2 * run**2)
        none = np.zeros(len(own), bool)
        return DifferenceNoise(2 * run**2, freedom, own, np.full(len(own), float(freedom)), run, True, none)
    scatter, degrees, others = _scatters(rows, ~wild)
    scatter, rest = np.maximum(scatter, floor**2), max(rest, floor) ** 2
    pooled = not scatter[0] > rest * (1 + 1 / others[0]) + 1e-18
    one: tuple[Any, Any] = (run**2, freedom) if pooled else (scatter[0], degrees[0])
    variance, freedom_of = 2 * run**2, float(freedom)
    if not pooled:
        variance, freedom_of = map(float, sum_of_variances(*one, rest * (1 - 1 / others[0]), rest_freedom))
    own, own_freedom = sum_of_variances(*one, scatter[places[1:]], degrees[places[1:]])
    return DifferenceNoise(variance, freedom_of, own, own_freedom, run, pooled, wild[places[1:]])


def wild_rows(values: np.ndarray) -> np.ndarray:
    """Tell which rows but the first scatter more than WILD times as much as the median row, beyond what the runs of a
    seed share (its median). None where there are fewer than FEWEST_ROWS rows of FEWEST_SEEDS: of equal normal noise one
    row in a thousand, at most, is called wild."""
    wild = np.zeros(len(values), bool)
    enough = (~np.isnan(values)).sum(1) >= FEWEST_SEEDS
    if enough.sum() < FEWEST_ROWS:
        return wild
    found = values[enough]
    beside = found - np.nanmedian(found, axis=1, keepdims=True)
    beside = beside - np.nanmedian(beside, axis=0)
    deviations = np.nanstd(beside, axis=1, ddof=1)
    wild[enough] = deviations > WILD * np.median(deviations) + 1e-12
    wild[0] = False
    return wild


def sum_of_variances(one: Any, one_freedom: Any, other: Any, other_freedom: Any) -> tuple[Any, Any]:
    """Add two independent variances; the degrees of freedom of the sum are Satterthwaite's."""
    with np.errstate(invalid="ignore", divide="ignore"):
        squares = one**2 / one_freedom + other**2 / other_freedom
        freedom = np.where(squares > 0, (one + other) ** 2 / squares, one_freedom)
    return one + other, freedom


def _scatters(values: np.ndarray, counted: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Give of each row [k + 1] its variance about the means of the other rows that are ``counted`` under common seeds,
    the degrees of freedom of that, and how many others there are a seed; NaN for fewer than two common seeds.

    Of equal noise s it is expected to be s² (1 + 1 / others)."""
    known = ~np.isnan(values)
    used = known & counted[:, None]
    others = used.sum(0) - used
    common = known & (others > 0)
    counts = common.sum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        means = (np.where(used, values, 0).sum(0) - np.where(used, values, 0)) / others
        beside = np.where(common, values - means, 0)
        centred = np.where(common, beside - (beside.sum(1) / counts)[:, None], 0)
        variance = np.where(counts > 1, (centred**2).sum(1) / (counts - 1), np.nan)
        return variance, np.where(counts > 1, counts - 1.0, np.nan), (others * common).sum(1) / counts


def pooled_noise(values: np.ndarray) -> tuple[float, int]:
    """Give the deviation of one run beyond its configuration's mean and what its seed shares, and its degrees of
    freedom. values: [configurations, seeds], NaN where there is no run; NaN for none. A configuration that repeats
    another under every seed, as a method does whose weight of its loss is 0, counts once: it is no second sign of
    little noise."""
    values, _ = _different_rows(values)
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


def _different_rows(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Leave out the rows that repeat an earlier one; where no two differ, all stay. Beside them the place of each row
    among those that are left."""
    lines = [row.tobytes() for row in values.round(12) + 0.0]
    first = {line: place for place, line in reversed(list(enumerate(lines)))}
    kept = sorted(first.values())
    if len(kept) < 2:
        return values, np.arange(len(values))
    return values[kept], np.array([kept.index(first[line]) for line in lines])


def student_quantile(freedom: Any, level: float = SIGNIFICANCE) -> np.ndarray:
    """Give the |t| that is significant at ``level`` on its own."""
    from scipy.special import stdtrit

    return np.asarray(stdtrit(freedom, 1 - level / 2))
