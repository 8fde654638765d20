"""Several objectives: which configurations no other one beats, as a figure and as rows of a table."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sweep.config.schema import Objective
from sweep.drawing import COLOURS, GREY, MARKERS, Drawing, legend, seed_count, slug
from sweep.objectives import DIRECTIONS, column, directions, pareto_front
from sweep.shape import METRIC_NAMES, Shape
from sweep.standing import CONFIGURATION, STUDY, Raced, standings
from sweep.statistics import summarise

SHARES = (*METRIC_NAMES, "imbalance")
"""Objectives that are shares, shown in per cent."""
UNITS = {"seconds": "seconds a run", "forward_passes": "forward passes a run", "peak_memory_mib": "peak memory (MiB)"}
NAMED = 12
"""Members of a front that are named in a figure."""


@dataclass(frozen=True)
class Front:
    """The configurations of one study under several objectives.

    table: one row a configuration with the columns point, n, state, ranked, front (whether no ranked one beats it) and
    for each objective OBJECTIVE, OBJECTIVE_low and OBJECTIVE_high (mean and 95 % t interval over finished seeds, in the
    objective's own unit); only those that finished a seed. lost: how many did not. references: label -> such rows of a
    baseline, of a searched one those on its own front."""

    label: str
    dataset: str
    objectives: tuple[Objective, ...]
    table: pd.DataFrame
    lost: int
    references: dict[str, pd.DataFrame]


def fronts(shape: Shape, objectives: Sequence[Objective], seeds: int = 0, out: Raced | None = None) -> list[Front]:
    """The front of each study of a sweep with these objectives. Only configurations with all their seeds are compared:
    one that was pruned, failed or is out of the race is never on a front."""
    found = []
    for (label, dataset, _), rows in shape.swept.groupby(STUDY, sort=False):
        table = _table(rows, objectives, seeds, out)
        beside = shape.references[shape.references["dataset"].eq(str(dataset))]
        references = {
            str(name): own[own["front"]]
            for name, part in beside.groupby("label", sort=False)
            if len(own := _table(part, objectives, seeds, out))
        }
        kept = table[table["n"].gt(0)]
        front = Front(str(label), str(dataset), tuple(objectives), kept, len(table) - len(kept), references)
        found.append(front)
    return found


def _table(rows: pd.DataFrame, objectives: Sequence[Objective], seeds: int, out: Raced | None) -> pd.DataFrame:
    points = rows.drop_duplicates(CONFIGURATION)[[*CONFIGURATION, "point"]]
    table = standings(rows, seeds, out).merge(points, on=CONFIGURATION)
    for objective in objectives:
        table = table.merge(_means(rows, objective), on="configuration")
    # A sweep that is still being run has values of some objectives alone.
    table["ranked"] &= table[list(objectives)].notna().all(axis=1)
    ranked = table[table["ranked"]]
    members = pareto_front(ranked[list(objectives)].to_numpy().tolist(), directions(objectives))
    return table.assign(front=table.index.isin(ranked.index[members]))


def _means(rows: pd.DataFrame, objective: Objective) -> pd.DataFrame:
    means = summarise(rows, ["configuration"], column(objective))[["configuration", "mean", "low", "high"]]
    return means.rename(columns={"mean": objective, "low": f"{objective}_low", "high": f"{objective}_high"})


def objective_label(objective: Objective) -> str:
    """What an axis of validation values is called."""
    if objective in SHARES:
        return f"validation {METRIC_NAMES.get(objective, objective)} (%)"
    return UNITS[objective]


def scaled(objective: Objective) -> float:
    return 100.0 if objective in SHARES else 1.0


def shown(objective: Objective, value: float, half: float = math.nan) -> str:
    """A mean with half of its interval, where it has one, as text."""
    if np.isnan(value):
        return "–"
    factor = scaled(objective)
    digits = 1 if factor * abs(value) < 1000 else 0
    return f"{factor * value:,.{digits}f}" + ("" if np.isnan(half) else f" ± {factor * half:,.{digits}f}")


def draw_fronts(shape: Shape, found: Sequence[Front]) -> Iterator[Drawing]:
    """For each study and each pair of its objectives: the later one across, the first one up."""
    for front in found:
        for up, across in itertools.combinations(front.objectives, 2):
            parts = [slug(word) for word in (front.label, front.dataset)] if len(found) > 1 else []
            yield _draw(shape, front, across, up, "-".join(["pareto", *parts, slug(up), slug(across)]))


def _draw(shape: Shape, front: Front, across: Objective, up: Objective, stem: str) -> Drawing:
    table = front.table
    figure = Figure(figsize=(5.2, 3.6), layout="constrained")
    ax = figure.subplots()
    beaten, unranked = table[table["ranked"] & ~table["front"]], table[~table["ranked"]]
    for part, face, label in ((beaten, "#9fb8cc", "beaten"), (unranked, "white", "fewer seeds, not ranked")):
        if len(part):
            edge = GREY if face == "white" else face
            style: dict[str, Any] = {"markerfacecolor": face, "markeredgecolor": edge, "markersize": 4, "zorder": 2}
            ax.plot(*_points(part, across, up), "o", label=label, **style)
    for row in unranked.to_dict("records"):
        place = (scaled(across) * row[across], scaled(up) * row[up])
        ax.annotate(f"n={row['n']}", place, (4, 2), textcoords="offset points", fontsize=5.5, color=GREY)
    members = table[table["front"]].sort_values(across)
    _with_intervals(ax, members, across, up, COLOURS[0], "o", "front")
    if len(front.objectives) == 2:
        step: Literal["pre", "post"] = "post" if DIRECTIONS[across] == "minimize" else "pre"
        ax.step(*_points(members, across, up), where=step, color=COLOURS[0], linewidth=1.0, alpha=0.6, zorder=1)
    for number, row in enumerate(members.head(NAMED).to_dict("records"), start=1):
        place = (scaled(across) * row[across], scaled(up) * row[up])
        ax.annotate(str(number), place, (-5, 4), textcoords="offset points", ha="right", fontsize=6.5)
    for index, (label, own) in enumerate(front.references.items(), start=1):
        _with_intervals(ax, own, across, up, COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)], label)
    everything = pd.concat([table, *front.references.values()])
    ax.set_xlim(*_limits(everything, members, across))
    ax.set_ylim(*_limits(everything, members, up))
    ax.set_xlabel(objective_label(across))
    ax.set_ylabel(objective_label(up))
    if across == "forward_passes":
        ax.ticklabel_format(axis="x", style="sci", scilimits=(-3, 5))
    ax.set_title(f"{front.label} on {front.dataset}, {seed_count(_rows(shape, front))}", loc="left")
    legend(figure, [ax])
    names = "; ".join(f"{i} {row['point']}" for i, row in enumerate(members.head(NAMED).to_dict("records"), start=1))
    lost = f" {front.lost} without a finished seed (pruned or failed) are not shown." if front.lost else ""
    more = "" if len(front.objectives) == 2 else f" The front is that of all of {', '.join(front.objectives)}."
    return Drawing(
        stem,
        f"{front.label} on {front.dataset}: {objective_label(up)} against {objective_label(across)}, mean over seeds, "
        "95 % t interval for the front (no configuration with all seeds is better in one objective and as good in the "
        "others) and for the references, cut where wider than the figure. "
        f"Front: {names}.{more} Hollow: fewer seeds, not compared.{lost} "
        "Values of a search on validation data are optimistic; the table has the front under fresh seeds.",
        figure,
        "pareto",
    )


def _limits(table: pd.DataFrame, members: pd.DataFrame, objective: Objective) -> tuple[float, float]:
    """Fits an axis to every mean; an interval may widen it by at most the span of the means on each side."""
    means, factor = scaled(objective) * table[objective].dropna(), scaled(objective)
    low, high = float(means.min()), float(means.max())
    reach = (high - low) or max(abs(high), 1.0) / 10
    ends = factor * members[f"{objective}_low"].min(), factor * members[f"{objective}_high"].max()
    bottom = max(np.nanmin([ends[0], low]), low - reach)
    top = min(np.nanmax([ends[1], high]), high + reach)
    return bottom - 0.08 * reach, top + 0.08 * reach


def _rows(shape: Shape, front: Front) -> pd.DataFrame:
    swept = shape.swept
    members = front.table.loc[front.table["ranked"], "configuration"]
    return swept[swept["label"].eq(front.label) & swept["configuration"].isin(members)]


def _points(table: pd.DataFrame, across: Objective, up: Objective) -> tuple[pd.Series, pd.Series]:
    return scaled(across) * table[across], scaled(up) * table[up]


def _with_intervals(
    ax: Axes, table: pd.DataFrame, across: Objective, up: Objective, colour: str, marker: str, label: str
) -> None:
    errors = [np.nan_to_num(scaled(o) * (table[f"{o}_high"] - table[o])) for o in (across, up)]
    x, y = _points(table, across, up)
    ax.errorbar(x, y, xerr=errors[0], yerr=errors[1], fmt=marker, color=colour, markersize=5.5, elinewidth=0.9,
                ecolor=(colour, 0.45),
                capsize=2, label=label, zorder=3)  # fmt: skip
