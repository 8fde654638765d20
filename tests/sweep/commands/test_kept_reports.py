"""What was said of a report: kept as long as neither what was read nor what was written has changed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from sweep.commands.console import Said
from sweep.commands.kept_reports import FILE, RECORDS, ReportKeeper
from sweep.runs import program
from sweep.storage import stamps

SAID: Said = [{"text": "two done", "options": {}}]


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The sweep s has two runs, and a report of one page."""
    monkeypatch.setattr(stamps, "SETTLED", 0.0)
    monkeypatch.setattr(program, "code_digest", lambda: "0")
    for number in "01":
        (tmp_path / "runs" / number).mkdir(parents=True)
        for record in RECORDS:
            (tmp_path / "runs" / number / record).write_text(f"{number} {record}")
    (tmp_path / "s" / "report").mkdir(parents=True)
    (tmp_path / "s" / "index.jsonl").write_text('{"hash":"0"}\n{"hash": "1"}\n')
    (tmp_path / "s" / "sweep.yaml").write_text("sweeps: {}")
    (tmp_path / "s" / "runs.csv").write_text("a table that the report writes")
    (tmp_path / "page.html").write_text("page")
    return tmp_path


def keep(results: Path, to: Path | None = None) -> None:
    ReportKeeper.of(str(results), "s", to).keep(SAID, [str(results / "page.html")])


def known(results: Path, to: Path | None = None) -> Said | None:
    return ReportKeeper.of(str(results), "s", to).known()


def test_what_was_said_is_known(results: Path) -> None:
    assert known(results) is None
    keep(results)
    assert known(results) == SAID
    assert known(results, Path("elsewhere")) is None
    (results / "s" / "runs.csv").write_text("another")
    (results / "s" / ".outline").write_text("another")
    assert known(results) == SAID


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "runs" / "1" / "final.json").write_text("another end"),
        lambda folder: (folder / "runs" / "0" / "test.json").unlink(),
        lambda folder: (folder / "runs" / "0" / "metrics.jsonl").open("a").write("{}\n"),
        lambda folder: (folder / "s" / "index.jsonl").open("a").write('{"hash":"2"}\n'),
        lambda folder: (folder / "s" / "index.jsonl").unlink(),
        lambda folder: (folder / "s" / "race.jsonl").write_text("{}"),
        lambda folder: (folder / "s" / "sweep.yaml").write_text("sweeps: {s: {}}"),
        lambda folder: (folder / "page.html").unlink(),
        lambda folder: (folder / "page.html").write_text("other"),
        lambda folder: (folder / "s" / FILE).write_text("{"),
        lambda folder: damage(folder / "s" / FILE),
    ],
)
def test_of_what_has_changed_nothing_is_known(results: Path, change: Callable[[Path], object]) -> None:
    keep(results)
    change(results)
    assert known(results) is None


def damage(path: Path) -> None:
    path.write_text(path.read_text().replace("two done", "two gone"))


def test_other_code_has_other_reports(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keep(results)
    monkeypatch.setattr(program, "code_digest", lambda: "1")
    assert known(results) is None


def test_nothing_is_kept_of_records_that_just_changed(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stamps, "SETTLED", 3600.0)
    keep(results)
    assert not (results / "s" / FILE).exists()


@pytest.mark.parametrize(("where", "name"), [("{}", "other"), ("{}", "../s"), ("s3://bucket/results", "s")])
def test_of_results_elsewhere_or_without_an_index_nothing_is_kept(results: Path, where: str, name: str) -> None:
    keeper = ReportKeeper.of(where.format(results), name)
    keeper.keep(SAID, [])
    assert keeper.known() is None
