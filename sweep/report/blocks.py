"""Building blocks of a report's page: sections of texts, plots, pictures and tables."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from markupsafe import Markup

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


def plot_html(figure: Any) -> Markup:
    """Turn a Plotly figure into a part of the page, which holds Plotly once."""
    return Markup(
        figure.to_html(full_html=False, include_plotlyjs=False, config={"displaylogo": False, "responsive": True})
    )
