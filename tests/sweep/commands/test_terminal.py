"""The words that commands share: names, overrides, settings."""

from __future__ import annotations

import pytest
from rich.table import Table

from sweep.commands.terminal import (
    names_and_overrides,
    print_interruption,
    print_line,
    print_mistake,
    settings,
    terminal,
)
from sweep.config import ConfigError


def test_names_are_words_without_an_equals_sign() -> None:
    assert names_and_overrides(["a", "epochs=3", "b", "x=y=z"]) == (["a", "b"], ["epochs=3", "x=y=z"])


def test_settings_are_read_as_yaml() -> None:
    assert settings(["root=a/b", "data.size=3", "flags=[1, 2]", "empty="]) == {
        "root": "a/b", "size": 3, "flags": [1, 2], "empty": None,
    }  # fmt: skip
    with pytest.raises(ConfigError, match="'root' is no key=value"):
        settings(["root"])


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
