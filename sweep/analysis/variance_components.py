"""What moves a configuration's accuracy: seeds, splits, and which test samples were drawn."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from sweep.analysis.items import right_by_repeat, sampling_deviation
from sweep.analysis.statistics import split_of

ACCURACY = "test_accuracy"


@dataclass(frozen=True)
class Components:
    """Deviations of one run's accuracy, shares.

    seed: between seeds on one split; split: between splits, beyond what their seeds scatter; sample: of the mean over
    seeds on one split, had other test samples been drawn. NaN where nothing repeats it, or where no predictions were
    kept. runs, splits: how many. The test samples are a part of what splits differ in where these draw them, too."""

    seed: float
    split: float
    sample: float
    runs: int
    splits: int


def components(runs: pd.DataFrame, folder: Path, column: str = ACCURACY) -> Components:
    """Estimate the components of one configuration from its finished runs. folder: that of all runs.

    The variance between splits is that of their means less what seeds contribute to it, at least 0."""
    known = runs if column in runs else runs.assign(**{column: math.nan})
    done = known[known["status"].eq("done") & known[column].notna()]
    several = done.groupby(split_of(done), sort=False)[column]
    counts, means = several.count().to_numpy(), several.mean().to_numpy()
    freedom = int((counts - 1).sum())
    squares = float(((counts - 1) * several.var().fillna(0).to_numpy()).sum())
    seed = math.sqrt(squares / freedom) if freedom > 0 else math.nan
    split = math.nan
    if len(means) > 1:
        of_seeds = 0.0 if math.isnan(seed) else seed**2 * float(np.mean(1 / counts))
        split = math.sqrt(max(0.0, float(means.var(ddof=1)) - of_seeds))
    return Components(seed, split, _sample_deviation(done, folder), len(done), len(means))


def _sample_deviation(done: pd.DataFrame, folder: Path) -> float:
    found = right_by_repeat(done, folder)
    splits = dict.fromkeys(split for split, _ in found)
    variances = [
        sampling_deviation([right for (own, _), right in found.items() if own == split]) ** 2 for split in splits
    ]
    return math.sqrt(float(np.mean(variances))) if variances else math.nan


def components_table(runs: pd.DataFrame, folder: Path, by: Sequence[str]) -> pd.DataFrame:
    """Tabulate :class:`Components` of each group of ``runs``, in order of appearance: columns ``by`` and its fields."""
    rows = []
    for key, part in runs.groupby(list(by), sort=False, dropna=False):
        rows.append({**dict(zip(by, key, strict=True)), **vars(components(part, folder))})
    return pd.DataFrame(rows, columns=[*by, "seed", "split", "sample", "runs", "splits"])
