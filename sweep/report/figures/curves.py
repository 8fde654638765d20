"""Curves for papers: a metric against each varied hyperparameter.

Every figure is drawn from the rows of ``sweep.results.load`` alone. Means over seeds stand with their 95 % t interval,
n is printed, joint training stands beside as reference, and the test split is shown at the epoch that validation chose.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import NullFormatter, NullLocator

from sweep.analysis.parts import (
    Axis,
    Grid,
    Parts,
    by_split,
    chosen_run,
    metric_label,
    modalities,
)
from sweep.analysis.statistics import curve, interval_arms
from sweep.report.figures.reference_lines import ReferenceLine, reference_lines, references_text
from sweep.report.figures.style import (
    COLOURS,
    FUSED,
    GREY,
    MARKERS,
    TURNED,
    Drawing,
    add_legend,
    new_figure,
    positions,
    protocol,
    scale_logarithmically,
    seed_count,
    turned,
)

INERT = {("igm", "rho"): ("weights_moved", "share of the float32 weights that a perturbation moves")}
"""Hyperparameters below some value of which nothing happens: the diagnostic that measures it, a share."""
INERT_SHARE = 0.01


def draw_curve(parts: Parts, grid: Grid, axis: Axis, column: str, stem: str, inert: float | None = None) -> Drawing:
    """Draw ``column`` against one varied hyperparameter: fused above, each modality below, datasets side by side.

    inert: largest value at which the hyperparameter measurably does nothing (the region is shaded)."""
    rows = grid.through([axis.column])
    datasets, streams = list(dict.fromkeys(rows["dataset"])), modalities(rows)
    figure = new_figure(max(4.4, 3.0 * len(datasets) + 0.5), 4.2)
    panels = figure.subplots(2, len(datasets), sharex="col", squeeze=False, height_ratios=(3, 2))
    lines: list[ReferenceLine] = []
    for number, dataset in enumerate(datasets):
        part = rows[rows["dataset"].eq(dataset)]
        upper, lower = panels[:, number]
        lines += _draw_series(upper, parts, part, axis, {FUSED: column})
        _draw_series(lower, parts, part, axis, {m: f"{column}_{m}" for m in streams})
        _mark_chosen(upper, grid.rows[grid.rows["dataset"].eq(dataset)], part, axis, column)
        for panel in (upper, lower):
            scale_axis(panel, axis)
            if inert is not None:
                limits = panel.get_xlim()
                panel.axvspan(limits[0], inert, color="#bbbbbb", alpha=0.35, linewidth=0, zorder=0)
                panel.set_xlim(limits)  # the span would widen the axis beyond itself
        if inert is not None:
            upper.text(
                0.02,
                0.03,
                f"shaded: moves under {INERT_SHARE:.0%} of the weights",
                transform=upper.transAxes,
                fontsize=6.5,
                color=GREY,
            )
        upper.set_title(f"{dataset}, {seed_count(part)}")
        lower.set_xlabel(axis.label)
        if number == 0:
            upper.set_ylabel(f"{metric_label(column)}\nfused")
            lower.set_ylabel(f"{metric_label(column)}\neach modality")
    figure.align_ylabels(panels[:, 0])
    add_legend(figure, panels.ravel())
    held = [a for a in grid.axes if a.column != axis.column]
    others = (
        f" Other varied hyperparameters ({', '.join(a.label for a in held)}) at the chosen configuration."
        if held
        else ""
    )
    text = f"{grid.label}: {metric_label(column)} against {axis.label}" + (f", {axis.meaning}" if axis.meaning else "")
    return Drawing(
        stem,
        f"{text}. {protocol(rows, column)} Intervals wider than a panel are cut. {_lacking_text(rows, axis, column)}"
        f"{references_text(lines)}{others}{_inert_text(grid, axis, inert)}",
        figure,
    )


def _draw_series(
    ax: Axes, parts: Parts, rows: pd.DataFrame, axis: Axis, columns: dict[str, str]
) -> list[ReferenceLine]:
    """Draw mean lines with interval bands, the references behind them, which are returned, and n where seeds are
    lacking."""
    drawn, lines = [], list[ReferenceLine]()
    for name, column in columns.items():
        index = 0 if name == FUSED else 1 + list(columns).index(name)
        colour, thick = COLOURS[index % len(COLOURS)], name == FUSED
        for line in reference_lines(parts, rows, column, axis.column):
            lines.append(line)
            drawn += _draw_reference(ax, line, axis, GREY if thick else colour, line.title if thick else None)
        table = curve(rows, axis.column, column)
        x, mean = positions(table["value"], axis), 100 * table["mean"]
        low, high = 100 * table["low"], 100 * table["high"]
        drawn += list(zip(mean, low, high, strict=True))
        style: dict[str, Any] = {
            "color": colour,
            "marker": MARKERS[index % len(MARKERS)],
            "linewidth": 2.2 if thick else 1.3,
            "zorder": 3,
        }
        if axis.scale == "category":
            ax.errorbar(
                x, mean, interval_arms(table), **{**style, "linewidth": 0, "elinewidth": 1.4}, capsize=3, label=name
            )
        else:
            ax.fill_between(x, low, high, color=colour, alpha=0.18, linewidth=0, zorder=2)
            ax.vlines(x, low, high, color=colour, linewidth=0.8, alpha=0.6, zorder=2)  # a lone point has no band
            ax.plot(x, mean, **style, label=name)
        fewer = table["n"].lt(table["n"].max()) & table["n"].gt(0)
        ax.plot(x[fewer], mean[fewer], style["marker"], color=colour, markerfacecolor="white", zorder=4)
    _fit_to_means(ax, drawn)
    counts = curve(rows, axis.column, next(iter(columns.values())))
    for at, n, pruned in zip(positions(counts["value"], axis), counts["n"], counts["pruned"], strict=True):
        if n < counts["n"].max() and FUSED in columns:
            colour = "#B00020" if n == 0 else GREY
            ax.annotate(
                f"n={n}" if n or not pruned else "pruned",
                (at, 0),
                (0, 3),
                ax.get_xaxis_transform(),
                "offset points",
                ha="center",
                fontsize=6,
                color=colour,
            )
    return lines


def _draw_reference(
    ax: Axes, line: ReferenceLine, axis: Axis, colour: str, label: str | None
) -> list[tuple[float, float, float]]:
    """Draw a reference over the whole panel, or over the values of the axis, and give mean and ends of what was
    drawn."""
    style: dict[str, Any] = {"color": colour, "linestyle": line.dash, "linewidth": 1.1, "label": label}
    if line.over is not None:
        levels = 100 * line.over["mean"]
        ax.plot(positions(line.over["value"], axis), levels, **style)
        return list(zip(levels, levels, levels, strict=True))
    level, low, high = 100 * line.found.mean, 100 * line.found.low, 100 * line.found.high
    if not np.isnan(low):
        ax.axhspan(low, high, color=colour, alpha=0.06, linewidth=0)
    ax.axhline(level, **style)
    return [(level, low, high)]


def _lacking_text(rows: pd.DataFrame, axis: Axis, column: str) -> str:
    """Explain the hollow markers and gaps of a curve."""
    tables = [curve(part, axis.column, column) for _, part in rows.groupby("dataset", sort=False)]
    fewer = any((t["n"].lt(t["n"].max()) & t["n"].gt(0)).any() for t in tables)
    pruned = sum(int((t["n"].eq(0) & t["pruned"].gt(0)).sum()) for t in tables)
    stopped = f"Early stopping ended {pruned} {'value' if pruned == 1 else 'values'}, marked and without a mean. "
    return ("Hollow: fewer seeds than the others. " if fewer else "") + (stopped if pruned else "")


def _fit_to_means(ax: Axes, drawn: Sequence[tuple[float, float, float]]) -> None:
    """Fit the panel to every mean; an interval may widen it by at most the span of the means on each side."""
    values = np.array(drawn, float).reshape(-1, 3)
    values = values[~np.isnan(values[:, 0])]
    if not len(values):
        return
    bottom, top = values[:, 0].min(), values[:, 0].max()
    reach = max(top - bottom, 1.0)
    bottom = max(np.nanmin(np.append(values[:, 1], bottom)), bottom - reach)
    top = min(np.nanmax(np.append(values[:, 2], top)), top + reach)
    ax.set_ylim(max(0.0, bottom - 0.08 * reach), min(100.0, top + 0.08 * reach) + 0.02 * reach)


def _mark_chosen(ax: Axes, whole: pd.DataFrame, rows: pd.DataFrame, axis: Axis, column: str) -> None:
    chosen = [best[axis.column] for part in by_split(whole) if (best := chosen_run(part)) is not None]
    if not chosen:
        return
    table = curve(rows, axis.column, column)
    hit = table[table["value"].isin(chosen)]
    style: dict[str, Any] = {
        "marker": "*",
        "markersize": 11,
        "color": "#F0E442",
        "markeredgecolor": "black",
        "markeredgewidth": 0.7,
        "linestyle": "",
    }
    ax.plot(positions(hit["value"], axis), 100 * hit["mean"], **style, zorder=5, label="chosen on validation")


def scale_axis(ax: Axes, axis: Axis) -> None:
    """Set up the x axis of a panel for an axis and its values."""
    if axis.scale == "category":
        words = [str(value) for value in axis.values]
        ax.set_xticks(range(len(words)), words, **turned(words))
        ax.margins(x=0.15)
        return
    if axis.scale == "symlog":
        scale_logarithmically(ax, "symlog", linthresh=min(v for v in axis.values if v > 0))
    elif axis.scale == "log":
        scale_logarithmically(ax)
    if len(axis.values) <= 9 and not (
        axis.scale != "linear" and max(axis.values) / min(v for v in axis.values if v > 0) > 1e5
    ):
        crowded = axis.scale != "linear" and (len(axis.values) > 6 or _has_crowded_labels(axis.values))
        ax.set_xticks(axis.values, [f"{v:g}" for v in axis.values], **(TURNED | {"rotation": 35} if crowded else {}))
        ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_minor_formatter(NullFormatter())


def _has_crowded_labels(values: Sequence[float]) -> bool:
    """Tell whether labels of two values would touch on a logarithmic axis."""
    at = sorted(math.log(value) for value in values if value > 0)
    return any(above - below < 0.12 * (at[-1] - at[0]) for below, above in itertools.pairwise(at))


def inert_below(grid: Grid, axis: Axis, epochs: pd.DataFrame) -> float | None:
    """Find the largest value at which the hyperparameter's diagnostic stays below 1 % in every run.

    The average over a run's epochs counts: a weight that is still exactly 0, as biases are at first, always moves. None
    where no value is, nothing was recorded, or the hyperparameter has no such diagnostic."""
    diagnostic = f"diag.{_inert(grid, axis)[0]}"
    if diagnostic == "diag.":
        return None
    epochs = epochs[epochs["hash"].isin(grid.rows["hash"])]
    if diagnostic not in epochs:
        return None
    largest = epochs.groupby([axis.column, "hash"])[diagnostic].mean().groupby(level=0).max().dropna()
    still = largest[largest < INERT_SHARE]
    return float(still.index.max()) if len(still) else None


def _inert(grid: Grid, axis: Axis) -> tuple[str, str]:
    return INERT.get((grid.method, axis.name.removeprefix(f"{grid.method}.")), ("", ""))


def _inert_text(grid: Grid, axis: Axis, inert: float | None) -> str:
    diagnostic, meaning = _inert(grid, axis)
    if inert is None:
        return f" No value is shaded: none was measured to do nothing ({diagnostic})." if diagnostic else ""
    measured = f"{diagnostic} ({meaning}) measured below {INERT_SHARE:.0%}"
    return f" Shaded up to {inert:g}: {measured} in every run, on average over its epochs."
