"""What the numbers vary by: seeds, splits and test samples, and pairs of configurations sample by sample."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from sweep.analysis.conclusions import name_with_role, points_text
from sweep.analysis.items import FUSED_HEAD, compare_items, right_by_repeat
from sweep.analysis.parts import Parts
from sweep.analysis.variance_components import ACCURACY, components_table
from sweep.report.blocks import Block, Table

KEY = ["label", "point", "role", "dataset", "configuration"]
MOST_COMPARED = 40
"""Configurations of which test samples are looked at: of more, the first."""


def variation_blocks(parts: Parts, results: Path) -> list[Block]:
    """Show the variance components of what a sweep compares, and its differences to joint training over test
    samples."""
    rows = pd.concat([parts.references, parts.compared, parts.baseline]).drop_duplicates(["hash", "role"])
    keys = rows.drop_duplicates(KEY)[KEY].head(MOST_COMPARED)
    rows = rows.merge(keys, on=KEY)
    if ACCURACY not in rows or not rows.loc[rows["status"].eq("done"), ACCURACY].notna().any():
        return []
    folder = results / "runs"
    return [*_component_blocks(rows, folder), *_item_blocks(parts, rows, folder)]


def _component_blocks(rows: pd.DataFrame, folder: Path) -> list[Block]:
    table = components_table(rows, folder, KEY)
    lines = [
        [
            name_with_role(r), str(r["dataset"]), str(r["runs"]), str(r["splits"]),
            *(_deviation_text(r[name]) for name in ("seed", "split", "sample")),
        ]
        for r in table.to_dict("records")
    ]  # fmt: skip
    headings = ["configuration", "dataset", "runs", "splits", "seed", "split", "test samples"]
    note = (
        "Deviations of the test accuracy in points. seed: of one run, between seeds on one split. split: between "
        "splits, beyond what their seeds scatter. test samples: had others been drawn, by resampling those of each "
        "split; where the split draws the test samples it holds this, too. –: nothing repeats it, or the runs are of "
        "a version that kept no predictions."
    )
    return [Block("What the accuracy varies by", table=Table(headings, lines, note=note))]


def _item_blocks(parts: Parts, rows: pd.DataFrame, folder: Path) -> list[Block]:
    baseline = {dataset: right_by_repeat(part, folder) for dataset, part in parts.baseline.groupby("dataset")}
    lines = []
    for key, part in rows[~rows["hash"].isin(parts.baseline["hash"])].groupby(KEY, sort=False, dropna=False):
        named: dict[Any, Any] = dict(zip(KEY, key, strict=True))
        own, joint = right_by_repeat(part, folder, FUSED_HEAD), baseline.get(named["dataset"], {})
        for split in dict.fromkeys(split for split, _ in own):
            found = compare_items(_on_split(own, split), _on_split(joint, split))
            if found is not None:
                where = "–" if split < 0 else str(split)
                lines.append([
                    name_with_role(named), str(named["dataset"]), where, str(found.seeds), str(found.items),
                    points_text(found.difference), f"{points_text(found.low)} to {points_text(found.high)}",
                    "< 0.001" if found.p < 0.001 else f"{found.p:.3f}",
                ])  # fmt: skip
    headings = ["configuration", "dataset", "split", "common seeds", "samples", "difference", "95 % interval", "p"]
    note = (
        "Points of test accuracy above joint training on the same test samples of one split, averaged over the common "
        "seeds. Interval and p are over test samples alone, by resampling them (of one seed: McNemar's exact test): "
        "they say what these trained networks would do on other samples, and nothing of other seeds. Uncorrected."
    )
    return [Block("Sample by sample against joint training", table=Table(headings, lines, note=note))] if lines else []


def _on_split(found: dict[tuple[int, int], Any], split: int) -> dict[int, Any]:
    return {seed: right for (own, seed), right in found.items() if own == split}


def _deviation_text(value: float) -> str:
    return "–" if pd.isna(value) else f"{100 * value:.2f}"
