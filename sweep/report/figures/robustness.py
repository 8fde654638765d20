"""Figures of robustness: a metric against the severity of a corruption, and what each method loses over it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from matplotlib.ticker import MaxNLocator

from sweep.analysis.parts import Axis, Parts, axis_with_values, metric_label
from sweep.analysis.robustness import Robustness, robustness
from sweep.analysis.statistics import curve, interval_arms
from sweep.report.figures.curves import scale_axis
from sweep.report.figures.style import (
    COLOURS,
    GREY,
    MARKERS,
    Drawing,
    is_narrow,
    new_figure,
    positions,
    protocol,
    slug,
)

MOST_COLOURED = len(COLOURS)
"""Methods up to which each has a colour; of more, those that lose least and most, and joint training."""


def draw_robustness(parts: Parts) -> Iterator[Drawing]:
    """Draw each corruption: the metric of every method against the severity, and beside it the change from the lowest
    to the highest severity with its interval."""
    for found in robustness(parts):
        yield _draw(found)


def _draw(found: Robustness) -> Drawing:
    labels = list(found.changes["label"])
    coloured = coloured_methods(found)
    rows = 2 if is_narrow() else 1
    height = 0.19 * len(labels) + 1.0
    figure = new_figure(7.4, 2.6 + height if rows == 2 else max(2.8, height))
    ratios = {"height_ratios": (2.4, height)} if rows == 2 else {"width_ratios": (3, 2)}
    left, right = figure.subplots(rows, 3 - rows, **ratios)
    axis = axis_with_values(Axis(found.column, found.words, found.words, "", "category", ()), found.values)
    for label in sorted(labels, key=lambda each: each in coloured):
        table = curve(found.rows[found.rows["label"].eq(label)], found.column, found.metric)
        x, mean = positions(table["value"], axis), 100 * table["mean"]
        if label not in coloured:
            left.plot(x, mean, color="#c4c4c4", linewidth=0.8, zorder=1)
            continue
        colour, marker = coloured[label]
        left.errorbar(x, mean, interval_arms(table), color=colour, marker=marker, capsize=2, elinewidth=0.8, zorder=3)
    scale_axis(left, axis)
    left.set_xlabel(found.words)
    left.set_ylabel(metric_label(found.metric))
    left.set_title(found.dataset, loc="left")
    for at, row in enumerate(found.changes.to_dict("records")):
        colour, marker = coloured.get(row["label"], ("#8a8a8a", "o"))
        half = np.nan_to_num([[100 * (row["mean"] - row["low"])], [100 * (row["high"] - row["mean"])]])
        right.errorbar([100 * row["mean"]], [at], xerr=half, fmt=marker, color=colour, capsize=2, elinewidth=1)
    right.axvline(0, color=GREY, linewidth=0.8, linestyle="--")
    right.set_yticks(range(len(labels)), labels)
    right.set_ylim(len(labels) - 0.5, -0.5)
    right.grid(visible=False, axis="x")
    right.xaxis.set_major_locator(MaxNLocator(4))
    right.set_xlabel("change (points)")
    right.set_title(f"{found.values[0]:g} to {found.values[-1]:g}", loc="left")
    rest = " Grey: the other methods." if len(coloured) < len(labels) else ""
    text = (
        f"{metric_label(found.metric)} against {found.words}, each method at its choice there, and the difference from "
        f"{found.values[0]:g} to {found.values[-1]:g} over common seeds with its 95 % t interval; colours and markers "
        f"are those of the names on the right.{rest} {protocol(found.rows, found.metric)}"
    )
    stem = f"severity-{slug(found.dataset)}-{slug(found.words)}-{slug(found.metric)}"
    return Drawing(stem, text, figure, "severities")


def coloured_methods(found: Robustness) -> dict[str, tuple[str, str]]:
    """Choose colour and marker of the methods that are told apart."""
    labels = list(found.changes["label"])
    if len(labels) > MOST_COLOURED:
        plain = list(found.changes.loc[found.changes["plain"], "label"])
        ends = [label for label in labels if label not in plain]
        labels = [*plain, *ends[:2], *ends[-(MOST_COLOURED - 2 - len(plain)) :]]
    return {label: (COLOURS[k], MARKERS[k]) for k, label in enumerate(labels)}
