"""Search results against the budget: the best validation value that so many configurations lead one to expect."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sweep.analysis.parts import Parts, by_split, selection_metric
from sweep.analysis.statistics import summarise

LEAST = 2
BAND = (0.05, 0.95)


@dataclass(frozen=True)
class BudgetCurve:
    """The expected best validation value of one label on one dataset by number of configurations, from 1 on.

    expected, low, high: mean and 5 to 95 % of cases of the best of so many of the configurations that the search tried,
    drawn with replacement, shares; averaged over splits. baseline: whether it is a reference. configurations: how many
    were tried, on the split with the fewest."""

    label: str
    dataset: str
    baseline: bool
    expected: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]

    @property
    def configurations(self) -> int:
        return len(self.expected)


def expected_best(values: NDArray[np.float64], most: int) -> NDArray[np.float64]:
    """Compute the expected maximum of 1 to ``most`` of ``values``, drawn with replacement (Dodge et al., EMNLP 2019):
    the sum over the values, ascending, of v_i ((i / n)^k - ((i - 1) / n)^k)."""
    ordered, n = np.sort(values), len(values)
    below = np.arange(n + 1)[:, None] / n
    weights = np.diff(below ** np.arange(1, most + 1), axis=0)
    found: NDArray[np.float64] = ordered @ weights
    return found


def best_quantile(values: NDArray[np.float64], most: int, share: float) -> NDArray[np.float64]:
    """Give what the maximum of 1 to ``most`` values, drawn with replacement, does not exceed in ``share`` of cases."""
    ordered, n = np.sort(values), len(values)
    places = np.ceil(n * share ** (1 / np.arange(1, most + 1)) - 1e-9).astype(int) - 1
    found: NDArray[np.float64] = ordered[np.clip(places, 0, n - 1)]
    return found


def budget_curves(parts: Parts) -> list[BudgetCurve]:
    """Give the curve of each search of a sweep, methods and baselines, in order of appearance.

    A configuration counts by its mean over seeds, one that has not all of them by those it has: a search that stops
    poor ones early has spent its budget on them, too. Those without any finished seed are left out."""
    searched = pd.concat([parts.searched, parts.references[parts.references["number"].notna()]])
    curves = []
    for (label, dataset), rows in searched.groupby(["label", "dataset"], sort=False):
        values = [_means(part) for part in by_split(rows)]
        most = min(map(len, values))
        if most >= LEAST:
            kinds = [expected_best(each, most) for each in values]
            ends = [[best_quantile(each, most, share) for each in values] for share in BAND]
            low, high = (np.mean(each, axis=0) for each in ends)
            baseline = bool(rows["role"].eq("reference").all())
            curves.append(BudgetCurve(str(label), str(dataset), baseline, np.mean(kinds, axis=0), low, high))
    return curves


def _means(rows: pd.DataFrame) -> NDArray[np.float64]:
    found: NDArray[np.float64] = summarise(rows, ["configuration"], selection_metric(rows))["mean"].dropna().to_numpy()
    return found
