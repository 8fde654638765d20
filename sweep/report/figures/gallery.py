"""Every figure of a sweep, in the order of importance, and on disk as PDF, SVG and PNG."""

from __future__ import annotations

import itertools
import re
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from sweep.analysis.completeness import raced_out_seeds, read_request
from sweep.analysis.fronts import pareto_fronts
from sweep.analysis.over_datasets import OverDatasets
from sweep.analysis.parts import Axis, Grid, Parts, selection_metric, shown_metric
from sweep.analysis.subsets import subset_columns
from sweep.report.figures.balance import draw_balance
from sweep.report.figures.budgets import draw_budgets
from sweep.report.figures.comparisons import draw_comparison, draw_differences
from sweep.report.figures.costs import draw_costs
from sweep.report.figures.curves import draw_curve, inert_below, scale_axis
from sweep.report.figures.drawn import DrawnFigures
from sweep.report.figures.heat_maps import draw_heat_map
from sweep.report.figures.pareto import draw_fronts
from sweep.report.figures.published import draw_beside, published_curves_over
from sweep.report.figures.ranks import draw_ranks
from sweep.report.figures.robustness import draw_robustness
from sweep.report.figures.search import search_drawings
from sweep.report.figures.style import FORMATS, STYLE, TEXT_WIDTHS, Drawing, Kind, for_paper, save, slug
from sweep.report.figures.subsets import draw_subsets
from sweep.report.figures.trajectories import draw_trajectories
from sweep.results.tables import METRICS

MOST_FIGURES = 60
MOST_OF_LARGE = 4
LARGE = 500
"""Runs above which a sweep is large: the more runs it has, the fewer figures are drawn, those of the selection metric
first, as a figure costs as much as all else that a report does of a thousand runs."""


@dataclass(frozen=True)
class Saved:
    """A figure on disk: the folder's files STEM.pdf, STEM.svg and STEM.png.

    shown: a report shows it, as those of the selection metric, where it only links to others."""

    stem: str
    caption: str
    kind: Kind
    shown: bool


@dataclass(frozen=True)
class Gallery:
    """The figures of a sweep. left: how many, at least, were not drawn because there would be too many."""

    saved: list[Saved]
    left: int


def save_figures(
    sweep: Path, parts: Parts, epochs: pd.DataFrame, several: OverDatasets | None = None, to: Path | None = None
) -> Gallery:
    """Draw the figures of the sweep in the folder ``sweep`` into its report/figures/, or into the folder ``to``, with
    captions.txt beside them; those that lie there as they would be drawn are kept. parts, epochs: its runs and epochs,
    as ``sweep.results.load`` gives them; several: its methods over datasets."""
    folder = to or sweep / "report" / "figures"
    folder.mkdir(parents=True, exist_ok=True)
    most = most_figures(len(parts.runs))
    metric = slug(selection_metric(parts.runs).removeprefix("validation_"))
    saved, waiting = list[Saved](), deque([lambda: draw_ranks(several), *_painters(sweep, parts, epochs)])
    with rc_context(STYLE), _glyphs_told_once() as warned:
        drawn = DrawnFigures(folder)
        while waiting and len(saved) < most:
            for drawing in itertools.islice(waiting.popleft()(), most - len(saved)):
                stem = free_stem(drawing.stem, [other.stem for other in saved])
                if not drawn.holds(stem, digest := drawn.digest(drawing.figure)):
                    before = len(warned)
                    lay_out(drawing.figure)
                    for form in FORMATS:
                        save(drawing.figure, folder / f"{stem}.{form}")
                    # One that lacks a character is drawn each time, so that this is told each time.
                    drawn.note(stem, digest if len(warned) == before else None)
                saved.append(Saved(stem, drawing.caption, drawing.kind, _is_shown(drawing, metric)))
        drawn.write()
    (folder / "captions.txt").write_text("".join(f"{s.stem}: {s.caption}\n\n" for s in saved), encoding="utf-8")
    return Gallery(saved, len(waiting))


def most_figures(runs: int) -> int:
    """Say how many figures of a sweep of so many runs are drawn at most."""
    return min(MOST_FIGURES, max(MOST_OF_LARGE, MOST_FIGURES * LARGE // max(runs, 1)))


def save_for_paper(sweep: Path, parts: Parts, epochs: pd.DataFrame, folder: Path) -> None:
    """Draw the figures that a report shows as wide as one column of a paper and as two, with the font sizes of its
    text: PDF files in a folder each."""
    metric = slug(selection_metric(parts.runs).removeprefix("validation_"))
    for name, width in TEXT_WIDTHS.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        taken = list[str]()
        with for_paper(width), _glyphs_told_once():
            for drawing in itertools.islice(_shown(sweep, parts, epochs, metric), MOST_FIGURES):
                lay_out(drawing.figure)
                taken.append(free_stem(drawing.stem, taken))
                save(drawing.figure, folder / name / f"{taken[-1]}.pdf")


def _shown(sweep: Path, parts: Parts, epochs: pd.DataFrame, metric: str) -> Iterator[Drawing]:
    return (drawing for drawing in drawings(sweep, parts, epochs) if _is_shown(drawing, metric))


def _is_shown(drawing: Drawing, metric: str) -> bool:
    """Tell whether a report shows a figure, where it only links to those of other metrics."""
    return drawing.kind not in ("curve", "comparison", "published") or drawing.stem.endswith(metric)


@contextmanager
def _glyphs_told_once() -> Iterator[list[warnings.WarningMessage]]:
    """Warn once, and for people, of characters that no font here has, in place of at each drawing of each. Gives the
    warnings so far."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield caught
    lacking = dict.fromkeys(
        chr(int(found[1])) for each in caught if (found := re.match(r"Glyph (\d+) .*missing", str(each.message)))
    )
    if lacking:
        text = f"no font that Matplotlib finds has {' '.join(lacking)}: the figures show boxes there, the page does not"
        warnings.warn(text, stacklevel=4)
    for each in caught:
        if "missing from font" not in str(each.message):
            warnings.warn_explicit(each.message, each.category, each.filename, each.lineno)


def free_stem(stem: str, taken: Sequence[str]) -> str:
    """Number a stem that is taken: labels that differ in signs alone have the same."""
    stem = stem.strip("-")
    return next(name for n in itertools.count(1) if (name := stem if n == 1 else f"{stem}-{n}") not in taken)


def lay_out(figure: Figure) -> None:
    """Place the parts of a figure for good: once, not once a format."""
    FigureCanvasAgg(figure)
    if (engine := figure.get_layout_engine()) is not None:
        engine.execute(figure)
        engine.execute(figure)  # tick labels settle in the second pass
        figure.set_layout_engine(None)  # with an engine, if only a placeholder, each format draws twice


def drawings(sweep: Path, parts: Parts, epochs: pd.DataFrame) -> Iterator[Drawing]:
    """Draw every figure of a sweep, those of the selection metric first.

    Curves and heat maps of the grids, comparisons of points, methods and report seeds, published curves, Pareto fronts,
    diagnostics, searches."""
    for draw in _painters(sweep, parts, epochs):
        yield from draw()


def _painters(sweep: Path, parts: Parts, epochs: pd.DataFrame) -> Iterator[Callable[[], Iterable[Drawing]]]:
    """Give a function for each group of figures that draws it, the most important first."""
    request, first = read_request(sweep), selection_metric(parts.runs).removeprefix("validation_")
    if len(request.objectives) > 1:
        yield lambda: draw_fronts(
            parts, pareto_fronts(parts, request.objectives, request.seeds, raced_out_seeds(sweep))
        )
    yield lambda: draw_robustness(parts)
    for metric in (first, *(m for m in METRICS if m != first)):
        yield from _painters_of_metric(parts, epochs, metric)
        if metric == first:
            yield lambda: draw_trajectories(parts, epochs)
            yield lambda: search_drawings(sweep, first)
            if len(parts.searched):
                yield lambda: draw_budgets(parts)
            if subset_columns(parts.runs):
                yield lambda: draw_subsets(parts)


def _painters_of_metric(parts: Parts, epochs: pd.DataFrame, metric: str) -> Iterator[Callable[[], Iterable[Drawing]]]:
    for grid in parts.grids:
        prefix = f"{slug(grid.label)}-" if len({g.label for g in parts.grids}) > 1 else ""
        column = shown_metric(grid.rows, metric)
        if column is None:
            continue
        for axis in grid.axes:
            stem = f"{prefix}{slug(axis.name)}"
            yield partial(_curve, parts, grid, axis, column, f"{stem}-{slug(metric)}", epochs)
            if published_curves_over(parts, grid, axis, column):
                name = f"{stem}-published-{slug(metric)}"
                yield partial(lambda *found: [draw_beside(*found)], parts, grid, axis, column, name, scale_axis)
        for first, second in itertools.combinations(grid.axes, 2):
            stem = f"{prefix}{slug(first.name)}-{slug(second.name)}-{slug(metric)}"
            yield partial(lambda *found: [draw_heat_map(*found)], parts, grid, (first, second), column, stem)
    for rows, stem in ((parts.points, "compare"), (parts.chosen, "report-seeds")):
        column = shown_metric(rows, metric) if len(rows) else None
        if column is None:
            continue
        yield partial(lambda *found: [draw_comparison(*found)], parts, rows, column, f"{stem}-{slug(metric)}")
        yield partial(draw_balance, parts, rows, metric, f"{stem}-balance-{slug(metric)}")
        if metric == selection_metric(parts.runs).removeprefix("validation_"):
            yield partial(draw_costs, parts, rows, metric, f"{stem}-cost-{slug(metric)}")
        if len(parts.baseline):
            yield partial(draw_differences, parts, rows, column, f"{stem}-differences-{slug(metric)}")


def _curve(parts: Parts, grid: Grid, axis: Axis, column: str, stem: str, epochs: pd.DataFrame) -> list[Drawing]:
    return [draw_curve(parts, grid, axis, column, stem, inert_below(grid, axis, epochs))]
