"""Figures of balance: accuracy against imbalance, a dot a configuration."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd
from matplotlib.axes import Axes

from sweep.analysis.balance import Balance, balances
from sweep.analysis.parts import Parts, metric_label
from sweep.report.figures.labels import part_labels
from sweep.report.figures.scatter import Against, draw_dots, front_text
from sweep.report.figures.style import Drawing, new_figure, protocol

IMBALANCE = Against("imbalance", "imbalance (points)", 100.0)


def draw_balance(parts: Parts, rows: pd.DataFrame, metric: str, stem: str) -> Iterator[Drawing]:
    """Draw accuracy against imbalance for each dataset of ``rows``, with both intervals, the front and the rank
    correlation; nothing where too few configurations are known."""
    found = balances(parts, rows, metric)
    if not found:
        return
    figure = new_figure(0.7 + 2.6 * len(found), 2.9)
    for ax, balance in zip(figure.subplots(1, len(found), squeeze=False)[0], found, strict=True):
        _draw_panel(ax, balance)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=3)
    column = found[0].column
    said = "; ".join(
        f"{each.dataset} {each.correlation:+.2f} ({each.low:+.2f} to {each.high:+.2f}) over {len(each.table)} "
        f"configurations, {each.repeated.mean:+.2f} over {each.repeated.n} {each.repeats}"
        for each in found
    )
    part_labels(figure)
    fronts = "; ".join(front_text(each.table) for each in found)
    yield Drawing(
        stem,
        f"Does balance pay? {metric_label(column)} against imbalance (largest minus smallest Shapley value), a dot a "
        "configuration with 95 % t intervals. Line: the front, which no configuration beats in both "
        f"({fronts}). Spearman's rank correlation with its 95 % interval: {said}. {protocol(rows, column)}",
        figure,
        "comparison",
    )


def _draw_panel(ax: Axes, balance: Balance) -> None:
    draw_dots(ax, balance.table, IMBALANCE)
    ax.set_title(f"{balance.dataset}: rank correlation {balance.correlation:+.2f}", loc="left")
    ax.set_ylabel(metric_label(balance.column))
