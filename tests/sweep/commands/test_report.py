"""``python -m sweep report``: the small table for the terminal, and where the report is written."""

from __future__ import annotations

import io
import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console
from support.synthetic_results import Results, alpha_sweep

from sweep.analysis.parts import Parts
from sweep.analysis.standings import leader_sentences, standings
from sweep.commands import report
from sweep.commands.main import main
from sweep.commands.report import summary_table
from sweep.plan.not_applicable import NotApplicable
from sweep.results.tables import load
from sweep.runs.store import Store


def test_the_terminal_table_is_small_and_counts_what_is_lacking(tmp_path: Path) -> None:
    results = alpha_sweep(tmp_path)
    results.run("iprm-alpha", "iprm", 9, values={"alpha": 0.4}, status="failed")
    console = Console(width=150, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    table = summary_table(Parts(load(tmp_path / "iprm-alpha")))
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
    assert summary_table(Parts(load(tmp_path / "one"))).row_count == 2


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
@pytest.mark.usefixtures("one_figure")
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


# By hand -------------------------------------------------------------------------------------------------------------


def printed(show: Callable[[Console], None]) -> list[str]:
    out = io.StringIO()
    show(Console(file=out, width=150))
    return [line.rstrip() for line in out.getvalue().splitlines()]


def test_reasons_for_not_applicable_are_told_once_each() -> None:
    left_out = [
        NotApplicable("iprm", "digits", {"alpha": 1}, "too large"),
        NotApplicable("joint", "digits", {}, "none"),
        NotApplicable("iprm", "mfeat", {"alpha": 1}, "too large"),
    ]
    assert printed(lambda console: report.print_reasons(left_out, console)) == [
        "N/A: iprm: alpha=1 on digits, iprm: alpha=1 on mfeat: too large",
        "N/A: joint on digits: none",
    ]
    assert printed(lambda console: report.print_reasons([], console)) == []


@pytest.fixture
def compared(tmp_path: Path) -> Results:
    """Two methods under three seeds."""
    results = Results(tmp_path / "results")
    results.sweep("one")
    for method, level in (("iprm", 0.9), ("aug", 0.5)):
        for seed in range(3):
            results.run("one", method, seed, {"multi": level + seed / 100, "left": 0.5, "profile": 0.4})
    return results


def test_the_best_of_each_method_is_shown_where_there_are_several(compared: Results) -> None:
    table = standings(Parts(load(compared.path / "one")))
    title, *lines = printed(lambda console: report.print_standings(table, "one", console))
    assert title == "one: the best of each method on validation"
    assert [name in " ".join(lines) for name in ("iprm", "aug", "validation", "test")] == [True] * 4
    assert [line.split()[1] for line in lines if "iprm" in line or "aug" in line][:2] == ["iprm", "aug"]
    assert [sentence in lines for sentence in leader_sentences(table)] == [True]
    assert printed(lambda console: report.print_standings(table.iloc[:1], "one", console)) == []


def test_a_row_a_configuration_with_its_number_of_seeds(compared: Results) -> None:
    compared.run("one", "iprm", 3, status="failed", reason="boom")
    left_out = [NotApplicable("joint", "digits", {"alpha": 1}, "none")]
    table = summary_table(Parts(load(compared.path / "one")), left_out)
    assert str(table.title) == "one"
    assert [(str(column.header), column.justify) for column in table.columns] == [
        ("configuration", "left"), ("dataset", "left"), ("n", "right"), ("validation accuracy", "right"),
        ("test accuracy", "right"), ("test accuracy left", "right"), ("test accuracy profile", "right"),
    ]  # fmt: skip
    cells = [[str(cell) for cell in column._cells] for column in table.columns]
    assert cells[0] == ["iprm", "aug", "joint: alpha=1"]
    assert cells[1] == ["digits"] * 3
    assert cells[2] == ["3 (of 4)", "3", "N/A"]
    assert [column[2] for column in cells[3:]] == ["N/A"] * 4
    assert cells[4][0].startswith("91.0 ± ")


def test_a_report_is_written_and_told_with_its_small_table(
    compared: Results, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    published, store = list[str](), str(compared.path)
    monkeypatch.setattr(report, "write_report", lambda results, name, target, known: target / "page.html")
    monkeypatch.setattr(report, "write_paper", lambda results, name, target: target / "paper")
    monkeypatch.setattr(Store, "publish", lambda self, name: published.append(name))
    assert main(["report", "one", "--results", store]) == 0
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == "one: the best of each method on validation"
    assert lines[-1] == f"report: {store}/one/page.html"
    assert (compared.path / "one" / "runs.csv").exists()
    assert published == ["one"]
    # Each method has one configuration: the table of all would say the same again.
    assert "configuration" not in "".join(lines)
    elsewhere = compared.path.parent / "mine"
    assert main(["report", "one", "--results", store, "--tex", "--to", str(elsewhere)]) == 0
    assert capsys.readouterr().out.splitlines()[-2:] == [
        f"report: {elsewhere}/one/page.html", f"for a paper: {elsewhere}/one/paper"
    ]  # fmt: skip
    assert published == ["one"]
    compared.run("one", "iprm", 0, values={"alpha": 0.3})
    assert main(["report", "one", "--results", store]) == 0
    assert "configuration" in capsys.readouterr().out


def test_one_method_alone_has_the_table_of_its_configurations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    results = Results(tmp_path)
    results.sweep("one")
    results.run("one", "iprm", 0)
    monkeypatch.setattr(report, "write_report", lambda results, name, target, known: target / "page.html")
    assert main(["report", "one", "--results", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "configuration" in said
    assert "best of each method" not in said

    def refuse(*of: object) -> Path:
        raise OSError(28, "No space left on device", "/x/page.html")

    monkeypatch.setattr(report, "write_report", refuse)
    assert main(["report", "one", "--results", str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith(
        "cannot write the report to /x/page.html: No space left on device; free space, change permissions, or write"
    )
    publish = Console(file=io.StringIO())
    report.publish_report(Store(tmp_path), "nothing", publish)
    assert publish.file.getvalue() == ""  # type: ignore[attr-defined]
    assert not (tmp_path / "nothing").exists()
