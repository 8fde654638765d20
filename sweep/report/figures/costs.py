"""Figures of cost: accuracy against the time of an epoch, a dot a configuration."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from sweep.analysis.costs import costs
from sweep.analysis.parts import Parts, metric_label
from sweep.report.figures.labels import part_labels
from sweep.report.figures.scatter import Against, draw_dots, front_text
from sweep.report.figures.style import Drawing, new_figure, protocol

COST = Against("cost", "seconds of an epoch (joint training: 1)", 1.0)


def draw_costs(parts: Parts, rows: pd.DataFrame, metric: str, stem: str) -> Iterator[Drawing]:
    """Draw accuracy against cost for each dataset of ``rows``, with both intervals and the front; nothing without joint
    training to compare with."""
    found = costs(parts, rows, metric)
    if not found:
        return
    figure = new_figure(0.7 + 2.6 * len(found), 2.9)
    for ax, each in zip(figure.subplots(1, len(found), squeeze=False)[0], found, strict=True):
        draw_dots(ax, each.table, COST)
        ax.axvline(1.0, color="0.85", linewidth=0.8, zorder=0)
        ax.set_title(each.dataset, loc="left")
        ax.set_ylabel(metric_label(each.column))
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3)
    part_labels(figure)
    column, fronts = found[0].column, "; ".join(front_text(each.table) for each in found)
    yield Drawing(
        stem,
        f"What do the methods cost? {metric_label(column)} against the seconds of an epoch, over those of joint "
        "training under the same seed, a dot a configuration with 95 % t intervals. Line: the front, which no "
        f"configuration beats in both ({fronts}). Other work on the machine disturbs the times; forward passes stand "
        f"in the table of methods. {protocol(rows, column)}",
        figure,
        "comparison",
    )
