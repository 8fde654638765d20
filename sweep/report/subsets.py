"""Absent modalities: the accuracy that is left with each part of them."""

from __future__ import annotations

import pandas as pd

from sweep.analysis.conclusions import name_with_role
from sweep.analysis.parts import Parts
from sweep.analysis.statistics import compare
from sweep.analysis.subsets import subset_columns
from sweep.report.blocks import Block, Table

KEY = ("label", "point", "role", "dataset", "configuration")
MOST_ROWS = 60
NOTE = (
    "Test accuracy of the fused prediction in per cent, with the features of all other modalities zeroed and nothing "
    "trained for that; none: the share of the most frequent class. The Shapley values are means over these subsets, so "
    "they cost no further pass: 2^M passes over the split for up to four modalities; of more only those subsets that "
    "12 orders meet, at most 12 (M - 1) + 2."
)


def shown_rows(parts: Parts) -> pd.DataFrame:
    """Select what is tabulated by configuration: references, what was planned, and what was chosen under fresh seeds;
    of many configurations the first."""
    rows = pd.concat([parts.references[parts.references["number"].isna()], parts.planned, parts.chosen])
    keys = rows.drop_duplicates(list(KEY))[list(KEY)].head(MOST_ROWS)
    return rows.merge(keys, on=list(KEY))


def subset_blocks(parts: Parts) -> list[Block]:
    """Show the accuracy of each configuration with each subset of the modalities; nothing where none is recorded."""
    if not subset_columns(parts.runs):
        return []
    rows, blocks = shown_rows(parts), []
    for dataset, part in rows.groupby("dataset", sort=False):
        columns = subset_columns(part)
        if not columns:
            continue
        table = compare(part, list(columns.values()), KEY)
        lines = [[name_with_role(r), str(r["n"]), *(str(r[c]) for c in columns.values())] for r in _records(table)]
        heading = f"Accuracy with a part of the modalities, on {dataset}"
        blocks.append(Block(heading, table=Table(["configuration", "n", *columns], lines, note=NOTE)))
    return blocks


def _records(table: pd.DataFrame) -> list[dict[str, object]]:
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]
