"""Figures of several objectives: each study's Pareto front, what it beats, and the references beside it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from sweep.analysis.fronts import Front, display_factor, objective_label
from sweep.analysis.parts import Parts
from sweep.config.schema import Objective
from sweep.plan.objectives import DIRECTIONS
from sweep.report.figures.labels import part_labels
from sweep.report.figures.style import COLOURS, GREY, MARKERS, Drawing, add_legend, new_figure, seed_count, slug

NAMED = 12
"""Members of a front that are named in a figure."""


def draw_fronts(parts: Parts, found: Sequence[Front]) -> Iterator[Drawing]:
    """Draw each study's front for each pair of its objectives: the later one across, the first one up."""
    for front in found:
        for up, across in itertools.combinations(front.objectives, 2):
            words = [slug(word) for word in (front.label, front.dataset)] if len(found) > 1 else []
            yield _draw(parts, front, across, up, "-".join(["pareto", *words, slug(up), slug(across)]))


def _draw(parts: Parts, front: Front, across: Objective, up: Objective, stem: str) -> Drawing:
    table = front.table
    figure = new_figure(5.2, 3.6)
    ax = figure.subplots()
    beaten, unranked = table[table["ranked"] & ~table["front"]], table[~table["ranked"]]
    for part, face, label in ((beaten, "#9fb8cc", "beaten"), (unranked, "white", "fewer seeds, not ranked")):
        if len(part):
            edge = GREY if face == "white" else face
            style: dict[str, Any] = {"markerfacecolor": face, "markeredgecolor": edge, "markersize": 4, "zorder": 2}
            ax.plot(*_points(part, across, up), "o", label=label, **style)
    for row in unranked.to_dict("records"):
        place = (display_factor(across) * row[across], display_factor(up) * row[up])
        ax.annotate(f"n={row['n']}", place, (4, 2), textcoords="offset points", fontsize=5.5, color=GREY)
    members = table[table["front"]].sort_values(across)
    _with_intervals(ax, members, across, up, COLOURS[0], "o", "front")
    if len(front.objectives) == 2:
        step: Literal["pre", "post"] = "post" if DIRECTIONS[across] == "minimize" else "pre"
        ax.step(*_points(members, across, up), where=step, color=COLOURS[0], linewidth=1.0, alpha=0.6, zorder=1)
    for number, row in enumerate(members.head(NAMED).to_dict("records"), start=1):
        place = (display_factor(across) * row[across], display_factor(up) * row[up])
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
    ax.set_title(f"{front.label} on {front.dataset}, {seed_count(_rows(parts, front))}", loc="left")
    add_legend(figure, [ax])
    part_labels(figure)
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
    """Fit an axis to every mean; an interval may widen it by at most the span of the means on each side."""
    means, factor = display_factor(objective) * table[objective].dropna(), display_factor(objective)
    low, high = float(means.min()), float(means.max())
    reach = (high - low) or max(abs(high), 1.0) / 10
    ends = factor * members[f"{objective}_low"].min(), factor * members[f"{objective}_high"].max()
    bottom = max(np.nanmin([ends[0], low]), low - reach)
    top = min(np.nanmax([ends[1], high]), high + reach)
    return bottom - 0.08 * reach, top + 0.08 * reach


def _rows(parts: Parts, front: Front) -> pd.DataFrame:
    swept = parts.swept
    members = front.table.loc[front.table["ranked"], "configuration"]
    return swept[swept["label"].eq(front.label) & swept["configuration"].isin(members)]


def _points(table: pd.DataFrame, across: Objective, up: Objective) -> tuple[pd.Series, pd.Series]:
    return display_factor(across) * table[across], display_factor(up) * table[up]


def _with_intervals(
    ax: Axes, table: pd.DataFrame, across: Objective, up: Objective, colour: str, marker: str, label: str
) -> None:
    errors = [
        np.nan_to_num(display_factor(o) * np.stack([table[o] - table[f"{o}_low"], table[f"{o}_high"] - table[o]]))
        for o in (across, up)
    ]
    x, y = _points(table, across, up)
    ax.errorbar(x, y, xerr=errors[0], yerr=errors[1], fmt=marker, color=colour, markersize=5.5, elinewidth=0.9,
                ecolor=(colour, 0.45),
                capsize=2, label=label, zorder=3)  # fmt: skip
