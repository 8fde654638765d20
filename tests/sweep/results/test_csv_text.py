"""Frames as CSV: what pandas would write, but nothing that a spreadsheet would compute."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support.synthetic_results import Results

from sweep.results.csv_text import write_csv
from sweep.results.tables import write_tables

COLUMNS = {
    "text": ["a", "b, c", 'd "e"', "f\ng", "", None, "a"],
    "part": [0.1, -0.0, 0.0, 1e-5, 1e16, np.nan, -np.inf],
    "single": np.array([0.1, 0.2, 1 / 3, 2, 0, np.nan, 0.1], np.float32),
    "count": range(7),
    "switch": [True, False] * 3 + [True],
    "absent": [None] * 7,
    "maybe": pd.Series([True, None, False, None, True, None, True], dtype=object),
    "a, b": [1] * 7,
}


@pytest.mark.parametrize("rows", [7, 0])
def test_a_csv_is_as_pandas_would_write_it(tmp_path: Path, rows: int) -> None:
    frame = pd.DataFrame(COLUMNS).iloc[:rows]
    write_csv(frame, tmp_path / "own.csv")
    assert (tmp_path / "own.csv").read_text() == frame.to_csv(index=False)


def test_no_text_of_a_csv_starts_a_formula(tmp_path: Path) -> None:
    odd = ["=1+1", "+x", "-x", "@x", "\t=1", "a=1", "-1.5", ""]
    write_csv(pd.DataFrame({"text": odd, "number": [-1.0] * len(odd), "=head": "x"}), tmp_path / "odd.csv")
    found = pd.read_csv(tmp_path / "odd.csv", keep_default_na=False)
    assert found["text"].tolist() == ["'=1+1", "'+x", "'-x", "'@x", "'\t=1", "a=1", "-1.5", ""]
    assert found["number"].tolist() == [-1.0] * len(odd)
    assert list(found) == ["text", "number", "'=head"]


def test_formulas_are_texts_in_the_csv_of_runs_alone(tmp_path: Path) -> None:
    results = Results(tmp_path)
    results.sweep("one")
    results.run("one", "joint", 0, status="failed", reason="=HYPERLINK(1)")
    write_tables(tmp_path, "one")
    assert pd.read_csv(tmp_path / "one" / "runs.csv")["reason"].tolist() == ["'=HYPERLINK(1)"]
    assert pd.read_parquet(tmp_path / "one" / "runs.parquet")["reason"].tolist() == ["=HYPERLINK(1)"]
