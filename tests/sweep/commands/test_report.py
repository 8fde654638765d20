"""``python -m sweep report``: the small table for the terminal, and where the report is written."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path

import pytest
from rich.console import Console
from support.synthetic_results import Results, alpha_sweep

from sweep.commands.main import main
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


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
def test_who_may_only_read_the_results_has_the_report_elsewhere(capsys: pytest.CaptureFixture[str]) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as shared:  # TMPDIR may be a folder of this user alone
        os.chmod(shared, 0o755)
        results = Results(Path(shared, "results"))
        results.sweep("one")
        for alpha in (0.1, 0.2):
            results.run("one", "iprm", 0, values={"alpha": alpha})
        report = ["report", "one", "--results", str(results.path)]
        # What is imported on the way may lie where the other user cannot read.
        assert main([*report, "--tex", "--to", f"{shared}/root"]) == 0
        before = sorted(results.path.rglob("*"))
        theirs = Path(shared, "theirs")
        theirs.mkdir()
        os.chown(theirs, 65534, -1)
        os.seteuid(65534)
        try:
            assert main(report) == 1
            assert "report NAME --to FOLDER" in capsys.readouterr().err
            assert main([*report, "--to", f"{theirs}/mine"]) == 0
            assert main([*report, "--to", f"{shared}/another"]) == 1
        finally:
            os.seteuid(0)
        said = capsys.readouterr()
        assert f"report: {theirs}/mine/one/report/index.html" in said.out
        assert f"cannot write the report to {shared}/another: Permission denied; free space" in said.err
        assert sorted(results.path.rglob("*")) == before
        files = {path.relative_to(theirs / "mine" / "one").as_posix() for path in theirs.rglob("*") if path.is_file()}
        assert {"report/index.html", "report/figures/captions.txt", "runs.csv", "epochs.parquet"} <= files
