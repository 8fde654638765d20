"""A figure of absent modalities: the accuracy of each configuration with each part of the modalities."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from sweep.analysis.parts import Parts
from sweep.analysis.statistics import interval_arms, summarise
from sweep.analysis.subsets import NONE, subset_columns
from sweep.report.figures.names import figure_names
from sweep.report.figures.style import (
    COLOURS,
    GREY,
    MARKERS,
    Drawing,
    add_legend,
    new_figure,
    protocol,
    seed_count,
    slug,
)
from sweep.report.subsets import shown_rows

MOST_ROWS = 24
MOST_SUBSETS = 8
"""Subsets of a figure; of more, those of one modality and of all."""


def draw_subsets(parts: Parts) -> Iterator[Drawing]:
    """Draw a figure a dataset whose runs record it: a row a configuration, a dot with interval a subset."""
    rows = shown_rows(parts)
    several = rows["dataset"].nunique() > 1
    for dataset, part in rows.groupby("dataset", sort=False):
        columns = subset_columns(part)
        if len(columns) > MOST_SUBSETS:
            most = max(name.count("+") for name in columns)
            columns = {name: c for name, c in columns.items() if name.count("+") in (0, most)}
        if columns:
            yield _draw(str(dataset), part, columns, f"subsets-{slug(str(dataset))}" if several else "subsets")


def _draw(dataset: str, rows: pd.DataFrame, columns: dict[str, str], stem: str) -> Drawing:
    keys = ["label", "point", "role"]
    found = rows.drop_duplicates(keys).head(MOST_ROWS)
    rows = rows.merge(found[keys], on=keys)
    fresh = {"report": " (fresh seeds)"}
    known = figure_names(found)
    names = [known[r["label"], r["point"]] + fresh.get(r["role"], "") for r in found.to_dict("records")]
    size = (3.3 + 0.055 * max(map(len, names)), 0.9 + 0.06 * len(names) * (2 + len(columns)))
    figure = new_figure(*size)
    ax = figure.subplots()
    drawn = [name for name in columns if name != NONE]
    for index, name in enumerate(drawn):
        table = summarise(rows, keys, columns[name])
        shift = 0.7 * ((index + 0.5) / len(drawn) - 0.5)
        marker, colour = MARKERS[index % len(MARKERS)], COLOURS[index % len(COLOURS)]
        if index == len(drawn) - 1:  # all modalities: what every other table calls the accuracy
            marker, colour = "*", "black"
        arms = interval_arms(table)
        place = np.arange(len(table)) + shift
        ax.errorbar(
            100 * table["mean"], place, xerr=arms, fmt=marker, color=colour, markersize=4, capsize=2, label=name
        )
    if NONE in columns and rows[columns[NONE]].notna().any():
        level = 100 * float(rows[columns[NONE]].mean())
        ax.axvline(level, color=GREY, linestyle="--", linewidth=1, label="no modality")
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.grid(visible=False, axis="x")
    ax.set_xlabel("test accuracy with these modalities alone (%)")
    ax.set_title(f"{dataset}, {seed_count(rows)}", loc="left")
    add_legend(figure, [ax])
    text = "Test accuracy of the fused prediction with the features of all other modalities zeroed; dashed: the most "
    text += f"frequent class. {protocol(rows, 'test_accuracy')}"
    return Drawing(stem, text, figure, "subsets")
