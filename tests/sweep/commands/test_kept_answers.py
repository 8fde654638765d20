"""Kept answers: they are said again as long as nothing has changed, and only then."""

from __future__ import annotations

import argparse
import errno
import fcntl
import io
import json
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock
from rich.table import Table
from support.command_desk import Desk
from support.small_runs import make_plan

from sweep.commands import kept_answers, report
from sweep.commands import main as main_module
from sweep.commands.console import Terminal, say_again
from sweep.commands.kept_answers import depends_on_files_elsewhere, keeping, question_about, repeat_answers
from sweep.commands.main import main
from sweep.config import Sweep
from sweep.storage import stamps


@pytest.fixture(autouse=True)
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stamps, "SETTLED", 0.0)
    monkeypatch.setattr(kept_answers, "read_text_digests", lambda: {"sweep/a.py": "0"})


@pytest.fixture
def options(tmp_path: Path) -> argparse.Namespace:
    """Those of a command about the sweep s, which has two runs."""
    for number in "01":
        (tmp_path / "runs" / number).mkdir(parents=True)
        for record in kept_answers.RECORDS:
            (tmp_path / "runs" / number / record).write_text(f"{number} {record}")
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "index.jsonl").write_text('{"hash":"0"}\n{"hash": "1"}\n')
    (tmp_path / "s" / "sweep.yaml").write_text("sweeps: {}")
    (tmp_path / "page.html").write_text("page")
    (tmp_path / "sweeps.yaml").write_text("sweeps: {}")
    return argparse.Namespace(
        command="show", names=["s", "epochs=3"], results=str(tmp_path), file=tmp_path / "sweeps.yaml"
    )


def keep(options: argparse.Namespace) -> None:
    question = question_about(options, "s")
    assert question is not None
    with keeping(question) as keeper:
        keeper.stamp(question.indexed())
        keeper.keep([{"text": "two done", "options": {}}], [str(Path(options.results) / "page.html")])


def test_an_answer_is_said_again(options: argparse.Namespace, capsys: pytest.CaptureFixture[str]) -> None:
    assert not repeat_answers(options)
    keep(options)
    assert repeat_answers(options)
    assert capsys.readouterr().out == "two done\n"


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "runs" / "1" / "final.json").write_text("another end"),
        lambda folder: (folder / "runs" / "0" / "test.json").unlink(),
        lambda folder: (folder / "runs" / "0" / "metrics.jsonl").open("a").write("{}\n"),
        lambda folder: (folder / "s" / "index.jsonl").open("a").write('{"hash":"2"}\n'),
        lambda folder: (folder / "s" / "race.jsonl").write_text("{}"),
        lambda folder: (folder / "sweeps.yaml").write_text("sweeps: {s: {}}"),
        lambda folder: (folder / "page.html").unlink(),
        lambda folder: (folder / "page.html").write_text("other"),
        lambda folder: (folder / "s" / kept_answers.FILE).write_text("{"),
        lambda folder: (folder / "s" / kept_answers.FILE).write_text("[]"),
        lambda folder: damage(folder / "s" / kept_answers.FILE),
    ],
)
def test_what_has_changed_is_looked_at_again(
    options: argparse.Namespace, change: Callable[[Path], object], capsys: pytest.CaptureFixture[str]
) -> None:
    keep(options)
    change(Path(options.results))
    assert not repeat_answers(options)
    assert capsys.readouterr().out == ""


def damage(path: Path) -> None:
    path.write_text(path.read_text().replace("two done", "two gone"))


def test_other_words_other_code_and_other_packages_are_other_questions(
    options: argparse.Namespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(options)
    for other in ({"names": ["s", "epochs=4"]}, {"names": ["s"]}, {"command": "report", "tex": False, "to": None}):
        assert not repeat_answers(argparse.Namespace(**{**vars(options), **other}))
    with monkeypatch.context() as patched:
        patched.setattr(kept_answers, "read_text_digests", lambda: {"sweep/a.py": "1"})
        assert not repeat_answers(options)
    (tmp_path / "torch-3.dist-info").mkdir()
    with monkeypatch.context() as patched:
        patched.syspath_prepend(tmp_path)
        assert not repeat_answers(options)
    assert repeat_answers(options)


def test_nothing_is_kept_beside_a_warning_or_of_records_that_just_changed(
    options: argparse.Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warnings, "showwarning", lambda *warned: None)
    with keeping(question_about(options, "s")) as keeper:
        keeper.stamp(["0", "1"])
        warnings.showwarning("a torn line", UserWarning, "columns.py", 1)
        keeper.keep([])
    assert not repeat_answers(options)
    monkeypatch.setattr(stamps, "SETTLED", 3600.0)
    keep(options)
    assert not repeat_answers(options)


def test_runs_have_nothing_to_do_unless_they_are_forced_or_another_process_runs_them(
    options: argparse.Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = argparse.Namespace(**{**vars(options), "command": "run", "no_report": True, "force": False, "dry_run": False})
    keep(run)
    assert repeat_answers(run)
    for other in ("no_report", "force", "dry_run"):
        assert not repeat_answers(argparse.Namespace(**{**vars(run), other: not getattr(run, other)}))
    with FileLock(Path(run.results) / "s" / ".lock"):
        assert not repeat_answers(run)
    monkeypatch.setenv("RAY_JOB_ID", "1")
    assert not repeat_answers(run)


def test_where_no_file_can_be_locked_another_process_may_run_the_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not kept_answers._is_locked(tmp_path)

    def flock(file: int, operation: int) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", flock)
    assert kept_answers._is_locked(tmp_path)


def test_results_elsewhere_or_without_an_index_have_no_answers(options: argparse.Namespace) -> None:
    assert question_about(options, "other") is None
    assert question_about(argparse.Namespace(**{**vars(options), "results": "s3://bucket/results"}), "s") is None


def test_plans_of_files_elsewhere_are_told(tmp_path: Path) -> None:
    sweep: Sweep = make_plan(tmp_path).sweep
    assert not depends_on_files_elsewhere(sweep)
    assert depends_on_files_elsewhere(sweep.model_copy(update={"datasets": ["crema_d"]}))
    weights = {"left": {"name": "resnet18", "pretrained": "w.pt"}}
    assert depends_on_files_elsewhere(sweep.model_copy(update={"encoders": weights}))


def test_commands_keep_what_they_say(
    trained_desk: Desk, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(report, "publish_report", lambda store, name, console, **_: console.print("a report"))
    where = ["--file", f"{trained_desk.folder}/sweeps.yaml", "--results", f"{trained_desk.folder}/results"]
    commands = [["show", "s"], ["run", "s", "--local", "--no-report"], ["report", "s"]]
    said = []
    for words in commands:
        assert main([*words, *where]) == 0
        said.append(capsys.readouterr().out)
    monkeypatch.setattr(main_module, "import_module", None)
    for words, before in zip(commands, said, strict=True):
        assert main([*words, *where]) == 0
        assert capsys.readouterr().out.startswith(before)


def test_a_console_notes_what_it_prints() -> None:
    first, second = (Terminal(file=io.StringIO(), width=40) for _ in range(2))
    table = Table("a", title="of two", title_justify="left", box=None, padding=(0, 2, 0, 0))
    table.add_column("b", justify="right", overflow="fold")
    table.add_row("x", "[1]")
    for printed in ("one", table):
        first.print(printed)
    first.print("a long line " * 9, soft_wrap=True, style="yellow")
    say_again(json.loads(json.dumps(first.said)), second)
    assert second.file.getvalue() == first.file.getvalue()
    assert "[1]" in second.file.getvalue()
