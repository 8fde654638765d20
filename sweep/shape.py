"""The shape of a sweep, read off its rows: what was varied, in grids, points or a search, beside which references."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from sweep.results import METRICS, columns_of
from sweep.statistics import is_numeric, summarise

METRIC_NAMES = {"accuracy": "accuracy", "map": "MAP", "macro_f1": "macro-F1"}


@dataclass(frozen=True)
class Axis:
    """A varied name as the axis of a figure. scale: linear, log, symlog (log-like with a zero) or category."""

    column: str
    name: str
    label: str
    meaning: str
    scale: str
    values: tuple[Any, ...]


@dataclass(frozen=True)
class Grid:
    """Configurations of one label whose varied names form a full grid over one dataset or several."""

    label: str
    method: str
    rows: pd.DataFrame

    @cached_property
    def axes(self) -> tuple[Axis, ...]:
        """The names with more than one value."""
        return tuple(axis(self.rows, c) for c in _varied(self.rows) if self.rows[c].nunique() > 1)

    def through(self, free: Iterable[str]) -> pd.DataFrame:
        """The rows that share every varied value with the chosen configuration of their dataset, ``free`` columns
        excepted: what a figure of some axes shows of a grid of more."""
        held = [a.column for a in self.axes if a.column not in free]
        parts = []
        for _, rows in self.rows.groupby("dataset", sort=False):
            best = chosen(rows)
            if held and best is not None:
                rows = rows[(rows[held] == best[held]).all(axis=1)]
            parts.append(rows)
        return pd.concat(parts)


class Shape:
    """The parts of one sweep's runs. Raises nothing: parts that a sweep does not have are empty."""

    def __init__(self, runs: pd.DataFrame) -> None:
        self.runs = runs
        self.swept = runs[runs["role"].eq("sweep")]
        self.references = runs[runs["role"].eq("reference")]
        self.reports = runs[runs["role"].eq("report")]
        self.searched = self.swept[self.swept["number"].notna()]
        self.planned = self.swept[self.swept["number"].isna()]

    @cached_property
    def grids(self) -> list[Grid]:
        """Full grids to draw as curves; of explicit points that differ in their names, those of numbers alone."""
        grids = [grid for grid, full in self._families if full and grid.axes]
        return [g for g in grids if self._alone(g.label) or all(a.scale != "category" for a in g.axes)]

    @cached_property
    def points(self) -> pd.DataFrame:
        """Rows to compare side by side: methods of a comparison, explicit points that form no grid."""
        beside = {g.label for g, full in self._families if not (self._alone(g.label) and full and g.axes)}
        return self.planned[self.planned["label"].isin(beside)]

    def _alone(self, label: str) -> bool:
        return sum(grid.label == label for grid, _ in self._families) == 1

    @cached_property
    def _families(self) -> list[tuple[Grid, bool]]:
        """Rows of one label that vary the same names, and whether they form a full grid."""
        found = []
        for (label, method), rows in self.planned.groupby(["label", "method"], sort=False):
            names = columns_of(rows, "vary.")
            varies = [rows[name].notna() for name in names]
            for part in [part for _, part in rows.groupby(varies, sort=False)] if varies else [rows]:
                columns = _varied(part)
                full = math.prod(part[c].nunique() for c in columns) == len(part[columns].drop_duplicates())
                found.append((Grid(str(label), str(method), part), bool(columns) and full))
        return found

    @cached_property
    def baseline(self) -> pd.DataFrame:
        """Runs of plain joint training, those that stand as references if any, with its runs under report seeds. One
        configuration a dataset: of a searched baseline the chosen one."""
        for rows in (self.references, self.planned):
            plain = rows[rows["method"].eq("joint")]
            if "hp.unimodal_loss_weight" in plain:
                plain = plain[plain["hp.unimodal_loss_weight"].fillna(0).eq(0)]
            if len(plain):
                plain = plain[plain["label"].eq(plain["label"].iloc[0])]
                kept = [one_configuration(part) for _, part in plain.groupby("dataset", sort=False)]
                fresh = self.reports[self.reports["label"].eq(plain["label"].iloc[0])]
                alike = fresh["configuration"].isin(pd.concat(kept)["configuration"])
                return pd.concat([*kept, fresh[alike]])
        return self.runs.iloc[:0]

    def reference_rows(self, dataset: str) -> dict[str, pd.DataFrame]:
        """Label -> runs of each reference on a dataset, in order of appearance; of a searched one the chosen
        configuration's."""
        rows = self.references[self.references["dataset"].eq(dataset)]
        return {str(label): one_configuration(part) for label, part in rows.groupby("label", sort=False)}


def one_configuration(rows: pd.DataFrame) -> pd.DataFrame:
    """Of the runs of one label on one dataset those of one configuration: what a search chose, else the first."""
    best = chosen(rows) if rows["number"].notna().any() else None
    return rows[rows["configuration"].eq((rows.iloc[0] if best is None else best)["configuration"])]


def cells(rows: pd.DataFrame, axes: tuple[Axis, Axis], metric: str) -> tuple[np.ndarray, np.ndarray]:
    """Mean of ``metric`` and number of finished seeds for each value of the second axis (rows) and of the first."""
    across, up = axes
    table = summarise(rows, [across.column, up.column], metric)
    means, counts = np.full((2, len(up.values), len(across.values)), np.nan)
    places = [up.values.index(v) for v in table[up.column]], [across.values.index(v) for v in table[across.column]]
    means[places], counts[places] = table["mean"], table["n"]
    return means, np.nan_to_num(counts).astype(int)


def chosen(rows: pd.DataFrame) -> pd.Series | None:
    """A run of the configuration with the best mean validation metric, among those with most finished seeds; None
    where none has finished."""
    metric = selection(rows)
    table = summarise(rows, ["configuration"], metric)
    table = table[table["n"].eq(table["n"].max()) & table["n"].gt(0)]
    if table.empty:
        return None
    best = table["configuration"].iloc[int(table["mean"].argmax())]
    return rows[rows["configuration"].eq(best)].iloc[0]


def selection(rows: pd.DataFrame) -> str:
    """The validation metric by which epochs and configurations are selected."""
    metrics = rows["metric"].dropna() if "metric" in rows else pd.Series(dtype=str)
    return f"validation_{metrics.iloc[0] if len(metrics) else METRICS[0]}"


def shown_metric(rows: pd.DataFrame, metric: str) -> str | None:
    """The test column of ``metric`` where any run has one, else the validation column; None where neither exists."""
    for split in ("test", "validation"):
        column = f"{split}_{metric}"
        if column in rows and rows.loc[rows["status"].eq("done"), column].notna().any():
            return column
    return None


def metric_label(column: str) -> str:
    """ "test_macro_f1" -> "test macro-F1 (%)"."""
    split, metric = next((column[: -len(m) - 1], m) for m in METRICS if column.endswith(m))
    return f"{split.replace('_', '-')} {METRIC_NAMES[metric]} (%)"


def modalities(rows: pd.DataFrame) -> list[str]:
    """Modalities that the rows have metrics of, in the dataset's order."""
    pattern = re.compile(r"(?:validation|test)_accuracy_(.+)")
    found = [
        m.group(1)
        for c in columns_of(rows, "validation_", "test_")
        if (m := pattern.fullmatch(c)) and rows[c].notna().any()
    ]
    return list(dict.fromkeys(found))


def name_of(row: Any) -> str:
    """What a table calls the configuration of a run: its label, and the point where it is one of several."""
    return f"{row['label']}: {row['point']}" if row["point"] else str(row["label"])


def axis(rows: pd.DataFrame, column: str) -> Axis:
    """The axis of a column vary.NAME: label and meaning as the method (or the recipe) declares them."""
    name = column.removeprefix("vary.")
    label, meaning = _declared(name, str(rows["method"].iloc[0]))
    return with_values(Axis(column, name, label, meaning, "category", ()), rows[column].dropna())


def with_values(axis: Axis, found: Iterable[Any]) -> Axis:
    """The axis of other values, with the scale that suits them."""
    values = list(dict.fromkeys(found))
    if not is_numeric(pd.Series(values, dtype=object)):
        return replace(axis, scale="category", values=tuple(values))
    values = sorted(float(v) for v in values)
    return replace(axis, scale=_scale(values), values=tuple(values))


def _declared(name: str, method: str) -> tuple[str, str]:
    """Label and meaning of a varied name; the bare name where nobody declares it (data.NAME)."""
    group, _, bare = name.rpartition(".")
    if group == "train":
        from sweep.recipe import Recipe

        field = Recipe.model_fields.get(bare)
        return (bare.replace("_", " "), (field.description or "") if field else "")
    import methods
    from methods.hyperparameters import declared

    if group in ("", method) and method in methods.names():
        found = declared(methods.get(method).Hyperparameters).get(bare)
        if found:
            words = bare.replace("_", " ")
            same = found.symbol in ("", bare)
            return (words if same else f"{found.symbol} ({words})", found.meaning)
    return bare.replace("_", " "), ""


def _scale(values: list[float]) -> str:
    """log where the positive values span more than a decade, more evenly in the logarithm than in themselves."""
    positive = np.array([v for v in values if v > 0])
    if len(positive) < 2 or min(values) < 0 or positive[-1] / positive[0] < 10.5:
        return "linear"
    linear, log = np.diff(positive), np.diff(np.log(positive))
    if len(linear) > 1 and log.std() / log.mean() >= linear.std() / linear.mean():
        return "linear"
    return "symlog" if min(values) == 0 else "log"


def _varied(rows: pd.DataFrame) -> list[str]:
    return [c for c in columns_of(rows, "vary.") if rows[c].notna().any()]
