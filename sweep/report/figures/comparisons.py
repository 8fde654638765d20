"""Figures that put configurations side by side: dots with intervals, and paired differences to joint training."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

import numpy as np
import pandas as pd

from sweep.analysis.differences import differences, power_text
from sweep.analysis.parts import Parts, metric_label, modalities
from sweep.analysis.statistics import interval_arms, summarise
from sweep.report.figures.names import figure_names
from sweep.report.figures.reference_lines import ReferenceLine, reference_lines, references_text
from sweep.report.figures.style import (
    COLOURS,
    FUSED,
    GREY,
    MARKERS,
    Drawing,
    add_legend,
    is_narrow,
    new_figure,
    protocol,
    seed_count,
)

WRAPPED = 20
"""Letters of a line of a name in a narrow column."""
MOST_STACKED = 10
"""Configurations up to which panels stand one below the other in a narrow column; more would not fit a page."""


def draw_comparison(parts: Parts, rows: pd.DataFrame, column: str, stem: str) -> Drawing:
    """Draw a dot with interval a configuration, in the order given: fused left, each modality right (in a narrow column
    below), datasets below."""
    datasets, streams, names = list(dict.fromkeys(rows["dataset"])), modalities(rows), _names(rows)
    stacked = 2 if is_narrow() and len(names) <= MOST_STACKED else 1
    height = len(datasets) * stacked * (0.27 * len(names) + 0.75) + 0.5
    figure = new_figure(5.6 + 0.055 * max(map(len, names.values())), height)
    panels = figure.subplots(len(datasets) * stacked, 2 // stacked, sharey=True, squeeze=False).reshape(-1, 2)
    lines: list[ReferenceLine] = []
    for (left, right), dataset in zip(panels, datasets, strict=True):
        part = rows[rows["dataset"].eq(dataset)]
        for line in reference_lines(parts, part, column):
            lines.append(line)
            left.axvspan(100 * line.found.low, 100 * line.found.high, color=GREY, alpha=0.08, linewidth=0)
            left.axvline(100 * line.found.mean, color=GREY, linestyle=line.dash, linewidth=1.1, label=line.title)
        for index, name in enumerate([FUSED, *streams]):
            values = column if name == FUSED else f"{column}_{name}"
            table = summarise(part, ["label", "point"], values)
            y = np.array([list(names).index(key) for key in zip(table["label"], table["point"], strict=True)])
            shift = 0.0 if name == FUSED else 0.16 * (index - (len(streams) + 1) / 2)
            arms = interval_arms(table)
            style = {
                "fmt": MARKERS[index % len(MARKERS)],
                "color": COLOURS[index % len(COLOURS)],
                "elinewidth": 1.3,
                "capsize": 2.5,
            }
            ax = left if name == FUSED else right
            ax.errorbar(
                100 * table["mean"], y + shift, xerr=arms, **style, markersize=5.5 if name == FUSED else 4, label=name
            )
        left.set_yticks(range(len(names)), list(names.values()))
        left.set_ylim(len(names) - 0.5, -0.5)
        where = dataset if is_narrow() else f"{dataset}, {seed_count(part)}"
        left.set_title(f"{where}: fused", loc="left")
        right.set_title("each modality", loc="left")
        for ax in (left, right):
            ax.grid(visible=False, axis="x")
    if is_narrow():
        figure.supxlabel(metric_label(column), fontsize="medium")
    else:
        for ax in panels[-1]:
            ax.set_xlabel(metric_label(column))
    add_legend(figure, panels.ravel())
    return Drawing(
        stem,
        f"{metric_label(column)} of each configuration. {protocol(rows, column)} {references_text(lines)}",
        figure,
        "comparison",
    )


def draw_differences(parts: Parts, rows: pd.DataFrame, column: str, stem: str) -> Iterator[Drawing]:
    """Draw paired differences to joint training over common seeds, with the p-value for all of them together.

    Nothing is drawn where no configuration but joint itself has common seeds."""
    others = rows[~rows["hash"].isin(parts.baseline["hash"])]
    if others.empty:
        return
    table = differences(others, parts.baseline, column, ["label", "point"])
    if not table["n"].any():
        return
    names, datasets = _names(others), list(dict.fromkeys(others["dataset"]))
    width = 0.9 + 0.055 * max(map(len, names.values())) + 2.7 * len(datasets)
    figure = new_figure(width, 0.27 * len(names) + 1.0)
    for ax, dataset in zip(figure.subplots(1, len(datasets), sharey=True, squeeze=False)[0], datasets, strict=True):
        part = table[table["dataset"].eq(dataset) & table["n"].gt(0)]
        y = [list(names).index(key) for key in zip(part["label"], part["point"], strict=True)]
        ax.axvline(0, color=GREY, linewidth=1, linestyle="--")
        ax.errorbar(
            100 * part["mean"],
            y,
            xerr=interval_arms(part),
            fmt="o",
            color=COLOURS[0],
            capsize=2.5,
        )
        for at, p, n, lost in zip(y, part["p_adjusted"], part["n"], part["lost"], strict=True):
            text = f"n = {n}" if np.isnan(p) else f"p {'< 0.001' if p < 0.001 else f'= {p:.3f}'}, n = {n}"
            text = text.split(",")[0] if is_narrow() else text
            text += f", {lost} lost" if lost else ""
            ax.annotate(text, (1.02, at), xycoords=("axes fraction", "data"), va="center", fontsize=6.5, color=GREY)
        ax.set_yticks(range(len(names)), list(names.values()))
        ax.set_ylim(len(names) - 0.5, -0.5)
        ax.grid(visible=False, axis="x")
        ax.set_title(dataset, loc="left")
        ax.set_xlabel(f"{metric_label(column).replace(' (%)', '')} minus joint (points)")
    text = f"Paired differences of the fused {metric_label(column)} to joint training over common seeds"
    tests = (
        f"p-values of Dunnett's test with seeds as blocks, for all {table['comparisons'].iloc[0]} comparisons together"
    )
    power = power_text(table[table["n"] > 1])
    tests += f"; {power}" if power else ""
    yield Drawing(
        stem,
        f"{text}, mean and 95 % t interval; {tests}.",
        figure,
        "comparison",
    )


def _names(rows: pd.DataFrame) -> dict[tuple[str, str], str]:
    """Map (label, point) to names, which are wrapped in a narrow column."""
    names = figure_names(rows)
    return {key: textwrap.fill(name, WRAPPED) for key, name in names.items()} if is_narrow() else names
