"""The console that commands write to."""

from __future__ import annotations

import io
import json
import sys

import pytest
from rich.table import Table

from sweep.commands.console import Terminal, print_interruption, print_line, print_mistake, say_again, terminal


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


def test_texts_of_lines_and_cells_have_no_meaning(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table("[/b] :x:", title="[red]t")
    table.add_row("[/b] \x1b[31m 12 :smile:")
    terminal().print(table)
    terminal().print("a [/b]\x07 :warning:", style="red")
    print_line("[/b]\udcff")
    said = capsys.readouterr().out
    assert "[red]t" in said
    assert "[/b] :x:" in said
    assert "[/b] \\x1b[31m 12 :smile:" in said
    assert said.endswith("a [/b]\\x07 :warning:\n[/b]\\udcff\n")


def test_mistakes_go_to_standard_error_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    print_mistake("[red] is no markup")
    print_interruption()
    captured = capsys.readouterr()
    assert captured.err == "[red] is no markup\ninterrupted; run the same command again to go on\n"
    assert captured.out == ""


def test_a_terminal_has_its_own_width_and_all_else_whole_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "77")
    assert terminal().width == 160
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert terminal().width == 77
    monkeypatch.setattr(sys, "stdout", None)
    assert terminal().width == 160


def test_a_line_is_never_wrapped(capsys: pytest.CaptureFixture[str]) -> None:
    for said in (print_line, print_mistake):
        said("word " * 60)
    out, err = capsys.readouterr()
    assert [len(text.splitlines()) for text in (out, err)] == [1, 1]
