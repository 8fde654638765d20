"""Methods over several datasets: average ranks, wins and losses, how probably one beats joint training.

Intervals are over the runs of each dataset (stratified bootstrap, Agarwal et al., NeurIPS 2021): they say nothing of
datasets that were not tried. With five datasets and more ranks are tested over datasets (Friedman 1937; Nemenyi's
critical difference, Demšar, JMLR 2006)."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sweep.analysis.parts import Parts, selection_metric, shown_metric
from sweep.analysis.severities import SOURCE
from sweep.analysis.standings import BETTER, NO_DIFFERENCE, NOT_CLAIMED, NOT_JUDGED, WORSE, representatives
from sweep.analysis.statistics import CONFIDENCE, repeat_of
from sweep.analysis.two_way import SIGNIFICANCE

DRAWS = 2000
LEAST_DATASETS = 2
LEAST_RANKED = 5
"""Datasets from which on ranks are tested over them."""
JOINT = "joint"

Values = dict[tuple[str, str], NDArray[np.float64]]
"""Label and dataset -> the metric of each run."""


@dataclass(frozen=True)
class OverDatasets:
    """Methods that have runs on every one of several datasets.

    table: a row a method, the best average rank first: label, rank, rank_low, rank_high, wins, ties, losses (against
    joint training, beyond chance), improvement (probability that a run of it is better than one of joint training on
    the same dataset, equal runs counting half, averaged over datasets), improvement_low and improvement_high; NaN for
    joint training itself. datasets: their names. friedman_p, critical: of the ranks, and the difference of two average
    ranks that is significant at 5 %; NaN for fewer than LEAST_RANKED datasets or three methods. left_out: methods
    without runs on every dataset."""

    table: pd.DataFrame
    datasets: tuple[str, ...]
    metric: str
    friedman_p: float
    critical: float
    left_out: tuple[str, ...]

    def cliques(self) -> list[tuple[int, int]]:
        """List the longest runs of rows of the table, first and last, that are not told apart."""
        ranks = self.table["rank"].to_numpy()
        found = list[tuple[int, int]]()
        for first in range(len(ranks)):
            last = int(np.flatnonzero(ranks - ranks[first] <= self.critical + 1e-12)[-1])
            if last > first and (not found or last > found[-1][1]):
                found.append((first, last))
        return found


def over_datasets(parts: Parts, standings: pd.DataFrame, draws: int = DRAWS) -> OverDatasets | None:
    """Compare the methods of a sweep over its datasets; None for fewer than two of these, or of methods, and where they
    are severities, which are no sample of anything.

    standings: of :func:`sweep.analysis.standings.standings`, whose choices are taken."""
    datasets = tuple(map(str, dict.fromkeys(standings["dataset"])))
    several = len(datasets) >= LEAST_DATASETS and SOURCE not in parts.runs
    runs = list(representatives(parts)) if several else []
    metric = shown_metric(pd.concat(runs), selection_metric(parts.runs).removeprefix("validation_")) if runs else None
    if metric is None:
        return None
    values: Values = {}
    for rows in runs:
        done = rows[rows["status"].eq("done") & rows[metric].notna()]
        done = done[~repeat_of(done).duplicated()]
        if len(done):
            values[str(rows["label"].iloc[0]), str(rows["dataset"].iloc[0])] = done[metric].to_numpy(float)
    labels = list(dict.fromkeys(label for label, _ in values))
    kept = [label for label in labels if all((label, dataset) in values for dataset in datasets)]
    if len(kept) < 2:
        return None
    table = _tabulate(values, kept, datasets, standings, draws)
    p, critical = math.nan, math.nan
    if len(datasets) >= LEAST_RANKED and len(kept) > 2:
        p, critical = friedman_p(_means(values, kept, datasets)), critical_difference(len(kept), len(datasets))
    left_out = tuple(label for label in labels if label not in kept)
    return OverDatasets(table, datasets, metric, p, critical, left_out)


def _tabulate(
    values: Values, labels: list[str], datasets: tuple[str, ...], standings: pd.DataFrame, draws: int
) -> pd.DataFrame:
    ranks = average_ranks(_means(values, labels, datasets))
    random = np.random.default_rng(0)
    again = np.array([_resampled(values, labels, datasets, random) for _ in range(draws)])
    drawn = np.array([average_ranks(means) for means in again])
    low, high = np.quantile(drawn, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], axis=0)
    table = pd.DataFrame({"label": labels, "rank": ranks, "rank_low": low, "rank_high": high})
    counts = {
        "wins": (BETTER,), "ties": (NO_DIFFERENCE, NOT_JUDGED, NOT_CLAIMED), "losses": (WORSE,),
    }  # fmt: skip
    for name, verdicts in counts.items():
        hits = standings[standings["joint_verdict"].isin(verdicts)].groupby("label").size()
        table[name] = table["label"].map(hits).fillna(0).astype(int)
    found = [_improvement(values, label, datasets, draws) for label in labels]
    table[["improvement", "improvement_low", "improvement_high"]] = found
    return table.sort_values("rank", kind="stable", ignore_index=True)


def _means(values: Values, labels: list[str], datasets: tuple[str, ...]) -> NDArray[np.float64]:
    return np.array([[values[label, dataset].mean() for dataset in datasets] for label in labels])


def _resampled(
    values: Values, labels: list[str], datasets: tuple[str, ...], random: np.random.Generator
) -> NDArray[np.float64]:
    """Draw means [methods, datasets] of runs drawn with replacement."""
    pairs = itertools.product(labels, datasets)
    means = [random.choice(values[pair], len(values[pair])).mean() for pair in pairs]
    return np.array(means).reshape(len(labels), len(datasets))


def average_ranks(means: NDArray[np.float64]) -> NDArray[np.float64]:
    """Average over datasets the ranks of methods, 1 for the highest of ``means`` [methods, datasets]; equal ones
    share."""
    above = (means[None] > means[:, None]).sum(1)
    equal = (means[None] == means[:, None]).sum(1)
    ranks: NDArray[np.float64] = (above + (equal + 1) / 2).mean(1)
    return ranks


def _improvement(values: Values, label: str, datasets: tuple[str, ...], draws: int) -> tuple[float, float, float]:
    """Estimate the probability of improvement over joint training, with its bootstrap interval."""
    if label == JOINT or not all((JOINT, dataset) in values for dataset in datasets):
        return math.nan, math.nan, math.nan
    random, pairs = np.random.default_rng(0), [(values[label, d], values[JOINT, d]) for d in datasets]
    found = np.mean([probability_of_improvement(*pair) for pair in pairs])
    drawn = [
        np.mean([probability_of_improvement(*(random.choice(each, len(each)) for each in pair)) for pair in pairs])
        for _ in range(draws)
    ]
    low, high = np.quantile(drawn, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(found), float(low), float(high)


def probability_of_improvement(values: NDArray[np.float64], others: NDArray[np.float64]) -> float:
    """Give the share of pairs in which the value is the larger one, equal ones counting half."""
    return float(np.mean((values[:, None] > others) + 0.5 * (values[:, None] == others)))


def friedman_p(means: NDArray[np.float64]) -> float:
    """Compute the p-value of Friedman's test that methods have equal ranks; means: [methods, datasets]."""
    from scipy.stats import friedmanchisquare  # scipy takes long to import

    return float(friedmanchisquare(*means).pvalue)


def critical_difference(methods: int, datasets: int, level: float = SIGNIFICANCE) -> float:
    """Give Nemenyi's critical difference of two average ranks, q sqrt(k (k + 1) / (6 N)) with q of the studentized
    range over sqrt(2)."""
    low, high = 0.0, 20.0
    while high - low > 1e-9:
        middle = (low + high) / 2
        low, high = (middle, high) if _range_below(middle, methods) < 1 - level else (low, middle)
    return high / math.sqrt(2) * math.sqrt(methods * (methods + 1) / (6 * datasets))


def _range_below(width: float, count: int) -> float:
    """Give the probability that ``count`` standard normal values lie within ``width`` of each other."""
    from scipy.special import ndtr

    places = np.linspace(-9, 9, 2001)
    density = np.exp(-(places**2) / 2) / math.sqrt(2 * math.pi)
    within = ndtr(places + width) - ndtr(places)
    return float(count * np.sum(density * within ** (count - 1)) * (places[1] - places[0]))
