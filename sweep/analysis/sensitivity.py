"""Sensitivity of a metric to a hyperparameter: how far its mean moves over the values, against the noise of seeds.

A frame has one row a run, as ``sweep.results.load`` gives it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from sweep.analysis.replicates import ONE_SPLIT
from sweep.analysis.statistics import curve, resolution, rounding_noise, split_of
from sweep.analysis.two_way import SIGNIFICANCE, Effect, value_effect


@dataclass(frozen=True)
class Sensitivity:
    """The movement of a metric with a hyperparameter, against its movement with the seed.

    span: largest minus smallest mean over the values; noise: deviation of one run between seeds, pooled over the
    values; ratio: span / noise; p: where no value matters, by ``effect``, a two-way analysis with seeds as blocks;
    best, worst: the values of the largest and smallest mean of the metric that selects; at_best: the mean of the metric
    at the best value; reach: smallest and largest mean; selected: whether another metric than this selects; values: how
    many have a mean; n: fewest and most runs; splits: on which they are; pruned: values without a mean because early
    stopping ended their runs; diverged: values at which every seed diverged, each with its number of seeds; unstable:
    values at which some did, with how many of how many; failed: values without a mean because every run failed
    otherwise."""

    span: float
    noise: float
    ratio: float
    p: float
    best: Any
    worst: Any
    values: int
    n: tuple[int, int]
    pruned: int = 0
    at_best: float = math.nan
    reach: tuple[float, float] = (math.nan, math.nan)
    selected: bool = False
    diverged: tuple[tuple[Any, int], ...] = ()
    unstable: tuple[tuple[Any, int, int], ...] = ()
    failed: tuple[Any, ...] = ()
    effect: Effect | None = None
    splits: int = 1

    def detectable(self, sentences: int = 1) -> float:
        """Give the range that would have been found with 80 % probability, as one of so many sentences; NaN where there
        is no measure of noise."""
        return self.effect.detectable_range(SIGNIFICANCE / sentences) if self.effect else math.nan

    def verdict(self, p_holm: float | None = None, sentences: int = 1) -> str:
        """Say it in one plain sentence, or a few. p_holm: p corrected over so many sentences; None: p alone."""
        found = self._verdict(self.p if p_holm is None else p_holm, sentences)
        if self.diverged:
            places = ", ".join(f"{_value_text(v)} ({n} {'seed' if n == 1 else 'seeds'})" for v, n in self.diverged)
            found = f"Sensitive: training diverges under every seed at {places}. Over the other values: {found}"
        if self.unstable:
            places = ", ".join(f"{_value_text(v)} ({lost} of {n} seeds)" for v, lost, n in self.unstable)
            found += f" Training diverged at {places}: the means there are of the survivors."
        if self.failed:
            found += f" Nothing is known at {', '.join(map(_value_text, self.failed))}: every run failed."
        if self.pruned:
            left = f"{self.pruned} {'value was' if self.pruned == 1 else 'values were'} stopped early and left out"
            found += f" {left}: over all values the range may be larger."
        return found

    def _verdict(self, p_value: float, sentences: int) -> str:
        if self.values < 2:
            return "Sensitivity cannot be judged: fewer than two values have a finished run."
        moved = f"the mean moves by {100 * self.span:.1f} points over {self.values} values"
        if math.isnan(p_value):
            return (
                f"Sensitivity cannot be judged: {moved}, but with one seed a value there is no measure of seed noise."
            )
        fewest, most = self.n
        seeds = f"{most}" if fewest == most else f"{fewest} to {most}"
        where = f"seeds a value {ONE_SPLIT}" if self.splits < 2 else f"runs a value on {self.splits} splits"
        against = f"{moved}, one run between seeds by {100 * self.noise:.1f} (ratio {self.ratio:.1f}; {seeds} {where})"
        if self.effect is not None and self.effect.blocked:
            own = f"{100 * self.effect.noise:.1f}"
            shared = f", {own} of it not shared by the runs of a seed"
            against += shared if self.splits < 2 else f", the mean of a split by {own} beyond what its split shares"
        p = f"p {'< 0.001' if p_value < 0.001 else f'= {p_value:.3f}'}"
        p += f" corrected for {sentences} sentences" if sentences > 1 else ""
        if p_value >= SIGNIFICANCE:
            least = 100 * self.detectable(sentences)
            power = f"a range of {least:.1f} points would have been found with 80 % probability"
            if least > 100:
                power = "no range at all would have been found with 80 % probability"
            chance = "such a range is within chance"
            if math.isinf(least):
                chance = "by chance so few seeds may all have collapsed at one of the values"
            return f"No sensitivity shown: {against}; {chance}, {p}; {power}."
        degree = "Sensitive" if self.ratio >= 2 else "Weakly sensitive"
        ends = f"best at {_value_text(self.best)}, worst at {_value_text(self.worst)}"
        if self.selected:
            low, high = (f"{100 * each:.1f}" for each in self.reach)
            ends += f" by validation (test mean {100 * self.at_best:.1f} % at the best, {low} to {high} % over all)"
        return f"{degree}: {against}; more than chance gives, {p}; {ends}."


def sensitivity(frame: pd.DataFrame, x: str, metric: str, select: str | None = None) -> Sensitivity:
    """Set the range of the mean of ``metric`` over the values of ``x`` against the pooled deviation between seeds.

    select: the metric by which the best and the worst value are named; None: ``metric`` itself. What is shown on test
    data is named by validation data, or the name is chosen on the test split. Seed noise is the root of
    sum (n_i - 1) s_i^2 / sum (n_i - 1). The p-value is that of a two-way analysis with seeds as blocks
    (:func:`sweep.analysis.two_way.value_effect`); there the noise counts as no smaller than rounding to the
    resolution of the metric, and of several finished runs of one value and seed the first counts. A value at which
    every seed diverged has no mean, and is told."""
    table = curve(frame, x, metric)
    none = table["n"].eq(0) & table["missing"].eq(0)
    lost = table[none & table["diverged"].gt(0)]
    some = table[table["n"].gt(0) & table["diverged"].gt(0)]
    total = some["n"] + some["failed"] + some["missing"]
    told: dict[str, Any] = {
        "pruned": int((table["n"].eq(0) & table["pruned"].gt(0) & ~table.index.isin(lost.index)).sum()),
        "diverged": tuple(zip(lost["value"], lost["failed"], strict=True)),
        "unstable": tuple(zip(some["value"], some["diverged"], total, strict=True)),
        "failed": tuple(table.loc[none & table["diverged"].eq(0) & table["pruned"].eq(0), "value"]),
    }
    has_mean = table["n"].gt(0)
    table = table[has_mean].reset_index(drop=True)
    if len(table) < 2:
        return Sensitivity(math.nan, math.nan, math.nan, math.nan, None, None, len(table), (0, 0), **told)
    n, mean = table["n"].to_numpy(), table["mean"]
    span, freedom = float(mean.max() - mean.min()), int(table["freedom"].sum())
    noise, p = math.nan, math.nan
    if freedom:
        noise = math.sqrt(float((table["freedom"] * table["within"].fillna(0) ** 2).sum()) / freedom)
        done = _repeats(frame, x, metric)
        levels, seeds = pd.factorize(done[x])[0], pd.factorize(done["block"])[0]
        floor = rounding_noise(resolution(frame, metric))
        told["splits"] = max(1, int(table["splits"].max()))
        told["effect"] = value_effect(done[metric].to_numpy(float), levels, seeds, floor)
        p = told["effect"].p
    ratio = span / noise if noise else math.inf if span else 0.0
    by = mean
    if select not in (None, metric):
        others = curve(frame, x, str(select))["mean"][has_mean].reset_index(drop=True)
        by = mean if others.isna().all() else others
    first, last = int(np.nanargmax(by)), int(np.nanargmin(by))
    told |= {"at_best": float(mean[first]), "reach": (float(mean.min()), float(mean.max())), "selected": by is not mean}
    best, worst = table["value"].iloc[first], table["value"].iloc[last]
    return Sensitivity(span, noise, ratio, p, best, worst, len(n), (int(n.min()), int(n.max())), **told)


def _repeats(frame: pd.DataFrame, x: str, metric: str) -> pd.DataFrame:
    """Give the repeats of each value, with the block that they belong to: runs by seed, or with several splits the
    splits' means by split, as runs of one split repeat the training alone."""
    done = frame[frame["status"].eq("done") & frame[metric].notna()]
    done = done[[x, "seed", metric]].assign(split=split_of(done)).drop_duplicates([x, "split", "seed"])
    if done["split"].nunique() < 2:
        return done.rename(columns={"seed": "block"})
    return done.groupby([x, "split"], sort=False)[metric].mean().reset_index().rename(columns={"split": "block"})


def _value_text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, (float, np.floating)) else str(value)
