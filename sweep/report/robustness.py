"""What each method keeps as the data are corrupted more and more, as tables of the page."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from sweep.analysis.robustness import Robustness
from sweep.analysis.statistics import estimate_runs, interval_text
from sweep.report.blocks import Block, Table
from sweep.report.standings import SHORT


def robustness_blocks(several: Sequence[Robustness]) -> list[Block]:
    """Show the methods over the severities of each corruption, and what they lose from the lowest to the highest."""
    return [_block(found) for found in several]


def _block(found: Robustness) -> Block:
    severities = [f"{found.words} {value:g}" for value in found.values]
    headings = ["method", "n", *severities, "lowest to highest", "minus joint's"]
    rows = [
        [
            row["label"], str(row["n"]),
            *(_level(found, row["label"], value) for value in found.values),
            _points(row["mean"], row["low"], row["high"]),
            _beside(row),
        ]
        for _, row in found.changes.iterrows()
    ]  # fmt: skip
    note = (
        f"Per cent of {found.metric.replace('_', ' ')} at each severity, each method at its choice there; then the "
        "difference from the lowest severity to the highest in points, over common seeds, with its 95 % t interval, "
        "the method that loses least first. Minus joint's: that difference less joint training's; better and worse "
        "are beyond chance among all methods of this table (Dunnett's test with seeds as blocks, 5 %). Severities are "
        "conditions: methods are compared under each, and nothing is chosen among them."
    )
    return Block(f"{found.dataset}: {found.words}", table=Table(headings, rows, note=note))


def _level(found: Robustness, label: str, value: float) -> str:
    own = found.rows[found.rows["label"].eq(label) & found.rows[found.column].eq(value)]
    reached = estimate_runs(own, found.metric)
    return interval_text(reached.mean, reached.low, reached.high)


def _beside(row: pd.Series) -> str:
    said = _points(row["joint"], row["joint_low"], row["joint_high"])
    verdict = row["joint_verdict"]
    return f"{said}, {SHORT.get(verdict, verdict)}" if verdict else said


def _points(mean: float, low: float, high: float) -> str:
    if math.isnan(mean):
        return "–"
    return f"{100 * mean:+.1f}" + ("" if math.isnan(high) else f" ± {50 * (high - low):.1f}")
