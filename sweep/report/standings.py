"""The table that a report opens with: one line a method, as texts for page and terminal."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from sweep.analysis.differences import power_text
from sweep.analysis.standings import BASELINES, NO_DIFFERENCE, NOT_JUDGED
from sweep.analysis.statistics import interval_text
from sweep.report.blocks import Block, Table

DIFFERENCES = {"minus joint": "joint", "minus joint + unimodal losses": "unimodal", "minus ensemble": "ensemble"}
"""Heading of a difference -> the baseline."""
HEADINGS = (
    "method", "dataset", "n", "validation", "test", *DIFFERENCES, "weak branch", "imbalance", "cost", "tuning gave",
)  # fmt: skip
TUNING = (
    " Tuning gave: the test metric of what the search chose less that of its first configuration (the defaults, where "
    "the space holds them), under the search's own seeds."
)
NOTHING = "–"
"""Where a row has no value."""
SHORT = {NO_DIFFERENCE: "not shown", NOT_JUDGED: "not judged"}


def standing_rows(table: pd.DataFrame) -> list[list[str]]:
    """Write the rows of :func:`sweep.analysis.standings.standings` under HEADINGS: per cent and points."""
    return [_row(row) for row in table.to_dict("records")]


def standing_blocks(table: pd.DataFrame) -> list[Block]:
    """Show the standings, where there are several methods."""
    if len(table) < 2:
        return []
    leaders, shown = set(table.drop_duplicates("dataset").index), shown_columns(table)
    rows = [[row[place] for place in shown] for row in standing_rows(table)]
    headings = [HEADINGS[place] for place in shown]
    return [Block("Best of each method", table=Table(headings, rows, leaders, _note(table)))]


def _row(row: dict[Any, Any]) -> list[str]:
    weak = interval_text(row["weak"], row["weak_low"], row["weak_high"])
    return [
        method_text(row), row["dataset"], f"{row['n']}" + (f" (of {row['seeds']})" if row["n"] < row["seeds"] else ""),
        *(interval_text(row[name], row[f"{name}_low"], row[f"{name}_high"]) for name in ("validation", "test")),
        *(_difference_text(row, name) for name in DIFFERENCES.values()),
        f"{row['weak_modality']} {weak}" if row["weak_modality"] else NOTHING,
        interval_text(row["imbalance"], row["imbalance_low"], row["imbalance_high"]),
        NOTHING if math.isnan(row["cost"]) else f"{row['cost']:.2f}",
        _points_text(row["tuning"], row["tuning_high"]),
    ]  # fmt: skip


def method_text(row: dict[Any, Any]) -> str:
    """Name a method, its choice where there was one, and whether it rebalances nothing."""
    choice = f": {row['point']}" if row["point"] else ""
    notes = ["baseline"] if row["baseline"] else []
    notes += [f"best of {row['of']}"] if row["of"] > 1 else []
    notes += ["fresh seeds"] if row["fresh"] else []
    return f"{row['label']}{choice}" + (f" ({', '.join(notes)})" if notes else "")


def _difference_text(row: dict[Any, Any], name: str) -> str:
    mean, high = row[name], row[f"{name}_high"]
    verdict = SHORT.get(row[f"{name}_verdict"], row[f"{name}_verdict"])
    return _points_text(mean, high) + (f", {verdict}" if verdict else "")


def _points_text(mean: float, high: float) -> str:
    """Write a difference of shares in points, with half of its interval; "–" where there is none."""
    if math.isnan(mean):
        return NOTHING
    return f"{100 * mean:+.1f}" + ("" if math.isnan(high) else f" ± {100 * (high - mean):.1f}")


def _note(table: pd.DataFrame) -> str:
    chosen = "Each method is its best configuration on validation, and the methods are sorted by it. "
    if table["of"].gt(1).any() and not table["fresh"].any():
        chosen += (
            "The best of several was chosen under the seeds that are shown, which flatters it a little; report_seeds "
            "would train it again. "
        )
    powers = [
        (words, power_text(table[[f"{name}_detectable"]].rename(columns={f"{name}_detectable": "detectable"})))
        for name, words in BASELINES.items()
        if table[name].notna().any()
    ]
    found = "; ".join(f"to {words} {text}" for words, text in powers if text)
    over = "n seeds" if table["splits"].max() < 2 else "the means of the splits that n finished runs are on"
    return (
        f"{chosen}Per cent and points, mean with 95 % t interval over {over}; that of a difference is its own, by "
        "the noise of the methods of this table (those of all configurations, in the table of differences, may be "
        "others), while better and worse are beyond chance among all that are compared with that baseline (Dunnett's "
        f"test with seeds as blocks, 5 %). {found[:1].upper()}{found[1:]}{'. ' if found else ''}Not judged: too "
        "few seeds for so many comparisons. Not claimed: seeds were lost. Weak branch: the modality that is worst "
        "alone within the trained "
        "model. Imbalance: largest minus smallest Shapley value. Cost: forward passes of a run, joint training's being "
        f"1.{'' if table['tuning'].isna().all() else TUNING}"
    )


def shown_columns(table: pd.DataFrame) -> list[int]:
    """Give the places in HEADINGS of the columns that say something: the dataset where there are several, of the others
    those that have a value."""
    columns = zip(HEADINGS, zip(*standing_rows(table), strict=True), strict=True)
    idle = [len(set(texts)) < 2 if name == "dataset" else set(texts) == {NOTHING} for name, texts in columns]
    return [place for place, without in enumerate(idle) if not without]
