"""The report of a sweep: one HTML page that opens offline."""

from __future__ import annotations

import base64
import os
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.resources import files
from itertools import combinations
from pathlib import Path

import pandas as pd
from jinja2 import Environment
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from sweep.analysis.balance import balance_sentences
from sweep.analysis.code_versions import mixed_code_sentences
from sweep.analysis.completeness import left_out_configurations, raced_out_seeds, read_request
from sweep.analysis.conclusions import conclusions
from sweep.analysis.fronts import pareto_fronts
from sweep.analysis.over_datasets import over_datasets
from sweep.analysis.parts import Parts, selection_metric, shown_metric
from sweep.analysis.replicates import split_sentences
from sweep.analysis.robustness import robustness, robustness_sentences
from sweep.analysis.search_results import IMPORTANCE_NOTE, search_results
from sweep.analysis.severities import at_each_severity
from sweep.analysis.standings import leader_sentences, standings
from sweep.analysis.statistics import FAILED
from sweep.report.blocks import Block, Section, plot_html
from sweep.report.figures.gallery import Gallery, Saved, save_figures
from sweep.report.over_datasets import dataset_blocks
from sweep.report.plots import MOST_LINES, curve_plot, heat_plot, learning_plot, search_plots
from sweep.report.probabilities import probability_blocks
from sweep.report.published import published_blocks
from sweep.report.robustness import robustness_blocks
from sweep.report.runs import budget_blocks, configuration_blocks, environment_blocks, failure_blocks
from sweep.report.search_effects import effect_blocks
from sweep.report.standings import standing_blocks
from sweep.report.subsets import subset_blocks
from sweep.report.tables import number_blocks, pareto_blocks
from sweep.report.variation import variation_blocks
from sweep.results.tables import METRICS, load_both
from sweep.runs.failure_texts import describe_causes

OWN_SECTIONS = ("pareto", "published", "trajectory", "subsets", "ranks", "severities")
"""Kinds of figures that sections of their own show."""
MANY = 5000
"""Runs above which interactive curves have the selection metric alone."""
MOST_PLOTS = 24
"""Interactive curves of a page; of more grids the first."""


def write_report(
    results: Path, name: str, to: Path | None = None, known: tuple[Parts, pd.DataFrame, pd.DataFrame] | None = None
) -> Path:
    """Write report/index.html with its figures, in results/NAME or in the folder ``to``, and return its path. known:
    the sweep's parts, epochs and standings, where the caller has them. Raises ResultsError where the sweep has no
    results."""
    folder = results / name
    target = (to or folder) / "report"
    parts, epochs, table = known or _read(folder)
    epochs = at_each_severity(epochs)
    runs, request, out = parts.runs, read_request(folder), raced_out_seeds(folder)
    frozen = folder / "sweep.yaml"
    text = frozen.read_text(encoding="utf-8", errors="replace") if frozen.is_file() else ""
    left_out = left_out_configurations(folder)
    compared = pareto_fronts(parts, request.objectives, request.seeds, out) if len(request.objectives) > 1 else []
    several, corrupted = over_datasets(parts, table), robustness(parts)
    gallery = save_figures(folder, parts, epochs, several, target / "figures")
    saved = gallery.saved
    sections = [
        Section("methods", "Which method", standing_blocks(table)),
        Section("severities", "Severities", robustness_blocks(corrupted) + _pictures(saved, target, "severities")),
        Section("datasets", "Over datasets", dataset_blocks(several) + _pictures(saved, target, "ranks")),
        Section("curves", "Curves", _curves(parts)),
        Section("pareto", "Several objectives", pareto_blocks(parts, compared) + _pictures(saved, target, "pareto")),
        Section("tables", "Numbers", number_blocks(parts, request.seeds, out, compared, left_out)),
        Section("variation", "Variation", variation_blocks(parts, results)),
        Section("modalities", "Absent modalities", subset_blocks(parts) + _pictures(saved, target, "subsets")),
        Section("probabilities", "Probabilities", probability_blocks(parts)),
        Section("published", "Published numbers", _pictures(saved, target, "published") + published_blocks(parts)),
        Section("learning", "Learning curves", _learning(runs, epochs)),
        Section("diagnostics", "Diagnostics", _pictures(saved, target, "trajectory")),
        Section("search", "Search", _search(folder, selection_metric(runs).removeprefix("validation_"))),
        Section("figures", "Figures", _figures(gallery, target)),
        Section("budgets", "Budgets", budget_blocks(runs, request, len(out))),
        Section("failures", "Failures and retries", failure_blocks(results, runs)),
        Section("configuration", "Configuration and data", configuration_blocks(results, runs, text)),
        Section("environment", "Environment and cost", environment_blocks(runs)),
    ]
    template = files("sweep.report").joinpath("report_page.html").read_text(encoding="utf-8")
    chosen_by = selection_metric(runs).replace("_", " ")
    page = Environment(autoescape=True).from_string(template)
    rendered = page.render(
        title=request.title or name,
        name=name,
        reproduces=request.reproduces,
        written=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        counts=_counts(runs, len(out), len(left_out)),
        mixed=mixed_code_sentences(runs),
        conclusions=[
            *robustness_sentences(corrupted),
            *leader_sentences(table),
            *balance_sentences(parts),
            *conclusions(parts, compared),
        ],
        protocol=f"Epochs and configurations are selected by {chosen_by}; test numbers are the selected epoch's. "
        + " ".join(split_sentences(runs)),
        sections=[section for section in sections if section.blocks],
        plotly_js=Markup(get_plotlyjs()),
    )
    partial = target / f".index.{os.getpid()}.html"
    partial.write_text(rendered, encoding="utf-8")
    return partial.replace(target / "index.html")


def _read(folder: Path) -> tuple[Parts, pd.DataFrame, pd.DataFrame]:
    runs, epochs = load_both(folder)
    parts = Parts(runs)
    return parts, epochs, standings(parts)


# Sections ------------------------------------------------------------------------------------------------------


def _counts(runs: pd.DataFrame, raced: int, left_out: int) -> list[tuple[str, bool]]:
    """Count runs by status for the top of the page; true marks bad news."""
    ran = runs.drop_duplicates("hash")
    counts = Counter(ran["status"])
    said = []
    for status in ("done", "failed", "diverged", "pruned", "running", "missing"):
        if counts[status] or status in ("done", *FAILED, "missing"):
            bad = status in ("failed", "diverged") and counts[status] > 0
            kinds = Counter(ran.loc[ran["status"].eq("failed"), "cause"].fillna("error")) if status == "failed" else {}
            said.append((f"{counts[status]} {status}" + (f" ({describe_causes(kinds)})" if kinds else ""), bad))
    if raced:
        said.append((f"{raced} {'configuration' if raced == 1 else 'configurations'} out of the race", False))
    if left_out:
        said.append((f"{left_out} {'configuration' if left_out == 1 else 'configurations'} N/A", False))
    again = int(ran["attempts"].fillna(1).gt(1).sum()) if "attempts" in ran else 0
    return [*said, (f"{again} started more than once", False)] if again else said


def _curves(parts: Parts) -> list[Block]:
    blocks, metric = list[Block](), selection_metric(parts.runs).removeprefix("validation_")
    metrics = (metric,) if len(parts.runs) > MANY else METRICS
    for grid in parts.grids:
        for dataset in grid.rows["dataset"].unique():
            for first, second in combinations(grid.axes, 2):
                column = shown_metric(grid.rows, selection_metric(grid.rows).removeprefix("validation_"))
                if column:
                    heading = f"{grid.label} on {dataset}: {first.label} and {second.label}"
                    blocks.append(Block(heading, plot=plot_html(heat_plot(grid, (first, second), column, dataset))))
            for axis in grid.axes:
                text = (
                    f"{axis.label}: {axis.meaning}. " if axis.meaning else ""
                ) + "Click a modality in the legend to show it. Hollow: fewer seeds than the others."
                if len(grid.axes) > 1:
                    text += " The other varied hyperparameters are at the chosen configuration."
                heading = f"{grid.label} on {dataset}: {axis.label}"
                blocks.append(Block(heading, text, plot=plot_html(curve_plot(parts, grid, axis, dataset, metrics))))
                if len(blocks) >= MOST_PLOTS:
                    return [
                        *blocks,
                        Block(text=f"The first {MOST_PLOTS} curves are drawn; the tables have the others."),
                    ]
    return blocks


def _learning(runs: pd.DataFrame, epochs: pd.DataFrame) -> list[Block]:
    blocks = []
    for dataset, rows in runs.groupby("dataset", sort=False):
        figure = learning_plot(rows, epochs[epochs["dataset"].eq(dataset)])
        if figure is not None:
            text = (
                "Mean over the finished seeds that reached the epoch; the menu shows other metrics, loss, diagnostics."
            )
            if rows["configuration"].nunique() > MOST_LINES:
                text += f" The {MOST_LINES} best configurations on validation data are drawn."
            blocks.append(Block(str(dataset), text, plot=plot_html(figure)))
    return blocks


def _search(folder: Path, metric: str) -> list[Block]:
    blocks = []
    for search in search_results(folder, metric):
        for heading, plot in search_plots(search):
            objective = f" ({search.title})" if search.is_one_of_several else ""
            title = f"{search.label} on {search.dataset}: {heading.lower()}{objective}"
            words = IMPORTANCE_NOTE if heading == "Importances" else ""
            blocks.append(Block(title, plot) if isinstance(plot, str) else Block(title, words, plot=plot_html(plot)))
        blocks += effect_blocks(search)
    return blocks


def _pictures(saved: Sequence[Saved], target: Path, kind: str) -> list[Block]:
    """Show the figures of one kind. target: the folder of the page."""
    return [_picture(figure, target, True) for figure in saved if figure.kind == kind and figure.shown]


def _figures(gallery: Gallery, target: Path) -> list[Block]:
    """Show every figure that no other section shows; of those of other metrics link to the files."""
    rest = [f for f in gallery.saved if f.kind not in OWN_SECTIONS or not f.shown]
    blocks = [_picture(figure, target, figure.shown) for figure in rest]
    if gallery.left:
        said = "Further figures, of other metrics and methods, are not drawn of a sweep of this size."
        blocks.append(Block(text=f"{said} The interactive plots and the tables have their numbers."))
    tables = tuple(
        (f, f"../{f}") for f in ("runs.parquet", "runs.csv", "epochs.parquet") if (target.parent / f).exists()
    )
    return [*blocks, Block("Tables", links=tables)] if tables else blocks


def _picture(figure: Saved, target: Path, shown: bool) -> Block:
    links = tuple((form.upper(), f"figures/{figure.stem}.{form}") for form in ("pdf", "svg", "png"))
    image = (target / "figures" / f"{figure.stem}.png").read_bytes() if shown else b""
    source = f"data:image/png;base64,{base64.b64encode(image).decode()}" if shown else ""
    return Block(image=source, caption=figure.caption, links=links)
