"""Several objectives: the configurations of each study that no other one beats, and the words for their values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from sweep.analysis.completeness import CONFIGURATION, STUDY, RacedOut, completeness_table
from sweep.analysis.parts import METRIC_NAMES, Parts
from sweep.analysis.statistics import split_of, summarise
from sweep.config.schema import Objective
from sweep.plan.objectives import directions, pareto_front, result_column

SHARES = (*METRIC_NAMES, "imbalance")
"""Objectives that are shares, shown in per cent."""
UNITS = {"seconds": "seconds a run", "forward_passes": "forward passes a run", "peak_memory_mib": "peak memory (MiB)"}


@dataclass(frozen=True)
class Front:
    """The configurations of one study under several objectives.

    table: one row a configuration with the columns point, n, state, ranked, front (no ranked one beats it) and
    for each objective OBJECTIVE, OBJECTIVE_low and OBJECTIVE_high (mean and 95 % t interval over finished seeds, in the
    objective's own unit); only those that finished a seed. lost: how many did not. references: label -> such rows of a
    baseline, of a searched one those on its own front."""

    label: str
    dataset: str
    """With its split where there are several: fronts are found on each of them."""
    objectives: tuple[Objective, ...]
    table: pd.DataFrame
    lost: int
    references: dict[str, pd.DataFrame]


def pareto_fronts(
    parts: Parts, objectives: Sequence[Objective], seeds: int = 0, out: RacedOut | None = None
) -> list[Front]:
    """Find the front of each study of a sweep with these objectives.

    Only configurations with all their seeds are compared: one that was pruned, failed or is out of the race is never
    on a front."""
    found = []
    for (label, dataset, _, split), rows in parts.swept.groupby([*STUDY, split_of(parts.swept)], sort=False):
        table = _table(rows, objectives, seeds, out)
        beside = parts.references[
            parts.references["dataset"].eq(str(dataset)) & split_of(parts.references).eq(split_of(rows).iloc[0])
        ]
        if split_of(parts.swept).nunique() > 1:
            dataset = f"{dataset}, split {split}"
        references = {
            str(name): own[own["front"]]
            for name, part in beside.groupby("label", sort=False)
            if (own := _table(part, objectives, seeds, out))["front"].any()
        }
        kept = table[table["n"].gt(0)]
        front = Front(str(label), str(dataset), tuple(objectives), kept, len(table) - len(kept), references)
        found.append(front)
    return found


def _table(rows: pd.DataFrame, objectives: Sequence[Objective], seeds: int, out: RacedOut | None) -> pd.DataFrame:
    points = rows.drop_duplicates(CONFIGURATION)[[*CONFIGURATION, "point"]]
    table = completeness_table(rows, seeds, out).merge(points, on=CONFIGURATION)
    for objective in objectives:
        table = table.merge(_means(rows, objective), on="configuration")
    # A sweep that is still being run has values of some objectives alone.
    table["ranked"] &= table[list(objectives)].notna().all(axis=1)
    ranked = table[table["ranked"]]
    members = pareto_front(ranked[list(objectives)].to_numpy().tolist(), directions(objectives))
    return table.assign(front=table.index.isin(ranked.index[members]))


def _means(rows: pd.DataFrame, objective: Objective) -> pd.DataFrame:
    means = summarise(rows, ["configuration"], result_column(objective), objective in SHARES)[
        ["configuration", "mean", "low", "high"]
    ]
    return means.rename(columns={"mean": objective, "low": f"{objective}_low", "high": f"{objective}_high"})


def objective_label(objective: Objective) -> str:
    """Name an axis of validation values."""
    if objective in SHARES:
        return f"validation {METRIC_NAMES.get(objective, objective)} (%)"
    return UNITS[objective]


def display_factor(objective: Objective) -> float:
    """Give the factor from recorded values to displayed ones: 100 for shares, which are displayed in per cent."""
    return 100.0 if objective in SHARES else 1.0


def value_text(objective: Objective, value: float, half: float = math.nan) -> str:
    """Write a mean with half of its interval, where it has one."""
    if np.isnan(value):
        return "–"
    factor = display_factor(objective)
    digits = 1 if factor * abs(value) < 1000 else 0
    return f"{factor * value:,.{digits}f}" + ("" if np.isnan(half) else f" ± {factor * half:,.{digits}f}")
