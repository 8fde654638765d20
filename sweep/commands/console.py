"""The console that commands write to, and what it was given to print. It needs neither torch nor a configuration."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from sweep.runs.shown_text import printable

Said = list[dict[str, Any]]
"""What a console was given to print, as JSON holds it."""


class Terminal(Console):
    """A console on which texts, also those in cells of tables, are texts: brackets and colons have no meaning, numbers
    no colour, and what would command the terminal is written out.

    It notes the texts and tables that it prints in :attr:`said`, for :func:`say_again`."""

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **options)
        self.said: Said = []

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(printable(text), **options)

    def print(self, *objects: Any, **options: Any) -> None:
        for each in objects:
            if isinstance(each, str):
                self.said.append({"text": each, "options": options})
            elif isinstance(each, Table):
                self.said.append({"table": _noted(each), "options": options})
        super().print(*objects, **options)


def terminal() -> Terminal:
    """Give the console that commands write to: a pipe or a file gets whole lines, a terminal its own width."""
    return Terminal(width=None if sys.stdout is not None and sys.stdout.isatty() else 160)


def print_line(text: str, style: str = "") -> None:
    """Write one line, not wrapped."""
    terminal().print(text, style=style, soft_wrap=True)


def print_mistake(text: str) -> None:
    """Write in red to standard error."""
    Terminal(stderr=True).print(text, style="red", soft_wrap=True)


def print_interruption() -> None:
    """Write to standard error how to go on after an interruption."""
    text = "interrupted; run the same command again to go on"
    Terminal(stderr=True).print(text, style="yellow", soft_wrap=True)


def say_again(said: Said, console: Console) -> None:
    """Print what another console has noted."""
    for each in said:
        console.print(each["text"] if "text" in each else _table(each["table"]), **each["options"])


def _noted(table: Table) -> dict[str, Any]:
    columns = [[column.header, column.justify, list(column.cells)] for column in table.columns]
    title = {"title": table.title, "title_justify": table.title_justify}
    return {"columns": columns, "boxed": table.box is not None, "padding": table.padding, **title}


def _table(noted: dict[str, Any]) -> Table:
    look: dict[str, Any] = {} if noted["boxed"] else {"box": None}
    title = {"title": noted["title"], "title_justify": noted["title_justify"]}
    table = Table(padding=tuple(noted["padding"]), **title, **look)
    cells: list[Sequence[str]] = []
    for header, justify, column in noted["columns"]:
        table.add_column(header, justify=justify, overflow="fold")
        cells.append(column)
    for row in zip(*cells, strict=True):
        table.add_row(*row)
    return table
