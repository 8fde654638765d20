"""Texts that were looked at once and kept: what a page or a figure holds, to be compared with what it holds now."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sweep.report.blocks import Block, Plot

FOLDER = Path(__file__).resolve().parent.parent / "expected"
RENEW = "RENEW_EXPECTED"


def assert_as_before(name: str, lines: Iterable[str]) -> None:
    """Compare lines with tests/expected/NAME.txt.

    Who changes what is written or drawn looks at the page or the figure, and writes the file anew:
    ``RENEW_EXPECTED=1 pytest TEST``."""
    found, path = "\n".join(lines).splitlines(), FOLDER / f"{name}.txt"
    if os.environ.get(RENEW):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(found) + "\n", encoding="utf-8")
    expected = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    changed = list(difflib.unified_diff(expected, found, "before", "now", n=0, lineterm=""))
    if changed:
        raise AssertionError(f"{path.name}: look at the result, then {RENEW}=1\n" + "\n".join(changed))


def assert_reads_as_before(name: str, blocks: Sequence[Block]) -> None:
    """Compare the blocks of a page with tests/expected/report/NAME.txt; of plots only that they are there."""
    assert_as_before(f"report/{name}", (line for block in blocks for line in describe_block(block)))


def assert_plots_as_before(name: str, plot: Plot | str | None) -> None:
    """Compare a plot with tests/expected/plots/NAME.txt, and let Plotly refuse what it does not know."""
    import plotly.graph_objects as go

    drawn = go.Figure(plot).to_plotly_json()
    drawn["layout"].pop("template", None)
    lines = [f"trace {n}: {line}" for n, trace in enumerate(drawn["data"], start=1) for line in _entries(trace)]
    assert_as_before(f"plots/{name}", [*lines, *(f"layout: {line}" for line in _entries(drawn["layout"]))])


def _entries(part: dict[str, Any]) -> Iterator[str]:
    yield from (f"{key} = {first_digits(value)}" for key, value in part.items())


def describe_block(block: Block) -> Iterator[str]:
    """Give the texts of a block, a line each."""
    for name in ("heading", "text", "caption", "links", "summary", "code"):
        if value := getattr(block, name):
            yield f"{name}: {value}"
    shown = [name for name in ("plot", "image") if getattr(block, name)]
    if shown:
        yield f"with {' and '.join(shown)}"
    if block.table is not None:
        yield f"columns: {' | '.join(block.table.columns)}"
        yield from (f"row: {' | '.join(row)}" for row in block.table.rows)
        yield f"best: {sorted(block.table.best)}"
        yield f"note: {block.table.note}"


def first_digits(value: Any) -> str:
    """Write numbers by their first digits, which every machine computes alike, and whatever holds them."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {first_digits(each)}" for key, each in value.items()) + "}"
    if hasattr(value, "__array__") and not isinstance(value, np.generic):
        value = np.asarray(value).tolist()
    if isinstance(value, (list, tuple)):
        return "[" + " ".join(first_digits(each) for each in value) + "]"
    if isinstance(value, (float, np.floating)):
        return f"{value + 0.0:.4g}" if abs(value) > 1e-9 or value != value else "0"
    return str(value)
