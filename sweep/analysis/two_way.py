"""Two-way analysis of runs: a value of a hyperparameter as factor, the seed as block. Pure functions of arrays."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

DRAWS = 4999
FEW_SEEDS = 10
"""Below so many seeds the metric is permuted within blocks where that can be done often enough; else F judges."""
LEAST_PERMUTATIONS = 1000
SIGNIFICANCE = 0.05
POWER = 0.8
COLLAPSE = 0.1
"""Share of runs that may collapse without a cause in their configuration; no p-value is below what that allows."""


@dataclass(frozen=True)
class Effect:
    """The effect of a factor on runs.

    p: of no effect, NaN where there is no measure of noise; noise: deviation of one run, beyond what its block shares
    where blocked; freedom: degrees of the factor and of the noise; runs: harmonic mean of the runs of a value; blocked:
    whether seeds are blocks; least: below which p cannot be, whatever the runs give."""

    p: float
    noise: float
    freedom: tuple[int, int]
    runs: float
    blocked: bool
    least: float = 0.0

    def detectable_range(self, level: float) -> float:
        """Give the range of means, the others in its middle, that F at ``level`` finds with probability POWER; infinite
        where p cannot be as small."""
        if math.isnan(self.p):
            return math.nan
        if self.least >= level:
            return math.inf
        from scipy.special import fdtri, ncfdtrinc

        noncentrality = ncfdtrinc(*self.freedom, 1 - POWER, fdtri(*self.freedom, 1 - level))
        return float(self.noise * math.sqrt(2 * noncentrality / self.runs))


def value_effect(
    metric: np.ndarray, values: np.ndarray, seeds: np.ndarray, floor: float = 0.0, draws: int = DRAWS
) -> Effect:
    """Judge whether the value moves the metric; [runs] each, values and seeds as numbers of their level from 0.

    Seeds are blocks where that keeps half of the degrees of freedom, and values meet in them. Within blocks of few
    seeds the metric is permuted, alike at each call; else the F test judges, with p no
    smaller than the chance that all runs of some value collapse. floor: the least noise."""
    counts = np.bincount(values)
    runs = len(counts) / float((1 / counts).sum())
    alone = np.zeros_like(seeds)
    for blocks in (seeds, alone):
        basis = _basis(values, blocks)
        freedom = basis.shape[1], len(metric) - len(np.unique(blocks)) - basis.shape[1]
        if basis.shape[1] == len(counts) - 1 and 2 * freedom[1] >= len(metric) - len(counts):
            break
    if freedom[1] < 1:
        return Effect(math.nan, math.nan, freedom, runs, False)
    centred = _centred(metric[:, None], blocks)[:, 0]
    explained = float(((centred @ basis) ** 2).sum())
    rest = max(0.0, float(centred @ centred) - explained) / freedom[1]
    noise = max(math.sqrt(rest), floor)
    least = 0.0
    if (
        blocks is seeds
        and len(np.unique(seeds)) < FEW_SEEDS
        and _permutations(seeds, len(counts)) >= LEAST_PERMUTATIONS
    ):
        p = _permutation_p(centred, basis, blocks, explained, draws)
    else:
        least = min(1.0, len(counts) * COLLAPSE**runs)
        p = 1.0 if explained < 1e-18 else max(_f_p(explained, noise, freedom), least)
    return Effect(p, noise, freedom, runs, blocks is seeds, least)


def _f_p(explained: float, noise: float, freedom: tuple[int, int]) -> float:
    """Give the p-value of the F test; NaN without noise."""
    from scipy.special import fdtrc

    return float(fdtrc(*freedom, explained / freedom[0] / noise**2)) if noise else math.nan


def _centred(columns: np.ndarray, blocks: np.ndarray) -> np.ndarray:
    """Subtract from columns [runs, n] their means in each block."""
    sums = np.zeros((blocks.max() + 1, columns.shape[1]))
    np.add.at(sums, blocks, columns)
    counts = np.maximum(np.bincount(blocks, minlength=len(sums)), 1)
    return columns - (sums / counts[:, None])[blocks]


def _basis(values: np.ndarray, blocks: np.ndarray) -> np.ndarray:
    """Give an orthonormal basis of what the values can explain beyond the blocks, [runs, rank]."""
    vectors, sizes, _ = np.linalg.svd(_centred(np.eye(values.max() + 1)[values], blocks), full_matrices=False)
    return vectors[:, sizes > 1e-9]


def _permutations(blocks: np.ndarray, values: int) -> float:
    """Count the ways to permute within blocks that differ by more than the names of the values."""
    ways = sum(math.lgamma(count + 1) for count in np.bincount(blocks)) - math.lgamma(values + 1)
    return math.exp(min(ways, 50.0))


def _permutation_p(centred: np.ndarray, basis: np.ndarray, blocks: np.ndarray, explained: float, draws: int) -> float:
    order = np.argsort(blocks, kind="stable")
    keys = np.random.default_rng(0).random((draws, len(order))) + blocks[order]
    found = (centred[order][np.argsort(keys, axis=1)] @ basis[order]) ** 2
    as_large = int(np.count_nonzero(found.sum(axis=1) >= explained * (1 - 1e-9)))
    return (1 + as_large) / (1 + draws)
