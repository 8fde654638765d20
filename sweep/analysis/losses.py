"""Seeds that a configuration lost, and means that count them at chance level: survivors alone flatter what diverges."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from sweep.analysis.statistics import grouped, repeat_grid
from sweep.results.tables import columns_of

ACCURACIES = ("test_accuracy", "validation_accuracy")
"""Metrics whose level without any modality is known: the share of the most frequent class."""


def chance_level(rows: pd.DataFrame, column: str) -> float:
    """Give the accuracy that needs no modality on the dataset of the rows, a share; NaN where it is not known.

    column: test_accuracy or validation_accuracy; that of no other metric is known. Shapley values of all modalities add
    up to the accuracy above that of the empty set, which scores the share of the most frequent class."""
    values = columns_of(rows, f"{column.partition('_')[0]}_shapley_")
    if column not in ACCURACIES or column not in rows or not values:
        return math.nan
    heads = [c for c in columns_of(rows, f"{column}_") if rows[c].notna().any()]
    known = rows[rows["status"].eq("done") & rows[values].notna().sum(axis=1).ge(max(1, len(heads)))]
    return float((known[column] - known[values].sum(axis=1)).median())


def losses_table(rows: pd.DataFrame, by: Sequence[str], column: str) -> pd.DataFrame:
    """Count the lost seeds of each group, and average ``column`` with each of them at chance level.

    Columns ``by`` (with dataset), seeds (begun or not), lost (seeds that failed, diverged or were stopped early, and
    did not finish otherwise) and mean, a share; NaN where seeds were lost and the chance level is not known."""
    chance = {str(dataset): chance_level(part, column) for dataset, part in rows.groupby("dataset", sort=False)}
    group, table = grouped(rows, by)
    grid = repeat_grid(rows, group)
    values, lost = grid.values(rows, column), grid.lost(rows)
    known = (~np.isnan(values)).sum(1)
    total = np.nansum(values, axis=1) + np.where(lost > 0, lost * table["dataset"].map(chance).to_numpy(float), 0.0)
    counted = known + lost
    mean = np.where(counted > 0, total / np.maximum(counted, 1), math.nan)
    return table.assign(seeds=grid.seeds(), lost=lost, mean=mean)
