"""Frames as CSV, also for spreadsheets: what these would compute stays a text."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweep.runs.shown_text import for_spreadsheet

if TYPE_CHECKING:
    import pandas as pd


def write_csv(frame: pd.DataFrame, path: Path) -> None:
    """Write a frame as CSV, without its index. What is missing is empty; see :func:`for_spreadsheet`."""
    columns = [[_text(name), *_texts(frame[name])] for name in frame]
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(zip(*columns, strict=True))


def _texts(values: pd.Series) -> list[str]:
    """Write the values of a column, each distinct one once: most are those of thousands of runs."""
    import numpy as np
    import pandas as pd

    if values.dtype.kind == "f":
        numbers = values.to_numpy()
        # By their bits, as 0 and -0 are equal, but other texts.
        place, bits = pd.factorize(numbers.view(f"i{numbers.itemsize}"))
        found = bits.view(numbers.dtype)
        texts = np.where(np.isnan(found), "", found.astype(str)).tolist()
    else:
        place, distinct = pd.factorize(values)
        texts = [_text(value) for value in distinct.tolist()]
    return np.array([*texts, ""], object)[place].tolist()  # the place of what is missing is -1


def _text(value: Any) -> str:
    return for_spreadsheet(value) if isinstance(value, str) else str(value)
