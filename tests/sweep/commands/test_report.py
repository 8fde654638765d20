"""``python -m sweep report``: the small table for the terminal."""

from __future__ import annotations

import re
from pathlib import Path

from rich.console import Console
from support.synthetic_results import Results, alpha_sweep

from sweep.commands.report import summary_table
from sweep.results.tables import load


def test_the_terminal_table_is_small_and_counts_what_is_lacking(tmp_path: Path) -> None:
    results = alpha_sweep(tmp_path)
    results.run("iprm-alpha", "iprm", 9, values={"alpha": 0.4}, status="failed")
    console = Console(width=150, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    table = summary_table(load(tmp_path / "iprm-alpha"))
    assert table.row_count == 11
    console.print(table)
    text = console.export_text()
    assert re.search(r"iprm: alpha=0.4\s+│ digits\s+│ 2 \(of 4\)", text)
    assert "joint (reference)" in text
    assert "test accuracy profile" in text


def test_a_sweep_without_a_single_end_still_has_a_table(tmp_path: Path) -> None:
    results = Results(tmp_path)
    results.sweep("one", "")
    results.run("one", "iprm", 0, values={"alpha": 0.1}, status="missing")
    results.run("one", "iprm", 0, values={"alpha": 0.2}, status="failed", reason="boom")
    assert summary_table(load(tmp_path / "one")).row_count == 2
