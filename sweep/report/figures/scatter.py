"""A panel with a dot a configuration: accuracy against something that should be small, with the front of both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from sweep.report.figures.names import figure_names
from sweep.report.figures.style import COLOURS, GREY

NUMBERED = 9
"""Members of the front that are numbered, from the most accurate on."""
NAMED = 12
"""Dots up to which each bears its name; of more only the baselines do."""


@dataclass(frozen=True)
class Against:
    """What accuracy is drawn against. name: the column, of means, with _low and _high; factor: from it to what the axis
    shows."""

    name: str
    label: str
    factor: float


def draw_dots(ax: Axes, table: pd.DataFrame, against: Against) -> None:
    """Draw a row of ``table`` a dot, with both intervals: columns label, point, baseline, front, accuracy (a share) and
    that of ``against``. The front is a line, whose most accurate members are numbered; of few dots all bear their
    names, of many the baselines."""
    axes = ((against.name, against.factor), ("accuracy", 100.0))
    groups: tuple[tuple[str, pd.Series, str, str], ...] = (
        ("method", ~table["baseline"], COLOURS[0], "o"),
        ("baseline", table["baseline"], COLOURS[1], "s"),
    )
    for name, mask, colour, marker in groups:
        part = table[mask]
        style: dict[str, Any] = {"fmt": marker, "color": colour, "ecolor": (colour, 0.35), "elinewidth": 0.7}
        across, up = (_arms(part, *axis) for axis in axes)
        ax.errorbar(*_points(part, axes), xerr=across, yerr=up, label=name, **style)
    front = table[table["front"]].sort_values(against.name)
    ax.step(*_points(front, axes), where="post", color=GREY, linewidth=1.0, zorder=1, label="front")
    for number, row in enumerate(numbered(table), start=1):
        _annotate(ax, row, axes, str(number), (-3, 4), "right")
    names = figure_names(table)
    named = table if len(table) <= NAMED else table[table["baseline"]]
    for row in named.to_dict("records"):
        _annotate(ax, row, axes, names[row["label"], row["point"]], (4, 3), "left")
    ax.set_xlim(*_limits(table, *axes[0]))
    ax.set_ylim(*_limits(table, *axes[1]))
    ax.set_xlabel(against.label)


def numbered(table: pd.DataFrame) -> list[dict[Any, Any]]:
    """List the members of the front that are numbered, the most accurate first."""
    front = table[table["front"]].sort_values("accuracy", ascending=False)
    return front.head(NUMBERED).to_dict("records")


def front_text(table: pd.DataFrame) -> str:
    """Name the numbered members of the front: "1 aug, 2 iprm"."""
    names = figure_names(table)
    listed = (f"{number} {names[row['label'], row['point']]}" for number, row in enumerate(numbered(table), start=1))
    return ", ".join(listed)


Axis = tuple[str, float]
"""A column of means, and the factor from it to what is shown."""


def _annotate(
    ax: Axes,
    row: dict[Any, Any],
    axes: tuple[Axis, Axis],
    text: str,
    offset: tuple[int, int],
    side: Literal["left", "right"],
) -> None:
    (x, across), (y, up) = axes
    place = (across * row[x], up * row[y])
    ax.annotate(text, place, offset, textcoords="offset points", ha=side, fontsize=6.5, color=GREY)


def _points(table: pd.DataFrame, axes: tuple[Axis, Axis]) -> tuple[pd.Series, pd.Series]:
    (x, across), (y, up) = axes
    return across * table[x], up * table[y]


def _arms(table: pd.DataFrame, name: str, factor: float) -> np.ndarray:
    ends = np.stack([table[name] - table[f"{name}_low"], table[f"{name}_high"] - table[name]])
    return np.nan_to_num(factor * ends)


def _limits(table: pd.DataFrame, name: str, factor: float) -> tuple[float, float]:
    """Fit an axis to every mean; an interval may widen it by at most a quarter of the span of the means a side."""
    means = factor * table[name]
    reach = max(float(means.max() - means.min()), 0.01 * factor) / 4
    low = np.nanmin([factor * table[f"{name}_low"].min(), means.min()])
    high = np.nanmax([factor * table[f"{name}_high"].max(), means.max()])
    return max(float(low), means.min() - reach) - reach / 5, min(float(high), means.max() + reach) + reach / 5
