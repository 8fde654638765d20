"""Published numbers beside ours, in tables: each with its source, and with what is peculiar about it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pandas as pd

from sweep.analysis.conclusions import name_with_role
from sweep.analysis.costs import cost_ratios as measured_ratios
from sweep.analysis.parts import METRIC_NAMES, Parts, by_split, rows_of_one_configuration, selection_metric
from sweep.analysis.statistics import estimate_quantity, estimate_runs, interval_text
from sweep.published import DATASETS, FUSED, PROTOCOL, Cell, cells_of, cost_ratios, sources
from sweep.report.blocks import Block, Table

READING = "The number in brackets is that of the place in the list below, where a source printed it."


def published_blocks(parts: Parts) -> list[Block]:
    """Show the authors' numbers of the same methods and variants.

    Those on the same dataset stand beside ours, those on others in a table of their own, so that orderings can be
    compared. Each number bears that of the place where it is printed; a list of these follows."""
    metric = selection_metric(parts.runs).removeprefix("validation_")
    beside, elsewhere, places = list[list[str]](), list[list[str]](), _Places()
    own = _representative_runs(parts)
    printed = {key: cells_of(str(r["method"]), _hyperparameters(r), _encoders(r)) for key, r in own.items()}
    datasets = [d for d in DATASETS if any(c.dataset == d and c.metric == metric for f in printed.values() for c in f)]
    for key, row in own.items():
        here = [c for c in printed[key] if c.dataset == row["dataset"]]
        streams = dict.fromkeys(c.modality for c in here)
        for stream, name in ((s, m) for s in streams for m in METRIC_NAMES):
            column = f"test_{name}" + ("" if stream == FUSED else f"_{stream}")
            if values := [c for c in here if (c.modality, c.metric) == (stream, name)]:
                ours = [_own_number(parts, row, c) for c in (column, column.replace("test_", "test_peak_", 1))]
                what = METRIC_NAMES[name] + ("" if stream == FUSED else f" of {stream}")
                texts = [places.numbers_text(values), places.notes_text(values)]
                beside.append([name_with_role(row), row["dataset"], what, *ours, *texts])
        others = [c for c in printed[key] if (c.metric, c.modality) == (metric, FUSED)]
        if others and not here:
            own_number = _own_number(parts, row, f"test_{metric}")
            cells = [places.numbers_text([c for c in others if c.dataset == d]) for d in datasets]
            notes = places.notes_text([c for d in datasets for c in others if c.dataset == d], named=True)
            elsewhere.append([name_with_role(row), f"{row['dataset']}: {own_number}", *cells, notes])
    blocks = []
    if beside:
        headings = ["configuration", "dataset", "metric", "ours", "ours, best test epoch", "published", "notes"]
        note = f"{READING} {PROTOCOL}"
        blocks.append(Block("Published, on the same dataset", table=Table(headings, beside, note=note)))
    if elsewhere:
        headings = ["configuration", "ours", *(DATASETS[d] for d in datasets), "notes"]
        what = f"Fused {METRIC_NAMES[metric]} in per cent; the sources disagree where there are two numbers."
        note = f"{what} {READING} {PROTOCOL}"
        blocks.append(Block("Published, on other datasets", table=Table(headings, elsewhere, note=note)))
    blocks += _cost_blocks(parts, own, places)
    return [*blocks, Block(text=places.text())] if blocks else []


def _cost_blocks(parts: Parts, own: dict[tuple[str, ...], dict[Any, Any]], places: _Places) -> list[Block]:
    """Show the seconds of an epoch over those of joint training beside the published ratios; nothing where none was
    published but joint training's own."""
    rows = []
    for row in own.values():
        printed = cost_ratios(str(row["method"]), _hyperparameters(row), _encoders(row))
        if not printed or row["method"] == "joint" or not len(parts.baseline):
            continue
        ratios = measured_ratios(_own_runs(parts, row), parts.baseline)
        found = estimate_quantity(ratios)
        ours = (
            "–" if not found.n else f"{found.mean:.2f} ({max(0.0, found.low):.2f} to {found.high:.2f}, n = {found.n})"
        )
        rows.append([name_with_role(row), row["dataset"], ours, places.numbers_text(printed)])
    if not rows:
        return []
    note = (
        "Seconds of an epoch over those of joint training, ours run by run under the same seed, beside whatever else "
        f"ran on the machine; the papers' on one GPU. {READING}"
    )
    table = Table(["configuration", "dataset", "ours", "published"], rows, note=note)
    return [Block("Cost beside joint training", table=table)]


class _Places:
    """The places that shown numbers are printed at, numbered from 1 in the order in which they are met."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._sources: dict[str, None] = {}

    def _mark(self, cells: Sequence[Cell]) -> str:
        for cell in cells:
            self._numbers.setdefault(cell.citation, len(self._numbers) + 1)
            self._sources.setdefault(cell.source)
        return f"[{', '.join(map(str, sorted({self._numbers[cell.citation] for cell in cells})))}]"

    def numbers_text(self, found: Sequence[Cell]) -> str:
        """List the distinct numbers as printed, each with its places: "63.17 [1, 2] / 64.02 [3]"."""
        values = sorted({cell.value for cell in found})
        marked = (f"{value:.2f} {self._mark([cell for cell in found if cell.value == value])}" for value in values)
        return " / ".join(marked) or "–"

    def notes_text(self, found: Sequence[Cell], named: bool = False) -> str:
        """List what is peculiar about numbers. named: each with its dataset."""
        several: dict[str, dict[str, list[Cell]]] = {}
        for cell in found:
            if cell.note:
                number = (f"{DATASETS[cell.dataset]} " if named else "") + f"{cell.value:.2f}"
                several.setdefault(cell.note, {}).setdefault(number, []).append(cell)
        texts = []
        for note, numbers in several.items():
            marked = (f"{number} {self._mark(cells)}" for number, cells in numbers.items())
            texts.append(f"{', '.join(marked)}: {note}")
        return "; ".join(texts) or "–"

    def text(self) -> str:
        """List the places, then the sources in full."""
        listed = "; ".join(f"[{number}] {citation}" for citation, number in self._numbers.items())
        names = sources()
        return f"{listed}. " + " ".join(f"{names[source][0]}: {names[source][1]}." for source in self._sources)


def _representative_runs(parts: Parts) -> dict[tuple[str, ...], dict[Any, Any]]:
    """Give a run of each configuration that represents its method.

    These are references, points, variants (grids over words), and the choice of a grid over numbers or of a search."""
    variants = [g.rows for g in parts.grids if all(axis.scale == "category" for axis in g.axes)]
    best = pd.DataFrame(parts.choices)
    references = (part for _, rows in parts.references.groupby("label", sort=False) for part in by_split(rows))
    rows = pd.concat([*map(rows_of_one_configuration, references), parts.points, *variants, best])
    found = rows.drop_duplicates(["role", "label", "dataset", "configuration"])
    searched = found["role"].eq("reference") & found["number"].notna()
    kept = parts.with_settings(found[~searched])
    return {(r["role"], r["label"], r["dataset"], r["configuration"]): r for r in kept.to_dict("records")}


def _hyperparameters(row: dict[Any, Any]) -> dict[str, Any]:
    return {str(k).removeprefix("hp."): v for k, v in row.items() if str(k).startswith("hp.")}


def _encoders(row: dict[Any, Any]) -> list[str]:
    """Name the encoders of a run."""
    told = (value for key, value in row.items() if str(key).startswith("encoder.") and isinstance(value, str))
    return [json.loads(text)["name"] if text.startswith("{") else text for text in told]


def _own_runs(parts: Parts, row: dict[Any, Any]) -> pd.DataFrame:
    """Select the finished runs of a configuration."""
    runs = parts.references if row["role"] == "reference" else parts.swept
    mine = runs["configuration"].eq(row["configuration"]) & runs["status"].eq("done")
    return runs[mine].drop_duplicates("hash")


def _own_number(parts: Parts, row: dict[Any, Any], column: str) -> str:
    found = estimate_runs(_own_runs(parts, row), column)
    return interval_text(found.mean, found.low, found.high)
