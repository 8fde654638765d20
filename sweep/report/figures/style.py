"""Palette, style, captions, counts of seeds and files on disk, shared by all figures."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter

from sweep.analysis.parts import Axis, selection_metric
from sweep.analysis.replicates import ONE_SPLIT
from sweep.analysis.trained_epochs import trained_epochs_text

FUSED = "fused"
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Okabe and Ito's palette, told apart with any colour vision; the first is the fused prediction's."""
MARKERS = ("o", "s", "^", "D", "v", "P")
GREY = "#4d4d4d"
DASHES: tuple[Any, ...] = ("--", ":", "-.", (0, (5, 1, 1, 1, 1, 1)))
FORMATS = ("pdf", "svg", "png")
LAYOUT_TABLES = ("GDEF", "GPOS", "GSUB", "kern")
"""Tables of a font that place and replace glyphs."""
STYLE: dict[Any, Any] = {
    "font.size": 8, "axes.labelsize": 8, "axes.titlesize": 8.5, "xtick.labelsize": 7.5, "ytick.labelsize": 7.5,
    "legend.fontsize": 7.5, "axes.spines.top": False, "axes.spines.right": False, "axes.linewidth": 0.7,
    "axes.edgecolor": GREY,
    "xtick.color": GREY, "ytick.color": GREY, "xtick.labelcolor": "black", "ytick.labelcolor": "black",
    "figure.constrained_layout.w_pad": 0.07, "figure.constrained_layout.h_pad": 0.06, "axes.grid": True,
    "axes.axisbelow": True, "grid.color": "#e6e6e6", "grid.linewidth": 0.6, "lines.linewidth": 1.3,
    "lines.markersize": 4,
    "legend.frameon": False, "pdf.fonttype": 42, "svg.fonttype": "none", "svg.hashsalt": "sweep", "figure.dpi": 200,
    "text.parse_math": False,
}  # fmt: skip


PAPER_STYLE: dict[Any, Any] = STYLE | {
    "font.size": 9, "axes.labelsize": 9, "axes.titlesize": 9, "xtick.labelsize": 8, "ytick.labelsize": 8,
    "legend.fontsize": 8,
}  # fmt: skip
"""The sizes of a paper's text, for figures that are included as wide as they are drawn."""
TEXT_WIDTHS = {"one-column": 3.3, "two-columns": 6.8}
"""Inches of the columns of a paper."""
NARROW = 4.5
"""Inches below which panels stand one below the other."""
TURNED: dict[str, Any] = {"ha": "right", "rotation_mode": "anchor"}
"""Lets a label that is turned end at its tick."""
LETTERS_ABREAST = 40
"""Letters of tick labels that lie side by side below a panel, with the space between them."""
_text_width: ContextVar[float | None] = ContextVar("text_width", default=None)


Kind = Literal["curve", "comparison", "published", "pareto", "trajectory", "search", "subsets", "ranks", "severities"]


@dataclass(frozen=True)
class Drawing:
    """A figure with the stem of its files and the caption that a paper needs. kind: where a report shows it."""

    stem: str
    caption: str
    figure: Figure
    kind: Kind = "curve"


@contextmanager
def for_paper(width: float) -> Iterator[None]:
    """Draw every figure so many inches wide, with the font sizes of a paper's text."""
    token = _text_width.set(width)
    try:
        with rc_context(PAPER_STYLE):
            yield
    finally:
        _text_width.reset(token)


def new_figure(width: float, height: float) -> Figure:
    """Make a figure of so many inches; for a paper it is as wide as the text."""
    return Figure(figsize=(_text_width.get() or width, height), layout="constrained")


def is_narrow() -> bool:
    """Tell whether figures are drawn for a column in which panels do not stand side by side."""
    return (_text_width.get() or NARROW) < NARROW


def protocol(rows: pd.DataFrame, column: str) -> str:
    """Tell a reader where the numbers come from: datasets, epochs, seeds, selection."""
    epochs = trained_epochs_text(rows[rows["status"].eq("done")], " epochs")
    trained = f"{epochs}; " if epochs else ""
    chosen_by = selection_metric(rows).replace("_", " ")
    shown = (
        "test split at the selected epoch"
        if column.startswith("test")
        else "no test metrics recorded, so validation is shown"
    )
    datasets = ", ".join(dict.fromkeys(rows["dataset"]))
    splits = max(part["split"].nunique() for _, part in rows.groupby("dataset")) if "split" in rows else 1
    repeats = f"the means of {splits} splits, {seed_count(rows)}" if splits > 1 else f"{seed_count(rows)} {ONE_SPLIT}"
    over = f"Mean and 95 % t interval over {repeats} ({datasets})"
    return f"{over}; {trained}epoch selected by {chosen_by}; {shown}."


def seed_count(rows: pd.DataFrame) -> str:
    """Count finished seeds a configuration: "n = 3 seeds", "n = 2 to 3 seeds"; of several splits the runs."""
    counts = rows["status"].eq("done").groupby([rows["dataset"], rows["configuration"]]).sum()
    fewest, most = int(counts.min()), int(counts.max())
    what = "run" if "split" in rows and rows["split"].nunique() > 1 else "seed"
    return f"n = {most if fewest == most else f'{fewest} to {most}'} {what}{'s' if most != 1 else ''}"


def positions(values: pd.Series, axis: Axis) -> np.ndarray:
    """Place values on the axis: at themselves, or at their number among the categories."""
    found = [axis.values.index(v) for v in values] if axis.scale == "category" else list(values)
    return np.array(found, float)


def slug(text: str) -> str:
    """Make ``text`` part of a file name."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def add_legend(figure: Figure, panels: Iterable[Axes]) -> None:
    """Add one legend above all panels, the fused prediction first."""
    entries = {label: handle for ax in panels for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    order = sorted(entries, key=lambda label: label != FUSED)
    longest = max(map(len, order), default=0)
    columns = max(1, int(figure.get_figwidth() / max(0.9, 0.5 + 0.068 * longest)))
    figure.legend(
        [entries[label] for label in order], order, loc="outside upper center", ncols=min(len(order), columns)
    )


def save(figure: Figure, path: Path) -> None:
    """Write a figure without dates, so that the same figure gives the same bytes."""
    FigureCanvasAgg(figure)
    partial = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    dates = {".pdf": {"CreationDate": None}, ".svg": {"Date": None}}
    with _fonts_without_layout() if path.suffix == ".pdf" else nullcontext():
        figure.savefig(partial, metadata=dates.get(path.suffix))
    partial.replace(path)


@contextmanager
def _fonts_without_layout() -> Iterator[None]:
    """Embed fonts without the tables by which text is laid out: no viewer lays it out anew, and to cut them to the few
    glyphs of a figure took half of the time of its PDF file. Matplotlib has no setting for this; where fontTools keeps
    its list elsewhere, files are as large and as slow as they were."""
    from fontTools import subset  # takes long to import, as Matplotlib does only for PDF

    dropped = getattr(subset.Options, "_drop_tables_default", list[str]())
    kept = len(dropped)
    dropped.extend(LAYOUT_TABLES)
    try:
        yield
    finally:
        del dropped[kept:]


class PlainLogFormatter(LogFormatter):
    """Labels what Matplotlib would on a logarithmic axis, but as 0.001: no figure reads dollar signs as mathematics,
    for labels and values are the user's."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        return f"{x:g}" if super().__call__(x, pos) else ""


def turned(words: Sequence[str]) -> dict[str, Any]:
    """Give what turns labels of ticks that would touch if they lay, long ones more; each then ends at its tick."""
    if sum(len(word) + 2 for word in words) <= LETTERS_ABREAST:
        return {}
    return TURNED | {"rotation": 45 if max(map(len, words)) > 12 else 20}


def scale_logarithmically(ax: Axes, scale: Literal["log", "symlog"] = "log", **options: Any) -> None:
    """Make the x axis of a panel logarithmic."""
    ax.set_xscale(scale, **options)
    ax.xaxis.set_major_formatter(PlainLogFormatter())
    if scale == "log":
        ax.xaxis.set_minor_formatter(PlainLogFormatter())


def tick_text(value: Any) -> str:
    """Write a value as a tick label."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)
