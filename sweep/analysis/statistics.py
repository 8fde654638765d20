"""Statistics over runs: mean and 95 % t interval, curves, paired differences. Pure functions of frames.

A frame has one row a run, as ``sweep.results.load`` gives it. Only finished runs (status done) enter a number; the
others are counted beside it. Metrics are shares in [0, 1]; text is in per cent and points.

A share of n samples moves in steps of 1/n, and few seeds may agree by chance: agreement is never taken as proof. Noise
counts as no smaller than what rounding to the steps adds, and p-values as no smaller than seeds that collapse allow.

Runs under one split repeat the training; where there are several splits these are the repeats. The mean is then that of
the splits' means, and intervals and tests are over these: seeds within a split never stand for further splits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from sweep.results.columns import TEST_SAMPLES
from sweep.results.tables import METRICS

CONFIDENCE = 0.95
FAILED = ("failed", "diverged", "pruned")
NO_SPREAD = 1e-12
"""Deviations below it are those of sums alone."""
COVERAGE = (
    "In simulations 95 % intervals over seeds hold the expected value in 94 to 100 % of cases where values scatter "
    "evenly, in 85 to 92 % where they crowd below 100 %, and in 24 to 66 % where one run in ten collapses: few seeds "
    "show no collapse."
)
"""The shares that benchmarks/conclusion_rates.py prints, for two to ten seeds."""


@dataclass(frozen=True)
class Estimate:
    """Mean of n values with its interval; deviation, low and high are NaN for n < 2, mean too for n = 0.

    splits: over which it is, where they are several; the deviation is then that of their means."""

    mean: float
    low: float
    high: float
    deviation: float
    n: int
    splits: int = 1

    @property
    def repeats(self) -> int:
        """Count what the interval is over: the splits where they are several, else the values."""
        return self.splits if self.splits > 1 else self.n


def half_width(deviation: Any, n: Any, confidence: float = CONFIDENCE, freedom: Any = None) -> np.ndarray:
    """Compute half of the t interval of a mean, t s / sqrt(n), elementwise; NaN where n < 2.

    s: sample deviations (division by n - 1); n: counts; freedom: degrees of s (None: n - 1)."""
    from scipy.special import stdtrit  # scipy takes long to import

    deviation, n = np.asarray(deviation, float), np.asarray(n, float)
    several = np.where(n > 1, n, np.nan)
    degrees = several - 1 if freedom is None else np.asarray(freedom, float)
    return stdtrit(degrees, (1 + confidence) / 2) * deviation / np.sqrt(several)


def estimate(
    values: Sequence[float] | np.ndarray | pd.Series, confidence: float = CONFIDENCE, step: float | None = None
) -> Estimate:
    """Estimate mean, t interval and sample deviation of shares in [0, 1]; NaN are left out. One value has no interval.

    The interval ends at 0 and 1, and takes the deviation as no smaller than rounding to multiples of ``step`` gives
    (None: the smallest step between the values): so none has width 0. Where all values are equal and the step is not
    known, there is no interval. Other quantities are estimated by :func:`estimate_quantity`."""
    found = estimate_quantity(values, confidence)
    floor = rounding_noise(smallest_step(values) if step is None else step)
    half = float(half_width(max(found.deviation, floor), found.n, confidence))
    if max(found.deviation, floor) < NO_SPREAD:
        half = math.nan
    if math.isnan(half):
        return replace(found, low=math.nan, high=math.nan)
    return replace(found, low=max(0.0, found.mean - half), high=min(1.0, found.mean + half))


def estimate_quantity(values: Sequence[float] | np.ndarray | pd.Series, confidence: float = CONFIDENCE) -> Estimate:
    """Estimate mean, t interval and sample deviation of values in any unit; NaN are left out."""
    kept = np.asarray(values, float)
    kept = kept[~np.isnan(kept)]
    mean = float(kept.mean()) if len(kept) else math.nan
    deviation = float(kept.std(ddof=1)) if len(kept) > 1 else math.nan
    half = float(half_width(deviation, len(kept), confidence))
    return Estimate(mean, mean - half, mean + half, deviation, len(kept))


def summarise(frame: pd.DataFrame, by: Sequence[str], metric: str, share: bool = True) -> pd.DataFrame:
    """Summarise ``metric`` of each group of runs, in order of appearance.

    share: whether it is a share in [0, 1], with intervals as :func:`estimate` gives them; the step is the
    :func:`resolution` on the dataset. Else they are those of :func:`estimate_quantity`.

    Columns ``by``, mean, low, high, deviation, n, failed (runs that ended without a result: failed, diverged, pruned),
    pruned and diverged (of those, the ones stopped early and those whose loss was not finite), missing (no value
    yet), splits (with a value), within (deviation between seeds, pooled over the splits) and freedom (its degrees).
    With several splits mean, interval and deviation are those of the splits' means."""
    group, keys = grouped(frame, by)

    def count(chosen: np.ndarray) -> np.ndarray:
        return np.bincount(group[chosen], minlength=len(keys))

    status = frame["status"].to_numpy(object)
    values = frame[metric].to_numpy(float) if metric in frame else np.full(len(frame), np.nan)
    known = (status == "done") & ~np.isnan(values)
    n, total = count(known), np.bincount(group, minlength=len(keys))
    ended = {word: count(status == word) for word in FAILED}
    failed = sum(ended.values(), np.zeros(len(keys), int))
    split = split_of(frame).to_numpy()
    mean, deviation, splits, within, freedom = _over_splits(group[known], split[known], values[known], len(keys))
    repeats = np.where(splits < 2, n, splits)
    if share:
        dataset = group_numbers(frame, [name for name in ("dataset",) if name in frame])
        steps = _steps(frame, metric, dataset)[dataset[first_places(group)]]
        spread = np.maximum(deviation, rounding_noise(steps))
        half = half_width(np.where(spread >= NO_SPREAD, spread, np.nan), repeats)
        low, high = np.maximum(mean - half, 0), np.minimum(mean + half, 1)
    else:
        half = half_width(deviation, repeats)
        low, high = mean - half, mean + half
    # All at once: pandas looks through a frame at each column that is put into it.
    columns = {
        "mean": mean, "low": low, "high": high, "deviation": deviation, "n": n, "failed": failed,
        "pruned": ended["pruned"], "diverged": ended["diverged"], "missing": total - n - failed, "splits": splits,
        "within": within, "freedom": freedom,
    }  # fmt: skip
    return pd.DataFrame({**keys, **columns}, index=keys.index)


def _over_splits(group: np.ndarray, split: np.ndarray, values: np.ndarray, groups: int) -> tuple[np.ndarray, ...]:
    """Give of each group of ``values`` the mean over splits and its deviation, how many splits have a value, the
    deviation between seeds pooled over them, and its degrees of freedom."""
    number, found = pd.factorize(split)
    place, shape = group * max(1, len(found)) + number, (groups, max(1, len(found)))

    def total(weights: np.ndarray | None) -> np.ndarray:
        return np.bincount(place, weights, minlength=shape[0] * shape[1]).reshape(shape)

    with np.errstate(invalid="ignore", divide="ignore"):
        counts = total(None)
        means = total(values) / counts
        means = means + total(values - means.ravel()[place]) / counts  # what the rounding of sums left
        squares = total((values - means.ravel()[place]) ** 2)
        splits, freedom = (counts > 0).sum(1), np.maximum(counts - 1, 0).sum(1)
        within = np.sqrt(np.where(freedom > 0, squares.sum(1) / freedom, np.nan))
        mean = np.nansum(means, axis=1) / np.where(splits > 0, splits, np.nan)
        between = np.sqrt(np.nansum((means - mean[:, None]) ** 2, axis=1) / np.where(splits > 1, splits - 1, np.nan))
    return mean, np.where(splits > 1, between, within), splits, within, freedom


def split_of(frame: pd.DataFrame) -> pd.Series:
    """Give the split of each run, as a number; -1 where the dataset has but one."""
    if "split" not in frame:
        return pd.Series(-1, frame.index)
    return pd.to_numeric(frame["split"]).fillna(-1).astype(int)


def repeat_of(frame: pd.DataFrame) -> pd.MultiIndex:
    """Give what a run shares with the runs that it is paired with: its split and its seed."""
    return pd.MultiIndex.from_arrays([split_of(frame), frame["seed"]], names=["split", "seed"])


@dataclass(frozen=True)
class RepeatGrid:
    """Runs in a grid: a row a group, a column for each split and seed.

    group, repeat: row and column of each run; splits: of each column."""

    group: np.ndarray
    repeat: np.ndarray
    splits: np.ndarray
    groups: int

    def values(self, frame: pd.DataFrame, metric: str) -> np.ndarray:
        """Place ``metric`` of the finished runs; of several in one place the first counts. NaN where there is none."""
        found = np.full((self.groups, len(self.splits)), np.nan)
        if metric in frame:
            done = np.flatnonzero(frame["status"].eq("done"))[::-1]  # of those written in one place the last stays
            found[self.group[done], self.repeat[done]] = frame[metric].to_numpy(float)[done]
        return found

    def has(self, chosen: pd.Series) -> np.ndarray:
        """Tell in which places there is a run that is ``chosen``, a truth value a run."""
        found = np.zeros((self.groups, len(self.splits)), bool)
        found[self.group[chosen], self.repeat[chosen]] = True
        return found

    def lost(self, frame: pd.DataFrame) -> np.ndarray:
        """Count of each group the places whose runs all ended without a result; see :func:`lost_runs`."""
        return (self.has(frame["status"].isin(FAILED)) & ~self.has(frame["status"].eq("done"))).sum(1)

    def seeds(self) -> np.ndarray:
        """Count of each group the places that have a run."""
        return self.has(pd.Series(True, range(len(self.group)))).sum(1)

    def split_means(self, values: np.ndarray) -> np.ndarray:
        """Average over the seeds of each split what is known: [groups, splits], NaN where nothing is."""
        inside = (self.splits[:, None] == np.unique(self.splits)).astype(float)
        known = ~np.isnan(values)
        counts = known @ inside
        return np.where(known, values, 0) @ inside / np.where(counts > 0, counts, np.nan)


def repeat_grid(frame: pd.DataFrame, group: np.ndarray) -> RepeatGrid:
    """Make the grid of runs by the number of their group, counted from 0."""
    repeat, found = repeat_of(frame).factorize()
    splits = np.empty(len(found), int)
    splits[repeat] = split_of(frame)
    return RepeatGrid(group, repeat, splits, int(group.max(initial=-1)) + 1)


def group_numbers(frame: pd.DataFrame, by: Sequence[str]) -> np.ndarray:
    """Number the group of each run, in order of appearance."""
    group = np.zeros(len(frame), np.int64)
    for name in by:
        number, values = pd.factorize(frame[name], use_na_sentinel=False)
        group = pd.factorize(group * max(1, len(values)) + number)[0]
    return group


def grouped(frame: pd.DataFrame, by: Sequence[str]) -> tuple[np.ndarray, pd.DataFrame]:
    """Number the group of each run, and give the columns ``by`` of each group, in order of appearance."""
    group = group_numbers(frame, by)
    return group, frame[list(by)].iloc[first_places(group)].reset_index(drop=True)


def first_places(group: np.ndarray) -> np.ndarray:
    """Give the place of the first run of each group, by the number of the group of each run."""
    return np.unique(group, return_index=True)[1]


def estimate_runs(runs: pd.DataFrame, metric: str, share: bool = True) -> Estimate:
    """Estimate ``metric`` of one configuration from its runs, as :func:`summarise` does."""
    table = summarise(runs, [], metric, share)
    if table.empty or not table["n"][0]:
        return Estimate(math.nan, math.nan, math.nan, math.nan, 0)
    row = table.iloc[0]
    n, splits = int(row["n"]), int(row["splits"])
    mean, low, high, deviation = (float(row[name]) for name in ("mean", "low", "high", "deviation"))
    return Estimate(mean, low, high, deviation, n, max(1, splits))


def curve(frame: pd.DataFrame, x: str, metric: str) -> pd.DataFrame:
    """Aggregate ``metric`` over seeds against the column ``x``.

    Columns value, mean, low, high, deviation, n, failed, pruned, diverged, missing; numbers ascending, other
    values in order of appearance."""
    table = summarise(frame, [x], metric).rename(columns={x: "value"})
    if is_numeric(table["value"]):
        table = table.assign(value=table["value"].astype(float)).sort_values("value", kind="stable", ignore_index=True)
    return table


def is_numeric(values: pd.Series) -> bool:
    """Tell whether every value is a number (truth values are not)."""
    return all(isinstance(v, (int, float, np.number)) and not isinstance(v, (bool, np.bool_)) for v in values)


# Differences ---------------------------------------------------------------------------------------------------


def resolution(runs: pd.DataFrame, metric: str) -> float:
    """Give the step in which a share moves: 1 / samples of the test split, the fewest of several, where the finished
    runs tell them and ``metric`` is of it; else the smallest step between the values of it, or of a modality's alone,
    which are shares of the same samples; 0 where there is none."""
    return float(_steps(runs, metric, np.zeros(len(runs), int)).sum())


def _steps(runs: pd.DataFrame, metric: str, group: np.ndarray) -> np.ndarray:
    """Give the :func:`resolution` of each group of runs, by the number of the group of each run."""
    sizes = np.full(len(runs), np.nan)
    if metric.startswith("test_") and TEST_SAMPLES in runs:
        sizes = runs[TEST_SAMPLES].to_numpy(float)
    columns = [runs[name].to_numpy(float) for name in _of_one_step(runs, metric)]
    done, steps = runs["status"].to_numpy(object) == "done", np.zeros(int(group.max(initial=-1)) + 1)
    for number in range(len(steps)):
        chosen = done & (group == number)
        told = sizes[chosen & ~np.isnan(sizes)]
        found = [1 / told.min()] if len(told) else [smallest_step(values[chosen]) for values in columns]
        steps[number] = min((step for step in found if step), default=0.0)
    return steps


def _of_one_step(runs: pd.DataFrame, metric: str) -> list[str]:
    """Name the columns that hold ``metric`` of the fused prediction and of each modality."""
    split, _, kind = metric.partition("_")
    fused = f"{split}_{next((name for name in METRICS if kind.startswith(name)), kind)}"
    names = _names(runs.columns)
    return [name for name in names if name in (metric, fused) or name.startswith(f"{fused}_")]


def _names(columns: pd.Index) -> list[str]:
    """List the names of columns; pandas' own way through an index of texts takes longer than what is done with it."""
    return columns.to_numpy(object).tolist()


def smallest_step(values: Sequence[float] | np.ndarray | pd.Series) -> float:
    """Give the smallest distance between two of ``values``; 0 where all are equal."""
    kept = np.asarray(values, float)
    gaps = np.diff(np.unique(kept[~np.isnan(kept)].round(9)))  # coarser than the rounding of sums
    return float(gaps.min()) if len(gaps) else 0.0


def rounding_noise(step: Any) -> Any:
    """Give the deviation of one value that rounding to multiples of ``step`` adds, step / sqrt(12)."""
    return step / math.sqrt(12)


def holm(p_values: Sequence[float] | np.ndarray | pd.Series) -> np.ndarray:
    """Adjust p-values for their number (Holm 1979, step-down).

    The i-th smallest of k becomes the largest of (k - j + 1) p_(j), j <= i, at most 1. NaN stay NaN, uncounted."""
    p = np.asarray(p_values, float)
    order = np.argsort(p)[: np.count_nonzero(~np.isnan(p))]
    adjusted = np.full(len(p), np.nan)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(order), 0, -1)))
    return adjusted


def lost_runs(rows: pd.DataFrame) -> set[Any]:
    """Find split and seed of the runs of one configuration that ended without a result: failed, diverged or pruned."""
    return {*repeat_of(rows[rows["status"].isin(FAILED)])} - {*repeat_of(rows[rows["status"].eq("done")])}


# Tables --------------------------------------------------------------------------------------------------------


def compare(frame: pd.DataFrame, metrics: Sequence[str], by: Sequence[str] = ("label", "dataset")) -> pd.DataFrame:
    """Make a table to read, one row a group: columns ``by``, n (finished runs), failed, missing, and each metric.

    A metric is its mean with its interval, as :func:`interval_text` writes them; one known for fewer runs than n says
    for how many."""
    counted = frame[[*by, "status"]].assign(finished=1.0)
    table = summarise(counted, by, "finished")[[*by, "n", "failed", "missing"]]
    for metric in metrics:
        found = summarise(frame, by, metric)
        cells = zip(found["mean"], found["low"], found["high"], found["n"], table["n"], strict=True)
        table[metric] = [interval_text(*ends) + (f" (n = {n})" if 0 < n < runs else "") for *ends, n, runs in cells]
    return table


def per_cent(mean: float, half: float = math.nan) -> str:
    """Write a share as per cent with the half width of its interval: "89.4 ± 0.6"; "–" where there is none."""
    if math.isnan(mean):
        return "–"
    return f"{100 * mean:.1f}" + ("" if math.isnan(half) else f" ± {100 * half:.1f}")


def interval_text(mean: float, low: float, high: float) -> str:
    """Write a share and its interval as per cent: "89.4 ± 0.6", or "99.5 (98.7 to 100.0)" where 0 or 1 ends it."""
    if math.isnan(low) or math.isclose(high - mean, mean - low, abs_tol=1e-9):
        return per_cent(mean, high - mean)
    return f"{100 * mean:.1f} ({100 * low:.1f} to {100 * high:.1f})"


def interval_arms(table: pd.DataFrame) -> np.ndarray:
    """Give the lengths of error bars in points, [2, rows]: below and above the mean, 0 where none is known."""
    return np.nan_to_num(100 * np.stack([table["mean"] - table["low"], table["high"] - table["mean"]]))
