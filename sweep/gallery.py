"""Every figure of a sweep on disk, as PDF, SVG and PNG: which ones there are, and in what order."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from sweep.comparison_figures import draw_comparison, draw_differences
from sweep.drawing import FORMATS, STYLE, Drawing, Kind, save, slug
from sweep.figures import draw_curve, draw_heat_map, inert_below, scale_axis
from sweep.pareto import draw_fronts, fronts
from sweep.published_figures import draw_beside, published_over
from sweep.results import METRICS
from sweep.shape import Axis, Grid, Shape, selection, shown_metric
from sweep.standing import asked, raced_out
from sweep.trajectory_figures import draw_trajectories

MOST_FIGURES = 60
MOST_OF_LARGE = 4
LARGE = 5000
"""Runs from which on a sweep is large: only so many figures are drawn, those of the selection metric first."""


@dataclass(frozen=True)
class Saved:
    """A figure on disk: the folder's files STEM.pdf, STEM.svg and STEM.png. shown: whether a report shows it, as those
    of the selection metric, or only links to it."""

    stem: str
    caption: str
    kind: Kind
    shown: bool


@dataclass(frozen=True)
class Gallery:
    """The figures of a sweep. left: how many, at least, were not drawn because there would be too many."""

    saved: list[Saved]
    left: int


def save_figures(sweep: Path, shape: Shape, epochs: pd.DataFrame) -> Gallery:
    """Draw the figures of the sweep in the folder ``sweep`` into its report/figures/, with captions.txt beside them.
    shape, epochs: its runs and epochs, as ``sweep.results.load`` gives them."""
    folder = sweep / "report" / "figures"
    folder.mkdir(parents=True, exist_ok=True)
    most = MOST_OF_LARGE if len(shape.runs) > LARGE else MOST_FIGURES
    metric = slug(selection(shape.runs).removeprefix("validation_"))
    saved, waiting = list[Saved](), deque(_planned(sweep, shape, epochs))
    with rc_context(STYLE):
        while waiting and len(saved) < most:
            for drawing in itertools.islice(waiting.popleft()(), most - len(saved)):
                lay_out(drawing.figure)
                for form in FORMATS:
                    save(drawing.figure, folder / f"{drawing.stem}.{form}")
                shown = drawing.kind in ("pareto", "trajectory", "search") or drawing.stem.endswith(metric)
                saved.append(Saved(drawing.stem, drawing.caption, drawing.kind, shown))
    (folder / "captions.txt").write_text("".join(f"{s.stem}: {s.caption}\n\n" for s in saved), encoding="utf-8")
    return Gallery(saved, len(waiting))


def lay_out(figure: Figure) -> None:
    """Place the parts of a figure for good: once, not once a format."""
    FigureCanvasAgg(figure)
    if (engine := figure.get_layout_engine()) is not None:
        engine.execute(figure)
        engine.execute(figure)  # tick labels settle in the second pass
        figure.set_layout_engine(None)  # with an engine, if only a placeholder, each format draws twice


def drawings(sweep: Path, shape: Shape, epochs: pd.DataFrame) -> Iterator[Drawing]:
    """Every figure of a sweep: curves and heat maps of the grids, comparisons of points, methods and report seeds,
    published curves, Pareto fronts, diagnostics, searches; those of the selection metric first."""
    for draw in _planned(sweep, shape, epochs):
        yield from draw()


def _planned(sweep: Path, shape: Shape, epochs: pd.DataFrame) -> Iterator[Callable[[], Iterable[Drawing]]]:
    """What draws each figure, the most important first."""
    wanted, first = asked(sweep), selection(shape.runs).removeprefix("validation_")
    if len(wanted.objectives) > 1:
        yield lambda: draw_fronts(shape, fronts(shape, wanted.objectives, wanted.seeds, raced_out(sweep)))
    for metric in (first, *(m for m in METRICS if m != first)):
        yield from _of_metric(shape, epochs, metric)
        if metric == first:
            yield lambda: draw_trajectories(shape, epochs)
            yield lambda: _searched(sweep, first)


def _searched(sweep: Path, metric: str) -> Iterator[Drawing]:
    from sweep.search_figures import search_drawings

    return search_drawings(sweep, metric)


def _of_metric(shape: Shape, epochs: pd.DataFrame, metric: str) -> Iterator[Callable[[], Iterable[Drawing]]]:
    for grid in shape.grids:
        prefix = f"{slug(grid.label)}-" if len({g.label for g in shape.grids}) > 1 else ""
        column = shown_metric(grid.rows, metric)
        if column is None:
            continue
        for axis in grid.axes:
            stem = f"{prefix}{slug(axis.name)}"
            yield partial(_curve, shape, grid, axis, column, f"{stem}-{slug(metric)}", epochs)
            if published_over(grid, axis, column):
                name = f"{stem}-published-{slug(metric)}"
                yield partial(lambda *found: [draw_beside(*found)], grid, axis, column, name, scale_axis)
        for first, second in itertools.combinations(grid.axes, 2):
            stem = f"{prefix}{slug(first.name)}-{slug(second.name)}-{slug(metric)}"
            yield partial(lambda *found: [draw_heat_map(*found)], shape, grid, (first, second), column, stem)
    for rows, stem in ((shape.points, "compare"), (shape.reports, "report-seeds")):
        column = shown_metric(rows, metric) if len(rows) else None
        if column is None:
            continue
        yield partial(lambda *found: [draw_comparison(*found)], shape, rows, column, f"{stem}-{slug(metric)}")
        if len(shape.baseline):
            yield partial(draw_differences, shape, rows, column, f"{stem}-differences-{slug(metric)}")


def _curve(shape: Shape, grid: Grid, axis: Axis, column: str, stem: str, epochs: pd.DataFrame) -> list[Drawing]:
    return [draw_curve(shape, grid, axis, column, stem, inert_below(grid, axis, epochs))]
