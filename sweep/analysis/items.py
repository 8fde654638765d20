"""Test samples as what varies: intervals over them, and two configurations compared sample by sample.

A run's accuracy is that of the test samples which happened to be drawn; seeds say nothing of that. Reads the
predictions that runs leave (predictions.npz); runs of earlier versions have none, and are reported without."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sweep.analysis.statistics import CONFIDENCE, repeat_of
from sweep.results.columns import TEST_SAMPLES
from sweep.runs.predictions import SamplePredictions, read_predictions

DRAWS = 2000
FUSED_HEAD = "multi"
Right = NDArray[np.float64]
"""Share of the seeds under which each test sample is classified rightly, [n]."""


def right_by_repeat(runs: pd.DataFrame, folder: Path, head: str = FUSED_HEAD) -> dict[tuple[int, int], Right]:
    """Map split and seed of finished runs of one configuration to which test samples are classified rightly, [n]; what
    has no predictions, or those of another number of samples than it was tested on, is left out. folder: that of all
    runs."""
    runs = runs[[c for c in ("hash", "status", "split", "seed", TEST_SAMPLES) if c in runs]]
    done = runs[runs["status"].eq("done")].drop_duplicates("hash")
    sizes = done[TEST_SAMPLES] if TEST_SAMPLES in done else pd.Series(math.nan, done.index)
    found = dict[tuple[int, int], Right]()
    for repeat, name, size in zip(repeat_of(done), done["hash"], sizes, strict=True):
        predictions = read_predictions(folder / str(name))
        if predictions is None or head not in predictions.heads or not len(predictions.labels):
            continue
        if pd.isna(size) or size == len(predictions.labels):
            found.setdefault(repeat, _right(predictions, head))
    return found


def _right(predictions: SamplePredictions, head: str) -> Right:
    found: Right = predictions.right[predictions.heads.index(head)].astype(float)
    return found


def sampling_deviation(right: Sequence[Right], draws: int = DRAWS) -> float:
    """Give the deviation of the accuracy, averaged over runs on one split, that drawing other test samples would cause:
    by resampling the samples. NaN for none, or where they were not tested on as many samples."""
    if len({len(each) for each in right}) != 1:
        return math.nan
    return float(_resampled_means(np.mean(right, axis=0), draws).std(ddof=1))


def _resampled_means(values: NDArray[np.float64], draws: int) -> NDArray[np.float64]:
    """Average ``values`` [n] over samples drawn with replacement, [draws]; alike at each call."""
    means: NDArray[np.float64] = _resamples(len(values), draws) @ values / len(values)
    return means


@lru_cache(maxsize=1)
def _resamples(size: int, draws: int) -> NDArray[np.float64]:
    """Tell how often each of ``size`` samples is drawn, [draws, size]: once for all configurations on a test split."""
    return np.random.default_rng(0).multinomial(size, np.full(size, 1 / size), size=draws).astype(float)


@dataclass(frozen=True)
class ItemComparison:
    """Two configurations on the same test samples of one split.

    difference: of their accuracies, over the common seeds; low, high: its 95 % interval over test samples; p: that
    there is none, two-sided: McNemar's exact test of one seed, of more seeds by resampling; items: test samples; seeds:
    common ones."""

    difference: float
    low: float
    high: float
    p: float
    items: int
    seeds: int


def compare_items(first: Mapping[int, Right], second: Mapping[int, Right], draws: int = DRAWS) -> ItemComparison | None:
    """Compare by seed -> which samples are right, [n], of two configurations on one split; None without a common
    seed, or where they were not tested on as many samples, as their data differ."""
    seeds = [seed for seed in first if seed in second]
    if len({len(each[seed]) for seed in seeds for each in (first, second)}) != 1:
        return None
    apart = np.mean([first[seed] - second[seed] for seed in seeds], axis=0)
    difference = float(apart.mean())
    means = _resampled_means(apart, draws)
    low, high = np.quantile(means, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    if len(seeds) == 1:
        p = mcnemar_p(int((apart > 0).sum()), int((apart < 0).sum()))
    else:
        # As extreme as seen, of means about no difference.
        p = float((1 + np.count_nonzero(np.abs(means - difference) >= abs(difference) - 1e-12)) / (1 + draws))
    return ItemComparison(difference, float(low), float(high), p, len(apart), len(seeds))


def mcnemar_p(better: int, worse: int) -> float:
    """Compute the exact two-sided p-value of McNemar's test from the counts of samples that one alone has right."""
    from scipy.special import bdtr  # scipy takes long to import

    if better + worse == 0:
        return 1.0
    return min(1.0, 2 * float(bdtr(min(better, worse), better + worse, 0.5)))
