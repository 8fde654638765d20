"""Published sensitivity figures beside ours: the same hyperparameter, every panel with its own axis range."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from sweep.analysis.parts import METRIC_NAMES, Axis, Grid, Parts, axis_with_values, metric_label, modalities
from sweep.analysis.statistics import curve, interval_arms
from sweep.published import DATASETS, PROTOCOL, Curve, curves_over
from sweep.published import FUSED as MULTI
from sweep.report.figures.style import (
    COLOURS,
    FUSED,
    GREY,
    MARKERS,
    Drawing,
    add_legend,
    new_figure,
    positions,
    seed_count,
)
from sweep.results.tables import columns_of

PRINTED = "#faf6ec"
"""Background of a panel with published numbers."""
ACROSS = 3
DrawPanel = Callable[[Axes], None]
DrawAxis = Callable[[Axes, Axis], None]


def published_curves_over(parts: Parts, grid: Grid, axis: Axis, column: str) -> list[Curve]:
    """List the published curves of the grid's method over an axis, in the metric of a column."""
    metric = next(m for m in METRIC_NAMES if column.endswith(m))
    name = axis.name.rpartition(".")[2]
    if not curves_over(grid.method, name, metric, {}):
        return []
    first = parts.with_settings(grid.rows.head(1))
    fixed = {c.removeprefix("hp."): first[c].iloc[0] for c in columns_of(first, "hp.")}
    return curves_over(grid.method, name, metric, fixed)


def draw_beside(parts: Parts, grid: Grid, axis: Axis, column: str, stem: str, scale: DrawAxis) -> Drawing:
    """Draw our and the published curves over one hyperparameter, a panel each; some must have been published.

    Where the authors print the modalities too, a second row of panels has them. scale: sets up a panel's x axis."""
    found = published_curves_over(parts, grid, axis, column)
    figures = [list(group) for _, group in groupby(found, key=lambda c: (c.source, c.figure, c.series, c.dataset))]
    rows, streams = grid.through([axis.column]), any(c.modality != MULTI for c in found)
    datasets = list(dict.fromkeys(rows["dataset"]))
    upper: list[DrawPanel] = [_own_panel(rows, dataset, axis, column, False, scale) for dataset in datasets]
    lower: list[DrawPanel] = [_own_panel(rows, dataset, axis, column, True, scale) for dataset in datasets]
    upper += [_published_panel(group, axis, False, scale) for group in figures]
    lower += [_published_panel(group, axis, True, scale) for group in figures]
    across = len(upper) if streams else min(ACROSS, len(upper))
    lines = [upper, lower] if streams else [upper[at : at + across] for at in range(0, len(upper), across)]
    figure = new_figure(max(4.6, 2.35 * across), 1.95 * len(lines) + 0.45)
    panels = figure.subplots(len(lines), across, squeeze=False)
    for line, drawn in zip(panels, lines, strict=True):
        for ax, draw in zip(line, drawn, strict=False):
            draw(ax)
        for ax in line[len(drawn) :]:
            ax.remove()
        line[0].set_ylabel(metric_label(column).removeprefix("test ").removeprefix("validation "))
    for place, ax in enumerate(panels.ravel()[: len(lines) * across]):
        if place // across == len(lines) - 1 or place + across >= sum(map(len, lines)):
            ax.set_xlabel(axis.label)
    add_legend(figure, [ax for ax in panels.ravel() if ax.figure is not None])
    where = "; ".join(dict.fromkeys(f"{c.citation} ({c.precision})" for c in found))
    notes = "; ".join(dict.fromkeys(note for c in found for note in c.notes))
    text = f"{grid.label}: {metric_label(column)} against {axis.label}, ours (white) beside {where} (shaded)"
    return Drawing(
        stem,
        f"{text}. {PROTOCOL} Each panel has its own range; the span is that of the fused means. Ours: mean and 95 % t "
        f"interval over {seed_count(rows)}, {metric_label(column).removesuffix(' (%)')}."
        + (f" The sources note: {notes}." if notes else ""),
        figure,
        "published",
    )


def _own_panel(rows: pd.DataFrame, dataset: str, axis: Axis, column: str, each: bool, scale: DrawAxis) -> DrawPanel:
    part = rows[rows["dataset"].eq(dataset)]
    names = modalities(part) if each else [FUSED]

    def draw(ax: Axes) -> None:
        for index, name in enumerate(names, start=each):
            table = curve(part, axis.column, f"{column}_{name}" if each else column)
            x, mean = positions(table["value"], axis), 100 * table["mean"]
            low, high = 100 * table["low"], 100 * table["high"]
            colour, marker = COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)]
            if axis.scale == "category":
                ax.errorbar(x, mean, interval_arms(table), fmt=marker, color=colour, capsize=2, label=name)
            else:
                ax.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
                ax.plot(x, mean, color=colour, marker=marker, linewidth=1.6, label=name)
            fewer, none = table["n"].lt(table["n"].max()) & table["n"].gt(0), table["n"].eq(0)
            ax.plot(x[fewer], mean[fewer], marker, color=colour, markerfacecolor="white", zorder=4)
            if none.any():
                mark: dict[str, Any] = {"color": "#B00020", "clip_on": False, "transform": ax.get_xaxis_transform()}
                ax.plot(x[none], [0.04] * none.sum(), "x", label="pruned, or no finished run", **mark)
        scale(ax, axis)
        said = "each modality" if each else _span(100 * curve(part, axis.column, column)["mean"])
        ax.set_title(f"ours: {dataset}\n{said}", loc="left")

    return draw


def _published_panel(group: Sequence[Curve], axis: Axis, each: bool, scale: DrawAxis) -> DrawPanel:
    shown = [c for c in group if (c.modality != MULTI) == each]

    def draw(ax: Axes) -> None:
        ax.set_facecolor(PRINTED)
        for index, printed in enumerate(shown, start=3 if each else 0):
            # Words stand in the order of our panel.
            own = axis_with_values(axis, [*(v for v in axis.values if v in printed.at), *printed.at])
            colour = COLOURS[index % len(COLOURS)] if each else GREY
            x, order = positions(pd.Series(printed.at, dtype=object), own), np.arange(len(printed.at))
            if own.scale != "category":
                order = np.argsort(x)
            y = np.array(printed.values)
            style = "none" if own.scale == "category" else "-"
            name = printed.modality if each else f"{FUSED}, published"
            ax.plot(x[order], y[order],
                linestyle=style, marker=MARKERS[index % len(MARKERS)], color=colour, markersize=3.5,
                    markerfacecolor="white", linewidth=1.1, label=name)  # fmt: skip
            if printed.reference is not None:
                ax.axhline(printed.reference, color=GREY, linestyle=":", linewidth=1, label="plain joint, published")
            scale(ax, own)
        named = group[0]
        of = f"{DATASETS[named.dataset]}" + (f", {named.series}" if named.series and "=" not in named.series else "")
        said = "each modality" if each else _span(shown[0].values if shown else ())
        ax.set_title(f"{of}\n{said}", loc="left")
        if not shown:
            ax.text(0.5, 0.5, "not printed", transform=ax.transAxes, ha="center", color=GREY)
            ax.set(xticks=[], yticks=[])

    return draw


def _span(values: Iterable[float]) -> str:
    found = np.array(list(values), float)
    found = found[~np.isnan(found)]
    return f"span {np.ptp(found):.1f} points" if len(found) > 1 else "one value"
