"""Does balance pay? Accuracy against imbalance over the configurations of a comparison, and their rank correlation."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from sweep.analysis.parts import (
    REBALANCE_NOTHING,
    Parts,
    rows_of_each_choice,
    selection_metric,
    shown_metric,
    under_same_seeds,
)
from sweep.analysis.statistics import Estimate, estimate_quantity, holm, repeat_of, split_of, summarise
from sweep.analysis.two_way import POWER, SIGNIFICANCE
from sweep.plan.objectives import pareto_front

LEAST_CONFIGURATIONS = 5
"""Configurations below which a rank correlation says nothing."""
KEY = ["label", "point"]


@dataclass(frozen=True)
class Balance:
    """Accuracy against imbalance on one dataset.

    table: a row a configuration with label, point, baseline, accuracy and imbalance (means, with _low and _high) and
    front (none is as good in both and better in one); column: the metric that stands for accuracy. correlation:
    Spearman's of the means over configurations, low and high: its 95 % interval, p: of none; repeated: the mean of the
    correlations of each seed (or split, where there are several) with the interval over them; repeats: what they are.
    """

    dataset: str
    column: str
    table: pd.DataFrame
    correlation: float
    low: float
    high: float
    p: float
    repeated: Estimate
    repeats: str

    def sentence(self, p: float, datasets: int = 1) -> str:
        """Say whether balance pays. p: corrected over so many datasets."""
        over = f"{len(self.table)} configurations"
        text = f"rank correlation of accuracy and imbalance {self.correlation:+.2f}"
        text += f" ({self.low:+.2f} to {self.high:+.2f}) over {over}"
        if self.repeated.n > 1:
            text += f", {self.repeated.mean:+.2f} ({self.repeated.low:+.2f} to {self.repeated.high:+.2f}) over "
            text += f"{self.repeated.n} {self.repeats}"
        if not p < SIGNIFICANCE:
            least = detectable_correlation(len(self.table), SIGNIFICANCE / datasets)
            power = f"a rank correlation of ±{least:.2f} would have been found with 80 % probability"
            return f"On {self.dataset} it is not shown that balance pays: {text}; {power}."
        answer = "balance pays" if self.correlation < 0 else "balance does not pay, imbalance goes with accuracy"
        return f"On {self.dataset} {answer}: {text}."


def balances(parts: Parts, rows: pd.DataFrame, metric: str) -> list[Balance]:
    """Set accuracy against imbalance for each dataset of ``rows``, with the references under the same seeds.

    Datasets with fewer than LEAST_CONFIGURATIONS are left out. metric: accuracy, map or macro_f1; of the test split
    where it was recorded."""
    column = shown_metric(rows, metric) if len(rows) else None
    imbalance = f"{column.partition('_')[0]}_imbalance" if column else ""
    if column is None or imbalance not in rows:
        return []
    found = []
    for dataset, part in rows.groupby("dataset", sort=False):
        references = under_same_seeds(rows_of_each_choice(parts.references), part)
        references = references[references["dataset"].eq(str(dataset)) & ~references["label"].isin(part["label"])]
        runs = pd.concat([part, references])
        runs = runs[runs["method"].ne("unimodal")]  # of one modality alone there is no imbalance
        table = _table(runs, column, imbalance)
        if len(table) >= LEAST_CONFIGURATIONS:
            found.append(_balance(str(dataset), runs, table, column, imbalance))
    return found


def balance_sentences(parts: Parts) -> list[str]:
    """Say of each dataset of the comparison whether balance pays, else of the configurations under report seeds."""
    metric = selection_metric(parts.runs).removeprefix("validation_")
    found = balances(parts, parts.points, metric) or balances(parts, parts.chosen, metric)
    corrected = holm([each.p for each in found])
    return [each.sentence(float(p), len(found)) for each, p in zip(found, corrected, strict=True)]


def _table(runs: pd.DataFrame, column: str, imbalance: str) -> pd.DataFrame:
    parts = []
    for name, found in (("accuracy", column), ("imbalance", imbalance)):
        named = {"mean": name, "low": f"{name}_low", "high": f"{name}_high"}
        parts.append(summarise(runs, KEY, found).set_index(KEY)[list(named)].rename(columns=named))
    table = pd.concat(parts, axis=1).dropna(subset=["accuracy", "imbalance"]).reset_index()
    baselines = runs[runs["method"].isin(REBALANCE_NOTHING)]
    values = table[["accuracy", "imbalance"]].to_numpy().tolist()
    front = pareto_front(values, ["maximize", "minimize"])
    return table.assign(baseline=table["label"].isin(baselines["label"]), front=table.index.isin(front))


def _balance(dataset: str, runs: pd.DataFrame, table: pd.DataFrame, column: str, imbalance: str) -> Balance:
    found = rank_correlation(table["accuracy"].to_numpy(), table["imbalance"].to_numpy())
    low, high, p = correlation_interval(found, len(table))
    done = runs[runs["status"].eq("done")]
    several = split_of(done).nunique() > 1
    repeats = split_of(done) if several else pd.Series([seed for _, seed in repeat_of(done)], done.index)
    each = []
    for _, part in done.groupby(repeats, sort=False):
        means = part.groupby(KEY)[[column, imbalance]].mean().dropna()
        if len(means) >= LEAST_CONFIGURATIONS:
            each.append(rank_correlation(means[column].to_numpy(), means[imbalance].to_numpy()))
    repeated = estimate_quantity(each)
    repeated = replace(repeated, low=max(-1.0, repeated.low), high=min(1.0, repeated.high))
    return Balance(dataset, column, table, found, low, high, p, repeated, "splits" if several else "seeds")


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Compute Spearman's rank correlation, ties at their mean ranks; NaN where one side has one value alone."""
    ranks = [pd.Series(np.round(side, 9)).rank().to_numpy() for side in (a, b)]
    spread = [float(side.std()) for side in ranks]
    if not all(spread):
        return math.nan
    return float(np.mean((ranks[0] - ranks[0].mean()) * (ranks[1] - ranks[1].mean())) / (spread[0] * spread[1]))


def correlation_interval(correlation: float, n: int) -> tuple[float, float, float]:
    """Give the 95 % interval of Spearman's correlation of n pairs and the p-value of none.

    By Fisher's transformation, with the variance (1 + r² / 2) / (n - 3) for the interval (Bonett and Wright,
    Psychometrika 2000), and 1.06 / (n - 3) for p."""
    if math.isnan(correlation) or n < 4:
        return math.nan, math.nan, math.nan
    from scipy.special import ndtr

    z = math.atanh(max(-1 + 1e-9, min(1 - 1e-9, correlation)))
    half = 1.959964 * math.sqrt((1 + correlation**2 / 2) / (n - 3))
    p = 2 * float(ndtr(-abs(z) / math.sqrt(1.06 / (n - 3))))
    return math.tanh(z - half), math.tanh(z + half), p


def detectable_correlation(n: int, level: float = SIGNIFICANCE) -> float:
    """Give the rank correlation of n > 3 pairs that :func:`correlation_interval` finds at ``level`` with probability
    POWER, by the same transformation."""
    from scipy.special import ndtri

    return math.tanh(float(ndtri(1 - level / 2) + ndtri(POWER)) * math.sqrt(1.06 / (n - 3)))
