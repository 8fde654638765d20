"""Building blocks of a report's page: sections of texts, plots, pictures and tables."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import Any

from markupsafe import Markup

from sweep.runs.shown_text import for_plotly

Plot = dict[str, Any]
"""A figure of Plotly as it stands in a page: its ``data``, a list of traces, and its ``layout``."""
MOST_LISTED = 200
"""Rows of a table that lists single runs."""


@dataclass(frozen=True)
class Table:
    """A table of the page: texts, and the numbers of rows to point out."""

    columns: list[str]
    rows: list[list[str]]
    best: set[int] = field(default_factory=set)
    note: str = ""


@dataclass(frozen=True)
class Block:
    """A part of a section; what is empty is left out."""

    heading: str = ""
    text: str = ""
    plot: str = ""
    image: str = ""
    caption: str = ""
    links: tuple[tuple[str, str], ...] = ()
    table: Table | None = None
    summary: str = ""
    code: str = ""


@dataclass(frozen=True)
class Section:
    """A headed section of the page."""

    id: str
    heading: str
    blocks: list[Block]


def plot_html(plot: Plot) -> Markup:
    """Turn a plot into a part of the page, which holds Plotly once. Names, labels and categories are shown as they are:
    Plotly would read tags in them."""
    from plotly.io import to_html

    shown, config = _without_tags(plot), {"displaylogo": False, "responsive": True}
    drawn = {"data": shown["data"], "layout": {**shown["layout"], "template": _template()}}
    return Markup(to_html(drawn, config=config, include_plotlyjs=False, full_html=False, validate=False))


@cache
def _template() -> dict[str, Any]:
    """Give the colours and lines of all plots."""
    from plotly.io import templates

    drawn: dict[str, Any] = templates["plotly_white"].to_plotly_json()
    return drawn


def _without_tags(part: Any, key: str = "") -> Any:
    """Escape the texts of a part of a figure that stand at a key where Plotly shows one."""
    if isinstance(part, dict):
        return {name: _without_tags(value, key if name == "text" else name) for name, value in part.items()}
    if isinstance(part, (list, tuple)) and not (part and isinstance(part[0], int | float)):
        return [_without_tags(value, key) for value in part]
    return for_plotly(part) if isinstance(part, str) and key in _SHOWN else part


_SHOWN = ("name", "title", "label", "x", "y")
