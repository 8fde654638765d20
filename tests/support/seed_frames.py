"""Results of runs by value and seed, as frames, for tests of statistics."""

from __future__ import annotations

import math

import pandas as pd


def frame(values: dict[object, list[float | str]], seeds: list[int] | None = None, **columns: object) -> pd.DataFrame:
    """Rows of a curve: value -> accuracy of each seed, or the status of a seed without one."""
    rows = [
        {"x": x, "seed": (seeds or list(range(len(found))))[i], "status": v if isinstance(v, str) else "done",
         "m": math.nan if isinstance(v, str) else v, "dataset": "d", "label": "a", **columns}
        for x, found in values.items()
        for i, v in enumerate(found)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def of_many_blocks(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows with so many columns beside, each apart in memory, that pandas warns of one more: as joined rows of many
    methods are."""
    others = [pd.DataFrame({f"beside{number}": 0.0}, index=rows.index) for number in range(101)]
    return pd.concat([rows, *others], axis=1)
