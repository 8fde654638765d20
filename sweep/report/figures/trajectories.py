"""Figures of a method's diagnostics over the epochs, beside published courses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from sweep.analysis.parts import Parts, axis, selection_metric
from sweep.analysis.statistics import half_width, is_numeric, summarise
from sweep.published import DATASETS, Curve, curves
from sweep.report.figures.published import PRINTED
from sweep.report.figures.style import (
    COLOURS,
    DASHES,
    GREY,
    Drawing,
    add_legend,
    is_narrow,
    new_figure,
    seed_count,
    slug,
)
from sweep.results.tables import columns_of

MOST_LINES = 9
MOST_PANELS = 12
LONGEST = 40
"""Characters of a name in the legend of a search."""
BANDS = 4
"""Lines up to which intervals are drawn too; more would hide each other."""
ACROSS, ACROSS_NARROW = 3, 2
"""Panels side by side, and in one column of a paper."""


def draw_trajectories(parts: Parts, epochs: pd.DataFrame) -> Iterator[Drawing]:
    """Draw for each label and dataset the diagnostics of its finished runs, a panel each, a line a configuration.

    Nothing is drawn where a method has no diagnostics that change. A published course has a panel of its own."""
    groups = list(parts.swept[parts.swept["status"].eq("done")].groupby(["label", "dataset"], sort=False))
    for (label, dataset), rows in groups:
        chosen, names = _drawn_runs(rows)
        own = epochs[epochs["hash"].isin(chosen["hash"])].drop_duplicates(["hash", "epoch"])
        columns = [c for c in columns_of(own, "diag.") if own[c].notna().any() and own[c].nunique() > 1]
        if columns:
            words = [slug(str(word)) for word in (label, dataset)] if len(groups) > 1 else []
            thinned = len(names) < rows["configuration"].nunique()
            yield _draw(chosen, own, columns, names, thinned, "-".join(["trajectory", *words]))


def _drawn_runs(rows: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, str]]:
    """Select runs of the configurations to draw, and name these.

    Few are all drawn; of many over one number evenly spaced values, else the best on validation data."""
    shown = rows.drop_duplicates("configuration")
    varied = [c for c in columns_of(rows, "vary.") if shown[c].nunique() > 1]
    if len(varied) == 1 and is_numeric(shown[varied[0]]):
        shown = shown.sort_values(varied[0], key=lambda values: values.astype(float), kind="stable")
        places = np.unique(np.linspace(0, len(shown) - 1, min(len(shown), MOST_LINES)).round().astype(int))
        shown = shown.iloc[places]
        label = axis(rows, varied[0]).label.partition(" (")[0]
        names = {r["configuration"]: f"{label} = {r[varied[0]]:g}" for r in shown.to_dict("records")}
    else:
        ranked = summarise(rows, ["configuration"], selection_metric(rows)).sort_values("mean", ascending=False)
        shown = shown[shown["configuration"].isin(ranked["configuration"].head(MOST_LINES))]
        names = {r["configuration"]: _name(r) for r in shown.to_dict("records")}
    return rows[rows["configuration"].isin(names)], names


def _name(row: dict[Any, Any]) -> str:
    """Name a point in words; one of a search, where those are too many, by the number of its trial."""
    words = str(row["point"] or row["label"])
    return words if len(words) < LONGEST or pd.isna(row["number"]) else f"trial {row['number']:g}"


def _draw(
    rows: pd.DataFrame, epochs: pd.DataFrame, columns: Sequence[str], names: dict[str, str], thinned: bool, stem: str
) -> Drawing:
    method, label, dataset = (str(rows[c].iloc[0]) for c in ("method", "label", "dataset"))
    recorded, columns = len(columns), columns[:MOST_PANELS]
    courses = {column: _published_courses(method, column) for column in columns}
    printed = [c for found in courses.values() for c in found]
    # Budgets differ: beside a published course ours is drawn over the share of the training that has passed.
    relative = bool(printed)
    panels: list[tuple[str, list[Curve]]] = []
    for column in sorted(columns, key=lambda c: not courses[c]):
        panels += [(column, []), (column, courses[column])] if courses[column] else [(column, [])]
    across = min(ACROSS_NARROW if is_narrow() else ACROSS, len(panels))
    lines = -(-len(panels) // across)
    width = max(4.4, 2.45 * across)
    entries = 0.19 * len(names) / max(1, int(width / (0.5 + 0.068 * max(map(len, names.values())))))
    figure = new_figure(width, 1.75 * lines + 0.6 + entries)
    axes = figure.subplots(lines, across, squeeze=False).ravel()
    tables = _means(epochs, columns, relative)
    for ax in axes[len(panels) :]:
        ax.remove()
    for place, (ax, (column, found)) in enumerate(zip(axes, panels, strict=False)):
        _draw_published(ax, found) if found else _draw_own(ax, tables, column, names)
        words = column.removeprefix("diag.").replace("_", " ")
        ax.set_title(f"{words}, published" if found else f"{words}, ours" if relative else words, loc="left")
        if place >= len(panels) - across:
            ax.set_xlabel("share of the training (%)" if relative else "epoch")
        if not found and epochs[column].dropna().mod(1).eq(0).all():
            ax.yaxis.set_major_locator(MaxNLocator("auto", integer=True))
        if not relative:
            ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    add_legend(figure, axes[: len(panels)])
    most = rows["configuration"].nunique()
    bands = " with 95 % t interval" if most <= BANDS else ""
    beside = ""
    if printed:
        cited = "; ".join(dict.fromkeys(f"{c.citation} ({c.precision})" for c in printed))
        beside = f" Shaded: {cited}, one run on each dataset, over the share of its own budget."
    text = f"{label} on {dataset}: diagnostics over the epochs, mean{bands} over {seed_count(rows)}"
    which = "values evenly spread" if _are_ordered(names) else "the best on validation data"
    shown = f" Of all configurations {len(names)} are drawn, {which}." if thinned else ""
    points = rows.drop_duplicates("configuration").set_index("configuration")["point"]
    numbered = [f"{name}: {points[key]}" for key, name in names.items() if name.startswith("trial ")]
    shown += f" {'; '.join(numbered)}." if numbered else ""
    shown += f" Of {recorded} diagnostics the first {MOST_PANELS} are drawn." if recorded > MOST_PANELS else ""
    ends = epochs.groupby(["configuration", "hash"])["epoch"].max().groupby("configuration").nunique()
    if ends.gt(1).any():
        shown += " Where seeds end at different epochs, a line is drawn as far as all that have the number go."
    return Drawing(stem, f"{text}.{shown}{beside}", figure, "trajectory")


def _are_ordered(names: dict[str, str]) -> bool:
    """Tell whether the lines are values of one number."""
    return all(" = " in name for name in names.values())


def _published_courses(method: str, column: str) -> list[Curve]:
    name = column.removeprefix("diag.")
    return [c for c in curves() if (c.method, c.hyperparameter, c.metric) == (method, "epoch", name)]


def _means(epochs: pd.DataFrame, columns: Sequence[str], relative: bool) -> dict[str, dict[str, pd.DataFrame]]:
    """Map columns and configurations to tables of mean, half (of the interval) and x, an epoch a row; only of epochs
    that all seeds which tell the number have reached."""
    groups = epochs.groupby(["configuration", "epoch"])[list(columns)]
    mean, deviation, count = groups.mean(), groups.std(), groups.count()
    budget = epochs.groupby("configuration")["epochs"].first()
    found: dict[str, dict[str, pd.DataFrame]] = {}
    for column in columns:
        table = pd.DataFrame({"mean": mean[column], "half": half_width(deviation[column], count[column])})
        # A mean over fewer seeds than before would jump where no run does.
        whole = count[column].eq(count[column].groupby(level="configuration").transform("max"))
        table = table[whole].dropna(subset="mean").reset_index()
        table["x"] = 100 * table["epoch"] / table["configuration"].map(budget) if relative else table["epoch"]
        found[column] = {str(key): part for key, part in table.groupby("configuration", sort=False)}
    return found


def _draw_own(ax: Axes, tables: dict[str, dict[str, pd.DataFrame]], column: str, names: dict[str, str]) -> None:
    ordered = _are_ordered(names)
    for index, (configuration, name) in enumerate(names.items()):
        table = tables[column].get(configuration)
        if table is None:
            continue
        palette = colormaps["viridis"](0.9 * index / max(1, len(names) - 1))
        colour = palette if ordered and len(names) > 3 else COLOURS[index % len(COLOURS)]
        style = "-" if ordered or index < len(COLOURS) else DASHES[index % len(DASHES)]
        x, mean = table["x"], table["mean"]
        if len(names) <= BANDS:
            ax.fill_between(x, mean - table["half"], mean + table["half"], color=colour, alpha=0.15, linewidth=0)
        ax.plot(x, mean, color=colour, linestyle=style, label=name, marker="." if len(table) < 3 else "")


def _draw_published(ax: Axes, found: Sequence[Curve]) -> None:
    ax.set_facecolor(PRINTED)
    for index, course in enumerate(found):
        at = 100 * np.array(course.at, float) / max(course.at)
        ax.plot(
            at,
            course.values,
            color=GREY,
            linestyle=("-", *DASHES)[index % 5],
            label=f"{DATASETS[course.dataset]}, published",
        )
