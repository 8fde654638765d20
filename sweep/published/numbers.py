"""Tables and sensitivity figures of the papers, each number with its source, read from the files of this folder."""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from itertools import groupby
from typing import Any

import numpy as np
import yaml

import methods
from methods.base.hyperparameters import declared

PROTOCOL = (
    "Published numbers are those of the best test epoch, most of them of one run, on the papers' data with the papers' "
    "encoders; ours are of the epoch that validation chose, over several seeds. Shapes can be compared, levels cannot."
)
DATASETS = {
    "crema_d": "CREMA-D",
    "kinetics_sounds": "Kinetics-Sounds",
    "vggsound": "VGGSound",
    "twitter2015": "Twitter2015",
    "sarcasm": "Sarcasm",
    "nvgesture": "NVGesture",
    "iemocap": "IEMOCAP",
}
FUSED = "multi"
SECONDS = "seconds_per_epoch"
ENCODERS = "encoders"
"""Key of a variant that names the family of its encoders."""
FAMILIES = ("clip",)
"""Families of encoders of which tables have rows of their own: all names of a run's encoders begin with the word."""


@dataclass(frozen=True)
class Cell:
    """One printed number of a table. value: per cent for accuracy, map and macro_f1; modality: multi is the fused
    prediction."""

    source: str
    table: str
    method: str
    variant: str
    dataset: str
    modality: str
    metric: str
    value: float
    note: str

    @property
    def citation(self) -> str:
        """Name source and table."""
        return f"{sources()[self.source][0]}, {self.table}"


@dataclass(frozen=True)
class Curve:
    """A metric against one hyperparameter, as a figure or a table prints it.

    at: values of the hyperparameter, as the method here has them (epoch: from 1); series: what tells several curves of
    one figure apart. values: per cent for accuracy, map and macro_f1. reference: a line of the figure, or None."""

    source: str
    figure: str
    method: str
    series: str
    dataset: str
    modality: str
    hyperparameter: str
    metric: str
    at: tuple[Any, ...]
    values: tuple[float, ...]
    precision: str
    notes: tuple[str, ...]
    reference: float | None = None

    @property
    def citation(self) -> str:
        """Name source and figure."""
        return f"{sources()[self.source][0]}, {self.figure}"

    def fits(self, hyperparameters: Mapping[str, Any]) -> bool:
        """Tell whether a run of these hyperparameters could lie on the curve, the varied one aside."""
        name, _, value = self.series.partition("=")
        return name not in hyperparameters or _is_same(hyperparameters[name], _cell_value(value))


@cache
def sources() -> dict[str, tuple[str, str]]:
    """Map sources to their names in a figure and their citations."""
    return {row["source"]: (row["name"], row["citation"]) for row in _rows("sources.csv")}


@cache
def cells() -> tuple[Cell, ...]:
    """List every printed cell."""
    return tuple(Cell(**{**row, "value": float(row["value"])}) for row in _rows("tables.csv"))  # type: ignore[arg-type]


@cache
def curves() -> tuple[Curve, ...]:
    """List every printed curve."""
    keys = ("source", "figure", "method", "series", "dataset", "modality", "hyperparameter", "metric")
    rows = sorted(_rows("figures.csv"), key=lambda row: [row[key] for key in keys])
    lines = {_figure_of(row): float(row["value"]) for row in rows if not row["at"]}
    found = []
    for _, group in groupby((row for row in rows if row["at"]), key=lambda row: [row[key] for key in keys]):
        points = list(group)
        first = points[0]
        found.append(
            Curve(
                **{key: first[key] for key in keys},
                at=tuple(_cell_value(row["at"]) for row in points),
                values=tuple(float(row["value"]) for row in points),
                precision=first["precision"],
                notes=tuple(dict.fromkeys(row["note"] for row in points if row["note"])),
                reference=lines.get(_figure_of(first)),
            )
        )
    return tuple(found)


def _figure_of(row: Mapping[str, str]) -> tuple[str, ...]:
    """Identify a figure by the columns that a reference line shares with the curve that it belongs to."""
    return tuple(row[key] for key in ("source", "figure", "dataset", "modality", "hyperparameter", "metric"))


def curves_over(method: str, hyperparameter: str, metric: str, hyperparameters: Mapping[str, Any]) -> list[Curve]:
    """List the published curves of a method over one hyperparameter that runs with ``hyperparameters`` could lie on."""
    wanted = (method, hyperparameter, metric)
    fixed = {name: value for name, value in hyperparameters.items() if name != hyperparameter}
    found = [c for c in curves() if (c.method, c.hyperparameter, c.metric) == wanted]
    return [c for c in found if len(c.at) > 1 and c.fits(fixed)]


def cells_of(method: str, hyperparameters: Mapping[str, Any], encoders: Collection[str] = ()) -> list[Cell]:
    """List the printed cells of the variant of a method that ``hyperparameters`` make under encoders of these names:
    see variants.yaml."""
    if method not in methods.names():
        return []
    fitting = set(_variants_of(method, hyperparameters, _family(encoders)))
    return [cell for cell in cells() if cell.method == method and cell.variant in fitting and cell.dataset in DATASETS]


def cost_ratios(method: str, hyperparameters: Mapping[str, Any], encoders: Collection[str] = ()) -> list[Cell]:
    """List the printed seconds of an epoch of a variant, as multiples of those that the same table has of joint
    training."""
    plain = {
        (cell.source, cell.table, cell.dataset): cell.value
        for cell in cells()
        if (cell.method, cell.metric) == ("joint", SECONDS)
    }
    found = [cell for cell in cells_of(method, hyperparameters, encoders) if cell.metric == SECONDS]
    return [replace(cell, value=cell.value / plain[cell.source, cell.table, cell.dataset]) for cell in found]


def _family(encoders: Collection[str]) -> str | None:
    named = (family for family in FAMILIES if encoders and all(name.startswith(family) for name in encoders))
    return next(named, None)


def _variants_of(method: str, hyperparameters: Mapping[str, Any], family: str | None) -> Iterator[str]:
    known = declared(methods.get(method).Hyperparameters)
    plain = {name: found.default for name, found in known.items() if not _is_number(found.type)}
    for variant, own in _variants().get(method, {"": {}}).items():
        meant = {**plain, **{name: value for name, value in own.items() if name != ENCODERS}}
        named = all(name in hyperparameters and _is_same(hyperparameters[name], value) for name, value in meant.items())
        if named and own.get(ENCODERS) == family:
            yield variant


def _is_number(kind: str) -> bool:
    return kind.split(" | ")[0] in ("float", "int")


def _is_same(ours: Any, published: Any) -> bool:
    """Compare with a hyperparameter as a table of results holds it: absent as NaN, lists and objects as JSON."""
    if isinstance(ours, np.generic):
        ours = ours.item()
    if published is None:
        return ours is None or ours != ours
    if isinstance(published, (list, dict)):
        return bool((yaml.safe_load(ours) if isinstance(ours, str) else ours) == published)
    return isinstance(ours, bool) == isinstance(published, bool) and ours == published


@cache
def _variants() -> dict[str, dict[str, dict[str, Any]]]:
    found: dict[str, dict[str, dict[str, Any]]] = yaml.safe_load(_text("variants.yaml"))
    return found


def _cell_value(text: str) -> Any:
    if text in ("true", "false"):
        return text == "true"
    try:
        return float(text)
    except ValueError:
        return text


def _rows(name: str) -> Iterator[dict[str, str]]:
    return csv.DictReader(_text(name).splitlines())


def _text(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")
