"""``python -m sweep report``: the report of what has been trained so far, and its small table for the terminal."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.table import Table

from sweep.analysis.completeness import COMPLETE, frozen_sweep, left_out_configurations, plan_outline
from sweep.analysis.conclusions import name_with_role
from sweep.analysis.parts import Parts, left_out_name, modalities, selection_metric
from sweep.analysis.standings import leader_sentences, standings
from sweep.commands.answer_origins import depends_on_files_elsewhere, noticing_warnings
from sweep.commands.console import Terminal, terminal
from sweep.commands.exit_codes import DONE
from sweep.commands.kept_reports import TABLES, ReportKeeper
from sweep.commands.terminal import pull_sweep
from sweep.config import ConfigError
from sweep.engine.first_imports import without_collection
from sweep.plan.not_applicable import NotApplicable
from sweep.report import configurations, write_report
from sweep.report.paper import write_paper
from sweep.report.standings import HEADINGS, shown_columns, standing_rows
from sweep.report.tables import NOT_APPLICABLE
from sweep.results.tables import load_both, write_tables
from sweep.runs.open_store import open_store
from sweep.runs.store import Store
from sweep.storage.files import StoreError

ELSEWHERE = "write it to a folder of yours (python -m sweep report NAME --to FOLDER)"

IN_TERMINAL = 10
"""Searched configurations of a label and dataset in the table for the terminal."""


def run_command(options: argparse.Namespace) -> int:
    """Write the report of each sweep that is named. Raises ConfigError where one has not run, StoreError."""
    store = open_store(options.results)
    for name in options.names:
        keeper = ReportKeeper.of(options.results, name, options.to)
        pull_sweep(store, name)
        publish_kept_report(store, name, terminal(), keeper, tex=options.tex, to=options.to)
    return DONE


def publish_kept_report(
    store: Store, name: str, console: Terminal, keeper: ReportKeeper, tex: bool = False, to: Path | None = None
) -> None:
    """Write the report of a sweep as :func:`publish_report` does, and keep what was said, where it may be."""
    with noticing_warnings() as warned:
        publish_report(store, name, console, tex=tex, to=to)
    if not (tex or warned.any or _depends_on_files_elsewhere(store, name)):
        keeper.keep([*console.said, UNCHANGED], written_files((to or store.results) / name))


UNCHANGED: dict[str, Any] = {"text": "nothing has changed since it was written", "options": {}}
"""What is said when the same is asked again."""


def written_files(target: Path) -> list[str]:
    """List the files of a report: tables, page and figures."""
    files = [target / table for table in TABLES] + sorted((target / "report").rglob("*"))
    return [str(file) for file in files if file.is_file()]


def _depends_on_files_elsewhere(store: Store, name: str) -> bool:
    if plan_outline(store.results / name) is not None:
        return False  # else there were none
    try:
        return depends_on_files_elsewhere(frozen_sweep(store.results / name / "sweep.yaml"))
    except (ConfigError, OSError):
        return True


def publish_report(store: Store, name: str, console: Console, tex: bool = False, to: Path | None = None) -> None:
    """Write tables and report of a sweep, where it has any run, and print the small table. tex: write what a paper
    needs, too. to: a folder that they are written below, in place of the results. Raises StoreError."""
    store.pull(name)
    if not (store.results / name / "index.jsonl").exists():
        return
    target = (to or store.results) / name
    _check_writable(target)
    try:
        target.mkdir(parents=True, exist_ok=True)
        # On a terminal alone.
        with console.status(f"{name}: writing tables, page and figures", spinner="line"):
            with without_collection():  # what is read stays until the page is written
                runs, epochs = load_both(store.results / name)
            write_tables(store.results, name, target, (runs, epochs))
            parts = Parts(runs)
            standing = standings(parts)
            page = write_report(store.results, name, target, (parts, epochs, standing))
            paper = write_paper(store.results, name, target) if tex else None
    except OSError as error:
        said = f"cannot write the report to {error.filename or target}: {error.strerror or error}"
        raise StoreError(f"{said}; free space, change permissions, or {ELSEWHERE}") from error
    if to is None:
        store.publish(name)
    left_out = left_out_configurations(store.results / name)
    print_standings(standing, name, console)
    if left_out or len(standing) < 2 or standing["of"].gt(1).any():
        console.print(summary_table(parts, left_out))
    print_reasons(left_out, console)
    console.print(f"report: {page}", soft_wrap=True)
    if paper is not None:
        console.print(f"for a paper: {paper}", soft_wrap=True)


def _check_writable(target: Path) -> None:
    """Check that this user may write the report of a sweep into its folder, before it is computed. Raises
    StoreError."""
    for folder in (target, target / "report", target / "report" / "figures"):
        if folder.exists() and not os.access(folder, os.W_OK, effective_ids=os.access in os.supports_effective_ids):
            raise StoreError(f"cannot write the report: this user may not write to {folder}; {ELSEWHERE}")


def print_standings(table: pd.DataFrame, name: str, console: Console) -> None:
    """Print which method leads, and a line a method; nothing where there is one alone."""
    if len(table) < 2:
        return
    shown = shown_columns(table)
    lines = Table(title=f"{name}: the best of each method on validation", title_justify="left")
    for place in shown:
        lines.add_column(
            HEADINGS[place].replace("minus", "–"), justify="left" if place < 2 else "right", overflow="fold"
        )
    for row in standing_rows(table):
        lines.add_row(*(row[place] for place in shown))
    console.print(lines)
    for sentence in leader_sentences(table):
        console.print(sentence, highlight=False, soft_wrap=True, markup=False)


def print_reasons(left_out: Sequence[NotApplicable], console: Console) -> None:
    """Say why configurations are N/A, a line a reason."""
    names: dict[str, list[str]] = {}
    for each in left_out:
        names.setdefault(each.reason, []).append(f"{left_out_name(each)} on {each.dataset}")
    for reason, those in names.items():
        console.print(f"N/A: {', '.join(those)}: {reason}", soft_wrap=True)


def summary_table(parts: Parts, left_out: Sequence[NotApplicable] = ()) -> Table:
    """Tabulate each configuration for the terminal; of searched ones the best ten.

    Columns n, validation and test of the selection metric, and test of each modality: mean ± half of the 95 % t
    interval, per cent."""
    frame = parts.runs
    metric = selection_metric(frame).removeprefix("validation_")
    columns = [f"validation_{metric}", f"test_{metric}", *(f"test_{metric}_{m}" for m in modalities(frame))]
    table = Table(title=", ".join(frame["sweep"].unique()), title_justify="left")
    for heading in ("configuration", "dataset", "n", *(c.replace("_", " ") for c in columns)):
        table.add_column(
            heading, justify="left" if heading in ("configuration", "dataset") else "right", overflow="fold"
        )
    for row in configurations(parts, columns, IN_TERMINAL).to_dict("records"):
        lacking = row["failed"] + row["missing"]
        count = f"{row['n']}" + (f" (of {row['n'] + lacking})" if lacking else "")
        unranked = "" if lacking or row["state"] == COMPLETE else " (fewer)"
        table.add_row(name_with_role(row), row["dataset"], count + unranked, *(row[c] for c in columns))
    for each in left_out:
        table.add_row(left_out_name(each), each.dataset, *[NOT_APPLICABLE] * (len(table.columns) - 2))
    return table
