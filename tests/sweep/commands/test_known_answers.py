"""Commands answered by what is kept beside the index: they say what they said before, and only where it holds."""

from __future__ import annotations

import argparse
import errno
import fcntl
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock
from support.command_desk import Desk

from sweep.commands import known_answers, report
from sweep.commands import main as main_module
from sweep.commands.known_answers import answer
from sweep.commands.main import main
from sweep.storage import stamps


@pytest.fixture
def desk(trained_desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """The sweep s is trained, and each command has been given once; from now on none imports its module."""
    monkeypatch.setattr(stamps, "SETTLED", 0.0)
    monkeypatch.setattr(report, "publish_report", lambda store, name, console, **_: console.print("a report"))
    for command in ("show", "run", "report"):
        assert main(words(trained_desk, command)) == 0
    monkeypatch.setattr(main_module, "import_module", refuse)
    return trained_desk


def refuse(module: str) -> None:
    raise LookupError(module)


def words(desk: Desk, command: str, *more: str) -> list[str]:
    where = ["--file", f"{desk.folder}/sweeps.yaml", "--results", f"{desk.folder}/results"]
    return [command, "s", *(["--local"] if command == "run" else []), *where, *more]


def test_each_says_again_what_it_said(
    trained_desk: Desk, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(stamps, "SETTLED", 0.0)
    monkeypatch.setattr(report, "publish_report", lambda store, name, console, **_: console.print("a report"))
    given = [words(trained_desk, *each) for each in (["show"], ["run", "--no-report"], ["report"])]
    said = []
    for each in given:
        assert main(each) == 0
        said.append(capsys.readouterr().out)
    monkeypatch.setattr(main_module, "import_module", refuse)
    said[-1] += "nothing has changed since it was written\n"
    for each, before in zip(given, said, strict=True):
        assert main(each) == 0
        assert capsys.readouterr().out == before
    assert main(words(trained_desk, "run")) == 0
    assert capsys.readouterr().out == said[1] + said[2]


def first_run(desk: Desk) -> Path:
    return desk.finished()[0].parent


CHANGES: list[tuple[Callable[[Desk], object], set[str]]] = [
    (lambda desk: (desk.folder / "sweeps.yaml").open("a").write("# a word\n"), {"show", "run"}),
    (lambda desk: (first_run(desk) / "final.json").unlink(), {"run", "report"}),
    (
        lambda desk: (first_run(desk) / "final.json").write_text('{"status": "failed", "reason": "x"}'),
        {"run", "report"},
    ),
    (lambda desk: (desk.folder / "results" / "s" / "sweep.yaml").write_text("sweeps: {}"), {"run", "report"}),
    (lambda desk: (desk.folder / "results" / "s" / "index.jsonl").write_text(""), {"run", "report"}),
    (lambda desk: (desk.folder / "results" / "s" / ".report").unlink(), {"run", "report"}),
    (lambda desk: (desk.folder / "results" / "s" / ".outline").unlink(), {"show", "run"}),
]


@pytest.mark.parametrize(("change", "looked"), CHANGES)
def test_where_anything_has_changed_the_command_looks_itself(
    desk: Desk, change: Callable[[Desk], object], looked: set[str], capsys: pytest.CaptureFixture[str]
) -> None:
    change(desk)
    capsys.readouterr()
    for command in ("show", "run", "report"):
        if command in looked:
            with pytest.raises(LookupError):
                main(words(desk, command))
            assert capsys.readouterr().out == ""
        else:
            assert main(words(desk, command)) == 0
            assert capsys.readouterr().out


def test_show_looks_at_what_has_changed_of_the_runs_alone(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    (first_run(desk) / "final.json").write_text('{"status": "failed", "reason": "no room"}')
    (desk.finished()[1]).unlink()
    capsys.readouterr()
    assert main(words(desk, "show")) == 0
    said = capsys.readouterr().out
    assert "1 failed: 1 error" in said
    assert "seed 0): failed: no room" in said
    assert said.count("1 begun") == 1


@pytest.mark.parametrize(("command", "more"), [("run", "--force"), ("run", "--dry-run"), ("report", "--tex")])
def test_what_is_to_be_done_anyway_is_no_answer(desk: Desk, command: str, more: str) -> None:
    with pytest.raises(LookupError):
        main(words(desk, command, more))


def test_runs_of_a_job_or_that_another_process_runs_are_not_answered(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FileLock(desk.folder / "results" / "s" / ".lock"), pytest.raises(LookupError):
        main(words(desk, "run"))
    monkeypatch.setenv("RAY_JOB_ID", "1")
    with pytest.raises(LookupError):
        main(words(desk, "run"))


def test_without_a_name_nothing_is_answered(tmp_path: Path) -> None:
    options = {"names": ["epochs=3"], "results": str(tmp_path), "file": tmp_path / "sweeps.yaml", "to": None}
    flags = {"tex": False, "force": False, "dry_run": False, "no_report": False}
    for command in ("show", "run", "report"):
        assert not answer(argparse.Namespace(command=command, **options, **flags))


def test_where_no_file_can_be_locked_another_process_may_run_the_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not known_answers._is_locked(tmp_path)

    def flock(file: int, operation: int) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", flock)
    assert known_answers._is_locked(tmp_path)
