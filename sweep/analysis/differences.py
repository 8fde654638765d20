"""Differences of configurations to a baseline under common splits and seeds, judged as a family.

A frame has one row a run, as ``sweep.results.load`` gives it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from sweep.analysis.many_to_one import ManyToOne, detectable_difference, many_to_one
from sweep.analysis.noise import pooled_noise
from sweep.analysis.statistics import (
    NO_SPREAD,
    group_numbers,
    grouped,
    half_width,
    repeat_grid,
    resolution,
    rounding_noise,
)


def differences(frame: pd.DataFrame, baseline: pd.DataFrame, metric: str, by: Sequence[str]) -> pd.DataFrame:
    """Compare each group of ``frame`` with ``baseline`` on the same dataset under common splits and seeds, by
    :func:`sweep.analysis.many_to_one.many_to_one`: with seeds as blocks, or with the means of several splits.

    metric: a share in [0, 1], of the :func:`resolution` on the dataset. Columns ``by``, dataset, mean, low, high, n
    (common runs), repeats (common seeds, or splits where there are several), splits, p, p_adjusted (over all rows:
    step-down on each dataset, Bonferroni over datasets), comparisons (how many different ones that are), noise
    (deviation of one repeat on the dataset beyond what its block shares), detectable (the difference that would have
    been found with 80 % probability; infinite where none would), lost and baseline_lost (runs that ended without a
    result) and seeds (all runs of the group). Groups without a finished run of the baseline on their dataset have n =
    0. Of several finished runs of one split and seed the first counts."""
    by = [*by, *({"dataset"} - set(by))]
    known, tables = dict(list(baseline.groupby("dataset", sort=False))), list[pd.DataFrame]()
    for dataset, rows in frame.groupby("dataset", sort=False):
        tables.append(_on_one_dataset(rows, known.get(dataset, baseline.iloc[:0]), metric, by))
    columns = [*by, "mean", "low", "high", "n", "repeats", "splits", "p", "p_adjusted", "comparisons"]
    columns += ["noise", "detectable", "lost", "seeds", "baseline_lost"]
    if not tables:
        return pd.DataFrame(columns=columns)
    families = [int(table["comparisons"].iloc[0]) for table in tables]
    judged = sum(size > 0 for size in families)
    table = pd.concat(tables, ignore_index=True).assign(comparisons=sum(families))
    table["p_adjusted"] = np.minimum(1, judged * table["p_adjusted"])
    power = zip(table["noise"], table["repeats"], table["comparisons"], strict=True)
    found = {key: detectable_difference(*key) for key in set(power) if not np.isnan(key[0])}
    keys = zip(table["noise"], table["repeats"], table["comparisons"], strict=True)
    table["detectable"] = [found.get(key, np.nan) for key in keys]
    order = frame[by].drop_duplicates().itertuples(index=False, name=None)
    place = {key: number for number, key in enumerate(order)}
    places = [place[key] for key in table[by].itertuples(index=False, name=None)]
    return table[columns].iloc[np.argsort(places, kind="stable")].reset_index(drop=True)


def power_text(table: pd.DataFrame) -> str:
    """Say which difference would have been found, from rows of :func:`differences`; "" where the noise is unknown."""
    found = table["detectable"].dropna()
    if found.empty:
        return ""
    least, most = (f"{100 * value:.1f}" if value < 1 else "" for value in (found.min(), found.max()))
    if not least:
        return "no difference at all would have been found with 80 % probability"
    if not most:
        return f"a difference of {least} points would have been found with 80 % probability at best"
    points = least if least == most else f"{least} to {most}"
    return f"a difference of {points} points would have been found with 80 % probability"


def power_between(frame: pd.DataFrame, metric: str, by: Sequence[str] = ("label", "point", "configuration")) -> str:
    """Say which difference between one of the groups of ``frame``, named beforehand, and any other on its dataset would
    have been found with 80 % probability; "" where no dataset has two groups.

    metric: a share in [0, 1]. Groups with fewer finished runs than others of their dataset are left out."""
    said = []
    for dataset, rows in frame.groupby("dataset", sort=False):
        grid = repeat_grid(rows, group_numbers(rows, by))
        values = grid.values(rows, metric)
        counts = (~np.isnan(values)).sum(1)
        kept = values[(counts == counts.max()) & (counts > 0)]
        if len(kept) < 2:
            continue
        several = len(np.unique(grid.splits[~np.isnan(kept[0])])) > 1
        values = grid.split_means(kept) if several else kept
        values = values[:, ~np.isnan(values).all(0)]
        noise = max(pooled_noise(values)[0], float(rounding_noise(resolution(rows, metric))))
        repeats, what = values.shape[1], "splits" if several else "seeds"
        points = detectable_difference(noise, repeats, len(kept) - 1) if repeats > 1 else math.nan
        over = f"{len(kept)} configurations with {repeats} {what if repeats > 1 else what[:-1]}"
        said.append((str(dataset), over, points))
    return "; ".join(_between_text(*each, metric) for each in said)


def _between_text(dataset: str, over: str, points: float, metric: str) -> str:
    words, where = metric.replace("_", " "), f"of {over} on {dataset}"
    if math.isnan(points):
        return f"{where}, no difference of {words} can be judged: nothing repeats them"
    least = "no difference at all" if math.isinf(points) or points > 1 else f"a difference of {100 * points:.1f} points"
    named = "one that was named beforehand and any other"
    return f"{where}, {least} of {words} between {named} would have been found with 80 % probability"


def _on_one_dataset(frame: pd.DataFrame, baseline: pd.DataFrame, metric: str, by: list[str]) -> pd.DataFrame:
    both = pd.concat([baseline, frame], ignore_index=True)
    # The baseline is the first group, whether or not the frame has its runs, too.
    group, keys = grouped(frame, by)
    grid = repeat_grid(both, np.concatenate([np.zeros(len(baseline), int), 1 + group]))
    values = grid.values(both, metric)
    common = ~np.isnan(values[1:] - values[0])
    splits = (~np.isnan(grid.split_means(np.where(common, 0.0, np.nan)))).sum(1)
    if splits.max() > 1:
        # As far from the baseline's mean as the common seeds are on average.
        one = grid.split_means(values[:1])
        values = np.concatenate([one, grid.split_means(values[1:] - values[0]) + one])
    step = resolution(both, metric)
    found = many_to_one(values, float(rounding_noise(step)))
    low, high = _interval(found)
    lost, seeds = grid.lost(both), grid.seeds()
    numbers: dict[str, Any] = {
        "mean": found.mean, "low": low, "high": high, "n": common.sum(1), "repeats": found.n, "splits": splits,
        "p": found.p, "p_adjusted": found.p_adjusted, "comparisons": found.family, "noise": found.noise,
        "baseline_lost": lost[0], "lost": lost[1:], "seeds": seeds[1:],
    }  # fmt: skip
    return keys.assign(**numbers)


def _interval(found: ManyToOne) -> tuple[np.ndarray, np.ndarray]:
    """Give the ends of the 95 % intervals of single differences of shares."""
    spread = np.where(found.deviation >= NO_SPREAD, found.deviation, np.nan)
    half = half_width(spread, found.n, freedom=found.freedom)
    return np.clip(found.mean - half, -1, 1), np.clip(found.mean + half, -1, 1)
