"""Figures of balance: accuracy against imbalance, a dot a configuration."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from sweep.analysis.balance import Balance, balances
from sweep.analysis.parts import Parts, metric_label
from sweep.report.figures.style import COLOURS, GREY, Drawing, new_figure, protocol

NUMBERED = 9
"""Members of the front that are numbered, from the most accurate on."""


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
    fronts = "; ".join(
        ", ".join(f"{number} {_name(row)}" for number, row in enumerate(_front(each).to_dict("records"), start=1))
        for each in found
    )
    yield Drawing(
        stem,
        f"Does balance pay? {metric_label(column)} against imbalance (largest minus smallest Shapley value), a dot a "
        "configuration with 95 % t intervals. Line: the front, which no configuration beats in both "
        f"({fronts}). Spearman's rank correlation with its 95 % interval: {said}. {protocol(rows, column)}",
        figure,
        "comparison",
    )


def _draw_panel(ax: Axes, balance: Balance) -> None:
    table = balance.table
    groups: tuple[tuple[str, pd.Series, str, str], ...] = (
        ("method", ~table["baseline"], COLOURS[0], "o"),
        ("baseline", table["baseline"], COLOURS[1], "s"),
    )
    for name, mask, colour, marker in groups:
        part = table[mask]
        style: dict[str, Any] = {"fmt": marker, "color": colour, "ecolor": (colour, 0.35), "elinewidth": 0.7}
        ax.errorbar(*_points(part), xerr=_arms(part, "imbalance"), yerr=_arms(part, "accuracy"), label=name, **style)
    front = table[table["front"]].sort_values("imbalance")
    ax.step(*_points(front), where="post", color=GREY, linewidth=1.0, zorder=1, label="front")
    for number, row in enumerate(_front(balance).to_dict("records"), start=1):
        _annotate(ax, row, str(number), (-3, 4), "right")
    for row in table[table["baseline"]].to_dict("records"):
        _annotate(ax, row, _name(row), (4, 3), "left")
    for axis, name in (("x", "imbalance"), ("y", "accuracy")):
        getattr(ax, f"set_{axis}lim")(*_limits(table, name))
    ax.set_title(f"{balance.dataset}: rank correlation {balance.correlation:+.2f}", loc="left")
    ax.set_xlabel("imbalance (points)")
    ax.set_ylabel(metric_label(balance.column))


def _front(balance: Balance) -> pd.DataFrame:
    """Give the members of the front that are numbered, the most accurate first."""
    return balance.table[balance.table["front"]].sort_values("accuracy", ascending=False).head(NUMBERED)


def _name(row: dict[Any, Any]) -> str:
    return f"{row['label']}: {row['point']}" if row["point"] else str(row["label"])


def _annotate(
    ax: Axes, row: dict[Any, Any], text: str, offset: tuple[int, int], side: Literal["left", "right"]
) -> None:
    place = (100 * row["imbalance"], 100 * row["accuracy"])
    ax.annotate(text, place, offset, textcoords="offset points", ha=side, fontsize=6.5, color=GREY)


def _points(table: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    return 100 * table["imbalance"], 100 * table["accuracy"]


def _arms(table: pd.DataFrame, name: str) -> np.ndarray:
    ends = np.stack([table[name] - table[f"{name}_low"], table[f"{name}_high"] - table[name]])
    return np.nan_to_num(100 * ends)


def _limits(table: pd.DataFrame, name: str) -> tuple[float, float]:
    """Fit an axis to every mean; an interval may widen it by at most a quarter of the span of the means a side."""
    means = 100 * table[name]
    reach = max(float(means.max() - means.min()), 1.0) / 4
    low = np.nanmin([100 * table[f"{name}_low"].min(), means.min()])
    high = np.nanmax([100 * table[f"{name}_high"].max(), means.max()])
    return max(float(low), means.min() - reach) - reach / 5, min(float(high), means.max() + reach) + reach / 5
