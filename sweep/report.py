"""The report of a sweep: one HTML page that opens offline, and a small table for the terminal."""

from __future__ import annotations

import base64
import os
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.resources import files
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import yaml

from sweep.findings import called, differences_to_joint, findings, points, rows_to_compare
from sweep.results import columns_of, load
from sweep.shape import Shape, chosen, modalities, name_of, selection, shown_metric
from sweep.statistics import FAILED, compare, estimate, half_width

if TYPE_CHECKING:
    from rich.table import Table as RichTable

BEST_ROWS = 20
"""Configurations of a search that the tables show."""
MOST_LISTED = 200
KEY = ("label", "point", "role", "dataset")


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


def report(results: Path, name: str) -> Path:
    """Write results/NAME/report/index.html with its figures and return its path. Raises ResultsError where the sweep
    has no results."""
    from jinja2 import Environment
    from markupsafe import Markup
    from plotly.offline import get_plotlyjs

    from sweep.figures import save_figures

    folder = results / name
    runs = load(folder)
    shape = Shape(runs)
    text = (folder / "sweep.yaml").read_text(encoding="utf-8") if (folder / "sweep.yaml").exists() else ""
    about = _about(text, name)
    sections = [
        Section("curves", "Curves", _curves(shape)),
        Section("tables", "Numbers", _tables(shape)),
        Section("learning", "Learning curves", _learning(runs, load(folder, "epoch"))),
        Section("search", "Search", _search(results, name, shape)),
        Section("figures", "Figures", _figures(save_figures(results, name), folder, runs)),
        Section("failures", "Runs without a result", _failures(runs)),
        Section("configuration", "Configuration and data", _configuration(results, runs, text)),
        Section("environment", "Environment and cost", _environment(runs)),
    ]
    template = files("sweep").joinpath("report_page.html").read_text(encoding="utf-8")
    page = Environment(autoescape=True).from_string(template)
    chosen_by = selection(runs).replace("_", " ")
    html = page.render(
        title=about.get("title") or name,
        name=name,
        reproduces=about.get("reproduces"),
        written=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        counts=_counts(runs),
        findings=findings(shape),
        protocol=f"Epochs and configurations are selected by {chosen_by}; test numbers are the selected epoch's.",
        sections=[section for section in sections if section.blocks],
        plotly_js=Markup(get_plotlyjs()),
    )
    target = folder / "report" / "index.html"
    partial = target.with_name(f".index.{os.getpid()}.html")
    partial.write_text(html, encoding="utf-8")
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
    for row in _configurations(Shape(frame), columns, 10).to_dict("records"):
        lacking = row["failed"] + row["missing"]
        count = f"{row['n']}" + (f" (of {row['n'] + lacking})" if lacking else "")
        table.add_row(called(row), row["dataset"], count, *(row[c] for c in columns))
    return table


# Sections ------------------------------------------------------------------------------------------------------


def _counts(runs: pd.DataFrame) -> list[tuple[int, str, bool]]:
    counts = Counter(runs.drop_duplicates("hash")["status"])
    bad = ("failed", "diverged")
    order = ("done", "failed", "diverged", "pruned", "running", "missing")
    return [(counts[s], s, s in bad and counts[s] > 0) for s in order if counts[s] or s in ("done", *FAILED, "missing")]


def _curves(shape: Shape) -> list[Block]:
    from sweep.report_plots import curve_plot, heat_plot

    blocks = []
    for grid in shape.grids:
        for dataset in dict.fromkeys(grid.rows["dataset"]):
            for first, second in combinations(grid.axes, 2):
                column = shown_metric(grid.rows, selection(grid.rows).removeprefix("validation_"))
                if column:
                    heading = f"{grid.label} on {dataset}: {first.label} and {second.label}"
                    blocks.append(Block(heading, plot=_html(heat_plot(grid, (first, second), column, dataset))))
            for axis in grid.axes:
                text = (
                    f"{axis.label}: {axis.meaning}. " if axis.meaning else ""
                ) + "Click a modality in the legend to show it."
                if len(grid.axes) > 1:
                    text += " The other varied hyperparameters are at the chosen configuration."
                heading = f"{grid.label} on {dataset}: {axis.label}"
                blocks.append(Block(heading, text, plot=_html(curve_plot(shape, grid, axis, dataset))))
    return blocks


def _tables(shape: Shape) -> list[Block]:
    runs, metric = shape.runs, selection(shape.runs).removeprefix("validation_")
    streams = modalities(runs)
    scores = [
        f"{split}_{metric}{suffix}" for split in ("validation", "test") for suffix in ("", *(f"_{m}" for m in streams))
    ]
    others = [f"test_{m}" for m in ("accuracy", "map", "macro_f1") if m != metric]
    wanted = [*scores, *others, "validation_imbalance", "test_imbalance", f"test_peak_{metric}"]
    columns = [c for c in wanted if c in runs and runs[c].notna().any()]
    if f"test_peak_{metric}" in columns and f"test_{metric}" in columns:
        shape = Shape(runs.assign(optimism=runs[f"test_peak_{metric}"] - runs[f"test_{metric}"]))
        columns.append("optimism")
    note = (
        "Per cent, mean ± half of the 95 % t interval over n finished seeds. Imbalance: largest minus smallest Shapley "
        "value of a modality."
    )
    if "optimism" in columns:
        note += (
            " test peak is the best test epoch, the protocol of published code, never used for selection; optimism is "
            "what it adds to the honest number."
        )
    table = _configurations(shape, columns, BEST_ROWS)
    if table["role"].eq("sweep").any() and shape.searched["configuration"].nunique() > BEST_ROWS:
        note += f" Of the searched configurations the best {BEST_ROWS} on validation are shown."
    headings = ["configuration", "dataset", "n", "failed", "missing", *(c.replace("_", " ") for c in columns)]
    rows = [
        [called(r), *(str(r[c]) for c in ("dataset", "n", "failed", "missing", *columns))]
        for r in table.to_dict("records")
    ]
    found = {(b["label"], b["point"], b["dataset"]) for b in _chosen_runs(shape)}
    best = {
        i
        for i, r in enumerate(table.to_dict("records"))
        if (r["label"], r["point"], r["dataset"]) in found and r["role"] == "sweep"
    }
    note += " Highlighted: chosen on validation data." if best else ""
    return [Block("Configurations", table=Table(headings, rows, best, note)), *_difference_blocks(shape, metric)]


def _configurations(shape: Shape, columns: list[str], most: int) -> pd.DataFrame:
    """One row a configuration, by dataset, references first; of searched ones the best ``most`` a label and dataset."""
    parts = [shape.references[~shape.references["hash"].isin(shape.planned["hash"])], shape.planned]
    for _, rows in shape.searched.groupby(["label", "dataset"], sort=False):
        done = rows[rows["status"].eq("done")]
        ranked = done.groupby("configuration")[selection(rows)].mean().sort_values(ascending=False).index[:most]
        place = {key: number for number, key in enumerate(ranked)}
        kept = rows[rows["configuration"].isin(place)]
        parts.append(kept.assign(_rank=kept["configuration"].map(place)).sort_values("_rank", kind="stable"))
    table = compare(pd.concat([*parts, shape.reports]), columns, KEY)
    place = {dataset: number for number, dataset in enumerate(dict.fromkeys(shape.runs["dataset"]))}
    return table.sort_values("dataset", key=lambda names: names.map(place), kind="stable", ignore_index=True)


def _chosen_runs(shape: Shape) -> list[pd.Series]:
    several = shape.swept.groupby(["label", "dataset"], sort=False)
    found = [chosen(rows) for _, rows in several if rows["configuration"].nunique() > 1]
    return [run for run in found if run is not None]


def _difference_blocks(shape: Shape, metric: str) -> list[Block]:
    rows = rows_to_compare(shape)
    column = shown_metric(rows, metric) if len(rows) else None
    if column is None or shape.baseline.empty:
        return []
    table = differences_to_joint(shape, rows, column)
    lines = [
        [
            called(r), r["dataset"], str(r["n"]), points(r["mean"]),
            "–" if r["n"] < 2 else f"{points(r['low'])} to {points(r['high'])}", _p(r["p"]), _p(r["p_holm"]),
        ]
        for r in table.to_dict("records")
    ]  # fmt: skip
    headings = ["configuration", "dataset", "common seeds", "difference", "95 % interval", "p", "p (Holm)"]
    note = (
        f"Points of {column.replace('_', ' ')} above joint training under the same seeds; p of paired t tests, "
        "Holm-corrected over the table."
    )
    return [Block("Differences to joint training", table=Table(headings, lines, note=note))]


def _p(value: float) -> str:
    return "–" if pd.isna(value) else "< 0.001" if value < 0.001 else f"{value:.3f}"


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
            blocks.append(Block(str(dataset), text, plot=_html(figure)))
    return blocks


def _search(results: Path, name: str, shape: Shape) -> list[Block]:
    from sweep.report_plots import search_plots
    from sweep.search_figures import IMPORTANCE_NOTE, searches

    blocks = []
    for search in searches(results, name):
        for heading, plot in search_plots(search):
            title, words = (
                f"{search.label} on {search.dataset}: {heading.lower()}",
                IMPORTANCE_NOTE if heading == "Importances" else "",
            )
            blocks.append(Block(title, plot) if isinstance(plot, str) else Block(title, words, plot=_html(plot)))
    return blocks


def _figures(saved: list[Any], folder: Path, runs: pd.DataFrame) -> list[Block]:
    """Links to every figure; those of the selection metric and of searches are shown."""
    metric, blocks = selection(runs).removeprefix("validation_").replace("_", "-"), []
    for figure in saved:
        links = tuple((form.upper(), f"figures/{figure.stem}.{form}") for form in ("pdf", "svg", "png"))
        shown = figure.stem.endswith(metric) or figure.stem.startswith("search")
        image = (folder / "report" / "figures" / f"{figure.stem}.png").read_bytes() if shown else b""
        source = f"data:image/png;base64,{base64.b64encode(image).decode()}" if shown else ""
        blocks.append(Block(image=source, caption=figure.caption, links=links))
    tables = tuple((f, f"../{f}") for f in ("runs.parquet", "runs.csv", "epochs.parquet") if (folder / f).exists())
    return [*blocks, Block("Tables", links=tables)] if tables else blocks


def _failures(runs: pd.DataFrame) -> list[Block]:
    lost = runs[~runs["status"].eq("done")].drop_duplicates("hash")
    if lost.empty:
        return []
    counts = Counter(zip(lost["status"], lost["reason"].fillna("–"), strict=True))
    summary = Table(["status", "reason", "runs"], [[s, r, str(n)] for (s, r), n in counts.items()])
    rows = [
        [
            name_of(r),
            r["dataset"],
            str(r["seed"]),
            r["status"],
            r["reason"] if isinstance(r["reason"], str) else "–",
            r["hash"],
        ]
        for r in lost.head(MOST_LISTED).to_dict("records")
    ]
    note = (
        f"The first {MOST_LISTED} of {len(lost)}."
        if len(lost) > MOST_LISTED
        else "log.txt in the folder of a run holds the traceback."
    )
    columns = ["configuration", "dataset", "seed", "status", "reason", "run"]
    return [Block("By reason", table=summary), Block("Each run", table=Table(columns, rows, note=note))]


def _configuration(results: Path, runs: pd.DataFrame, text: str) -> list[Block]:
    blocks = [Block(summary="sweep.yaml, as it was run", code=text)] if text else []
    rows = []
    for dataset, part in runs.groupby("dataset", sort=False):
        fingerprints = ", ".join(map(str, part.get("fingerprint", pd.Series(dtype=str)).dropna().unique()))
        rows.append([str(dataset), fingerprints, _constant(part, "data."), _constant(part, "encoder.")])
    blocks.append(Block("Data", table=Table(["dataset", "fingerprint", "options", "encoders"], rows)))
    if notes := _notes(results, runs):
        lines = [[note, str(count)] for note, count in notes.most_common(MOST_LISTED)]
        blocks.append(Block("Notes from the logs of finished runs", table=Table(["note", "runs"], lines)))
    return blocks


def _notes(results: Path, runs: pd.DataFrame) -> Counter[str]:
    """Lines of the logs of finished runs, with the number of runs that wrote each."""
    notes: Counter[str] = Counter()
    for name in runs.loc[runs["status"].eq("done"), "hash"].unique():
        log = results / "runs" / name / "log.txt"
        notes.update(set(log.read_text(encoding="utf-8").splitlines()) - {""} if log.exists() else ())
    return notes


def _constant(rows: pd.DataFrame, prefix: str) -> str:
    """Columns of a group as text; of a varied one that it was varied."""
    found = {c.removeprefix(prefix): rows[c].dropna().unique() for c in columns_of(rows, prefix)}
    return ", ".join(f"{k}={v[0] if len(v) == 1 else 'varied'}" for k, v in found.items() if len(v))


def _environment(runs: pd.DataFrame) -> list[Block]:
    ran = runs.drop_duplicates("hash")
    ran = ran[ran["status"].isin(["done", *FAILED])]
    if ran.empty:
        return []
    rows = []
    for (label, dataset), part in ran.groupby(["label", "dataset"], sort=False):
        cost = [
            f"{part['seconds'].sum():.1f} s", _mean(part["seconds_per_epoch"], "{:.3f} s"),
            _mean(part["samples_per_second"], "{:,.0f}"), f"{part['peak_memory_mib'].max():,.0f} MiB",
            _mean(part["samples"], "{:,.0f}"), _mean(part["forward_passes"], "{:,.0f}"),
        ]  # fmt: skip
        rows.append([str(label), str(dataset), str(len(part)), *cost])
    headings = [
        "label",
        "dataset",
        "runs",
        "wall time",
        "an epoch",
        "samples/s",
        "peak memory",
        "samples a run",
        "forward passes a run",
    ]
    facts = []
    for column in [c for c in columns_of(ran, "env.") if c not in ("env.command", "env.started")]:
        counts = ran[column].dropna().astype(str).value_counts()
        words = [f"{value} ({n} runs)" if len(counts) > 1 else str(value) for value, n in counts.items() if value]
        if words:
            facts.append([column.removeprefix("env.packages.").removeprefix("env."), ", ".join(words)])
    costs = Table(headings, rows, note="Wall time is the sum over runs; the others are means, memory the largest.")
    return [Block("Cost", table=costs), Block("Environment", table=Table(["", ""], facts))]


def _mean(values: pd.Series, form: str) -> str:
    found = estimate(values)
    half = half_width(found.deviation, found.n)
    return (
        "–"
        if not found.n
        else form.format(found.mean) + ("" if pd.isna(half) else f" ± {form.format(float(half)).rstrip(' s')}")
    )


def _html(figure: Any) -> Any:
    from markupsafe import Markup

    return Markup(
        figure.to_html(full_html=False, include_plotlyjs=False, config={"displaylogo": False, "responsive": True})
    )


def _about(text: str, name: str) -> dict[str, Any]:
    """The frozen sweep: the document itself, or its entry among ``sweeps``."""
    document = yaml.safe_load(text) if text else {}
    return document.get("sweeps", {}).get(name, document)
