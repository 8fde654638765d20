"""The report of a sweep: one HTML page that opens offline, and a small table for the terminal."""

from __future__ import annotations

import base64
import os
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.resources import files
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from sweep.failures import causes
from sweep.findings import called, findings
from sweep.page import Block, Section, html
from sweep.report_runs import budget_blocks, configuration_blocks, environment_blocks, failure_blocks
from sweep.report_tables import configurations, number_blocks, pareto_blocks, published_blocks
from sweep.results import METRICS, load
from sweep.shape import Shape, modalities, selection, shown_metric
from sweep.standing import COMPLETE, asked, raced_out
from sweep.statistics import FAILED

if TYPE_CHECKING:
    from rich.table import Table as RichTable

    from sweep.gallery import Gallery, Saved

MOST_PLOTS = 24
"""Interactive curves of a page; of more grids the first."""
IN_TERMINAL = 10


def report(results: Path, name: str) -> Path:
    """Write results/NAME/report/index.html with its figures and return its path. Raises ResultsError where the sweep
    has no results."""
    from jinja2 import Environment
    from markupsafe import Markup
    from plotly.offline import get_plotlyjs

    from sweep.gallery import save_figures
    from sweep.pareto import fronts

    folder = results / name
    runs, epochs = load(folder), load(folder, "epoch")
    shape, wanted, out = Shape(runs), asked(folder), raced_out(folder)
    text = (folder / "sweep.yaml").read_text(encoding="utf-8") if (folder / "sweep.yaml").exists() else ""
    gallery = save_figures(folder, shape, epochs)
    saved = gallery.saved
    compared = fronts(shape, wanted.objectives, wanted.seeds, out) if len(wanted.objectives) > 1 else []
    sections = [
        Section("curves", "Curves", _curves(shape)),
        Section("pareto", "Several objectives", pareto_blocks(shape, compared) + _pictures(saved, folder, "pareto")),
        Section("tables", "Numbers", number_blocks(shape, wanted.seeds, out, compared)),
        Section("published", "Published numbers", _pictures(saved, folder, "published") + published_blocks(shape)),
        Section("learning", "Learning curves", _learning(runs, epochs)),
        Section("diagnostics", "Diagnostics", _pictures(saved, folder, "trajectory")),
        Section("search", "Search", _search(folder, selection(runs).removeprefix("validation_"))),
        Section("figures", "Figures", _figures(gallery, folder)),
        Section("budgets", "Budgets", budget_blocks(runs, wanted, len(out))),
        Section("failures", "Failures and retries", failure_blocks(results, runs)),
        Section("configuration", "Configuration and data", configuration_blocks(results, runs, text)),
        Section("environment", "Environment and cost", environment_blocks(runs)),
    ]
    template = files("sweep").joinpath("report_page.html").read_text(encoding="utf-8")
    chosen_by = selection(runs).replace("_", " ")
    page = Environment(autoescape=True).from_string(template)
    rendered = page.render(
        title=wanted.title or name,
        name=name,
        reproduces=wanted.reproduces,
        written=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        counts=_counts(runs, len(out)),
        findings=findings(shape, compared),
        protocol=f"Epochs and configurations are selected by {chosen_by}; test numbers are the selected epoch's.",
        sections=[section for section in sections if section.blocks],
        plotly_js=Markup(get_plotlyjs()),
    )
    target = folder / "report" / "index.html"
    partial = target.with_name(f".index.{os.getpid()}.html")
    partial.write_text(rendered, encoding="utf-8")
    return partial.replace(target)


def summary_table(frame: pd.DataFrame) -> RichTable:
    """Terminal table: each configuration with n, validation and test of the selection metric, test of each modality
    (mean ± half of the 95 % t interval, per cent); of searched configurations the best ten."""
    from rich.table import Table as RichTable

    metric = selection(frame).removeprefix("validation_")
    columns = [f"validation_{metric}", f"test_{metric}", *(f"test_{metric}_{m}" for m in modalities(frame))]
    table = RichTable(title=", ".join(dict.fromkeys(frame["sweep"])), title_justify="left")
    for heading in ("configuration", "dataset", "n", *(c.replace("_", " ") for c in columns)):
        table.add_column(
            heading, justify="left" if heading in ("configuration", "dataset") else "right", overflow="fold"
        )
    for row in configurations(Shape(frame), columns, IN_TERMINAL).to_dict("records"):
        lacking = row["failed"] + row["missing"]
        count = f"{row['n']}" + (f" (of {row['n'] + lacking})" if lacking else "")
        unranked = "" if lacking or row["standing"] == COMPLETE else " (fewer)"
        table.add_row(called(row), row["dataset"], count + unranked, *(row[c] for c in columns))
    return table


# Sections ------------------------------------------------------------------------------------------------------


def _counts(runs: pd.DataFrame, raced: int) -> list[tuple[str, bool]]:
    """What the top of the page says of the runs, and whether it is bad news."""
    ran = runs.drop_duplicates("hash")
    counts = Counter(ran["status"])
    said = []
    for status in ("done", "failed", "diverged", "pruned", "running", "missing"):
        if counts[status] or status in ("done", *FAILED, "missing"):
            bad = status in ("failed", "diverged") and counts[status] > 0
            kinds = Counter(ran.loc[ran["status"].eq("failed"), "cause"].fillna("error")) if status == "failed" else {}
            said.append((f"{counts[status]} {status}" + (f" ({causes(kinds)})" if kinds else ""), bad))
    if raced:
        said.append((f"{raced} {'configuration' if raced == 1 else 'configurations'} out of the race", False))
    again = int(ran["attempts"].fillna(1).gt(1).sum()) if "attempts" in ran else 0
    return [*said, (f"{again} started more than once", False)] if again else said


def _curves(shape: Shape) -> list[Block]:
    from sweep.gallery import LARGE
    from sweep.report_plots import curve_plot, heat_plot

    blocks, metric = list[Block](), selection(shape.runs).removeprefix("validation_")
    metrics = (metric,) if len(shape.runs) > LARGE else METRICS
    for grid in shape.grids:
        for dataset in dict.fromkeys(grid.rows["dataset"]):
            for first, second in combinations(grid.axes, 2):
                column = shown_metric(grid.rows, selection(grid.rows).removeprefix("validation_"))
                if column:
                    heading = f"{grid.label} on {dataset}: {first.label} and {second.label}"
                    blocks.append(Block(heading, plot=html(heat_plot(grid, (first, second), column, dataset))))
            for axis in grid.axes:
                text = (
                    f"{axis.label}: {axis.meaning}. " if axis.meaning else ""
                ) + "Click a modality in the legend to show it. Hollow: fewer seeds than the others."
                if len(grid.axes) > 1:
                    text += " The other varied hyperparameters are at the chosen configuration."
                heading = f"{grid.label} on {dataset}: {axis.label}"
                blocks.append(Block(heading, text, plot=html(curve_plot(shape, grid, axis, dataset, metrics))))
                if len(blocks) >= MOST_PLOTS:
                    return [
                        *blocks,
                        Block(text=f"The first {MOST_PLOTS} curves are drawn; the tables have the others."),
                    ]
    return blocks


def _learning(runs: pd.DataFrame, epochs: pd.DataFrame) -> list[Block]:
    from sweep.report_plots import MOST_LINES, learning_plot

    blocks = []
    for dataset, rows in runs.groupby("dataset", sort=False):
        figure = learning_plot(rows, epochs[epochs["dataset"].eq(dataset)])
        if figure is not None:
            text = (
                "Mean over the finished seeds that reached the epoch; the menu shows other metrics, loss, diagnostics."
            )
            if rows["configuration"].nunique() > MOST_LINES:
                text += f" The {MOST_LINES} best configurations on validation data are drawn."
            blocks.append(Block(str(dataset), text, plot=html(figure)))
    return blocks


def _search(folder: Path, metric: str) -> list[Block]:
    from sweep.report_plots import search_plots
    from sweep.search_figures import IMPORTANCE_NOTE, searches

    blocks = []
    for search in searches(folder, metric):
        for heading, plot in search_plots(search):
            objective = f" ({search.title})" if search.stem else ""
            title = f"{search.label} on {search.dataset}: {heading.lower()}{objective}"
            words = IMPORTANCE_NOTE if heading == "Importances" else ""
            blocks.append(Block(title, plot) if isinstance(plot, str) else Block(title, words, plot=html(plot)))
    return blocks


def _pictures(saved: Sequence[Saved], folder: Path, kind: str) -> list[Block]:
    """The figures of one kind, shown."""
    return [_picture(figure, folder, True) for figure in saved if figure.kind == kind and figure.shown]


def _figures(gallery: Gallery, folder: Path) -> list[Block]:
    """Every figure that no other section shows; of those of other metrics the links."""
    rest = [f for f in gallery.saved if f.kind not in ("pareto", "published", "trajectory") or not f.shown]
    blocks = [_picture(figure, folder, figure.shown) for figure in rest]
    if gallery.left:
        said = "Further figures, of other metrics and methods, are not drawn of a sweep of this size."
        blocks.append(Block(text=f"{said} The interactive plots and the tables have their numbers."))
    tables = tuple((f, f"../{f}") for f in ("runs.parquet", "runs.csv", "epochs.parquet") if (folder / f).exists())
    return [*blocks, Block("Tables", links=tables)] if tables else blocks


def _picture(figure: Saved, folder: Path, shown: bool) -> Block:
    links = tuple((form.upper(), f"figures/{figure.stem}.{form}") for form in ("pdf", "svg", "png"))
    image = (folder / "report" / "figures" / f"{figure.stem}.png").read_bytes() if shown else b""
    source = f"data:image/png;base64,{base64.b64encode(image).decode()}" if shown else ""
    return Block(image=source, caption=figure.caption, links=links)
