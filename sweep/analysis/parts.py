"""The parts of a sweep, read off its rows: grids, points and searches, and the references beside them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from sweep.analysis.severities import at_each_severity
from sweep.analysis.statistics import is_numeric, repeat_of, split_of, summarise
from sweep.plan.not_applicable import NotApplicable
from sweep.results.tables import METRICS, columns_of, point_text
from sweep.runs.severities import is_severity

CHOICE = "chosen on each split"

REBALANCE_NOTHING = ("joint", "unimodal", "ensemble")
"""Methods that are baselines."""

UNIMODAL_LOSS, ONE_MODALITY = "hp.unimodal_loss_weight", "hp.modality"
"""What references of one method are told apart by."""
SETTINGS = ("hp.", "train.", "encoder.", "env.")
"""Prefixes of the columns that say how a run was configured and where it was trained."""

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
        """List the names with more than one value."""
        return tuple(axis(self.rows, c) for c in _varied_columns(self.rows) if self.rows[c].nunique() > 1)

    def through(self, free: Iterable[str]) -> pd.DataFrame:
        """Select the rows that share every varied value with the chosen configuration of their dataset and split.

        ``free`` columns are excepted: a figure of some axes shows this cut through a grid of more."""
        held = [a.column for a in self.axes if a.column not in free]
        kept = []
        for rows in by_split(self.rows):
            best = chosen_run(rows) if held else None
            if held and best is not None:
                rows = rows[(rows[held] == best[held]).all(axis=1)]
            kept.append(rows)
        return pd.concat(kept)


class Parts:
    """The parts of one sweep's runs; those that a sweep does not have are empty. What corrupts the data is no axis:
    each severity counts as a dataset of its own.

    ``runs`` has every column. The parts have what is varied, measured and compared, but not the SETTINGS: these are
    most of the columns, and each selection of rows would copy them. ``with_settings`` gives them back."""

    def __init__(self, runs: pd.DataFrame) -> None:
        self.runs = runs = at_each_severity(runs)
        self._settings = [c for c in columns_of(runs, *SETTINGS) if c not in (UNIMODAL_LOSS, ONE_MODALITY)]
        runs = runs.drop(columns=self._settings)
        self._reference_rows: dict[Any, dict[str, pd.DataFrame]] = {}
        self.swept = runs[runs["role"].eq("sweep")]
        self.references = runs[runs["role"].eq("reference")]
        self.reports = runs[runs["role"].eq("report")]
        self.searched = self.swept[self.swept["number"].notna()]
        self.planned = self.swept[self.swept["number"].isna()]

    def with_settings(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Give rows of a part with the columns that parts lack."""
        alike = self.runs[self.runs["hash"].isin(rows["hash"])].drop_duplicates("hash")
        return rows.join(alike.set_index("hash")[self._settings], on="hash")

    @cached_property
    def grids(self) -> list[Grid]:
        """List full grids to draw as curves; of explicit points that differ in their names, those of numbers alone."""
        grids = [grid for grid, full in self._families if full and grid.axes]
        return [g for g in grids if self._is_only_family(g.label) or all(a.scale != "category" for a in g.axes)]

    @cached_property
    def points(self) -> pd.DataFrame:
        """Select rows to compare side by side: methods of a comparison, explicit points that form no grid."""
        beside = {g.label for g, full in self._families if not (self._is_only_family(g.label) and full and g.axes)}
        return self.planned[self.planned["label"].isin(beside)]

    def _is_only_family(self, label: str) -> bool:
        return sum(grid.label == label for grid, _ in self._families) == 1

    @cached_property
    def _families(self) -> list[tuple[Grid, bool]]:
        """Group rows of one label that vary the same names; true where they form a full grid."""
        found = []
        for (label, method), rows in self.planned.groupby(["label", "method"], sort=False):
            names = _varied_columns(rows)
            varies = [rows[name].notna() for name in names]
            for part in [part for _, part in rows.groupby(varies, sort=False)] if varies else [rows]:
                columns = _varied_columns(part)
                full = math.prod(part[c].nunique() for c in columns) == len(part[columns].drop_duplicates())
                found.append((Grid(str(label), str(method), part), bool(columns) and full))
        return found

    @cached_property
    def baseline(self) -> pd.DataFrame:
        """Select the runs of plain joint training, a reference or one of the methods, with its runs under report seeds.

        They are of one configuration a dataset: of a searched baseline the chosen one."""
        for rows in (self.references, self.planned, self.searched):
            plain = rows[rows["method"].eq("joint")]
            if UNIMODAL_LOSS in plain:
                plain = plain[plain[UNIMODAL_LOSS].fillna(0).eq(0)]
            if len(plain):
                plain = plain[plain["label"].eq(plain["label"].iloc[0])]
                kept = pd.concat([rows_of_one_configuration(part) for part in by_split(plain)])
                fresh = self.reports[self.reports["label"].eq(plain["label"].iloc[0])]
                return pd.concat([kept, fresh[_study_keys(fresh).isin(_study_keys(kept))]])
        return self.runs.iloc[:0]

    def reference_rows(self, dataset: str, beside: pd.DataFrame) -> dict[str, pd.DataFrame]:
        """Map labels to the runs of each reference on a dataset under the seeds of ``beside``, in order of appearance.

        Of a searched or varied reference they are those of the chosen configuration, under report seeds where
        ``beside`` is. One without a finished run under these seeds is left out: runs under other seeds are no level to
        look from."""
        known = _finished_repeats(beside)
        key = dataset, tuple(known)
        if key not in self._reference_rows:
            chosen = self._chosen_references(dataset)
            common = {label: _finished_among(rows, known) for label, rows in chosen.items()}
            self._reference_rows[key] = {label: rows for label, rows in common.items() if len(rows)}
        return self._reference_rows[key]

    def _chosen_references(self, dataset: str) -> dict[str, pd.DataFrame]:
        """Map labels to the runs of the chosen configuration of each reference, also those under report seeds."""
        rows, found = self.references[self.references["dataset"].eq(dataset)], dict[str, pd.DataFrame]()
        for label, part in rows.groupby("label", sort=False):
            own = pd.concat([rows_of_one_configuration(each) for each in by_split(part)])
            fresh = self.reports[self.reports["label"].eq(label)]
            fresh = fresh[_study_keys(fresh).isin(_study_keys(own))]
            found[str(label)] = pd.concat([own, fresh]).drop_duplicates("hash")
        return found

    def reference_curves(self, dataset: str, beside: pd.DataFrame, column: str) -> dict[str, pd.DataFrame]:
        """Map labels to the runs of each reference that varies ``column``, too, on a dataset under the seeds of
        ``beside``; what else it varies is at its chosen configuration."""
        rows, found = self.references[self.references["dataset"].eq(dataset)], dict[str, pd.DataFrame]()
        for label, part in rows.groupby("label", sort=False):
            if part["number"].notna().any() or column not in part or part[column].nunique() < 2:
                continue
            common = under_same_seeds(part, beside)
            if common[column].nunique() > 1:
                found[str(label)] = Grid(str(label), str(part["method"].iloc[0]), common).through([column])
        return found

    @cached_property
    def chosen(self) -> pd.DataFrame:
        """Select the runs under report seeds, each study's as :func:`as_one_choice` names them."""
        studies = self.reports.groupby(["label", "dataset"], sort=False)
        return pd.concat([self.reports.iloc[:0], *(as_one_choice(rows) for _, rows in studies)])

    @cached_property
    def choices(self) -> list[pd.Series]:
        """Give a run of the chosen configuration of each study that chooses."""
        studies = self.swept.groupby(["label", "dataset", split_of(self.swept)], sort=False)
        found = [chosen_run(rows) for _, rows in studies if rows["configuration"].nunique() > 1]
        return [run for run in found if run is not None]

    @cached_property
    def compared(self) -> pd.DataFrame:
        """Select what is compared with joint training: planned configurations and report seeds, but joint itself."""
        rows = pd.concat([self.planned, self.chosen])
        return rows[~rows["hash"].isin(self.baseline["hash"])]


def as_one_choice(rows: pd.DataFrame) -> pd.DataFrame:
    """Name what one label chose anew on each of several splits of a dataset as one configuration, the choice: it is
    compared as a whole. Rows of one configuration, or of several on a split, keep their names."""
    once = all(part["configuration"].nunique() == 1 for part in by_split(rows))
    if not once or rows["configuration"].nunique() < 2:
        return rows
    name = f"{rows['label'].iloc[0]}/{rows['dataset'].iloc[0]}/{CHOICE}"
    return rows.assign(point=CHOICE, configuration=name)


def under_same_seeds(rows: pd.DataFrame, beside: pd.DataFrame) -> pd.DataFrame:
    """Keep the finished runs whose split and seed a finished run of ``beside`` has, too."""
    return _finished_among(rows, _finished_repeats(beside))


def _finished_repeats(rows: pd.DataFrame) -> pd.MultiIndex:
    """Give each split and seed that a run has finished with."""
    return repeat_of(rows[rows["status"].eq("done")]).unique()


def _finished_among(rows: pd.DataFrame, repeats: pd.MultiIndex) -> pd.DataFrame:
    return rows[rows["status"].eq("done") & repeat_of(rows).isin(repeats)]


def by_split(rows: pd.DataFrame) -> list[pd.DataFrame]:
    """Give the rows of each dataset and split: within these alone anything is chosen."""
    return [part for _, part in rows.groupby([rows["dataset"], split_of(rows)], sort=False)]


def _study_keys(rows: pd.DataFrame) -> pd.MultiIndex:
    return pd.MultiIndex.from_arrays([rows["dataset"], split_of(rows), rows["configuration"]])


def rows_of_one_configuration(rows: pd.DataFrame) -> pd.DataFrame:
    """Keep one configuration of one label on one dataset and split: of several the one that validation chooses."""
    best = chosen_run(rows) if rows["configuration"].nunique() > 1 else None
    return rows[rows["configuration"].eq((rows.iloc[0] if best is None else best)["configuration"])]


def rows_of_each_choice(rows: pd.DataFrame) -> pd.DataFrame:
    """Keep of each label the configuration that validation chooses on each dataset and split, named as one choice."""
    studies = [part for _, part in rows.groupby(["label", "dataset"], sort=False)]
    chosen = [pd.concat([rows_of_one_configuration(each) for each in by_split(part)]) for part in studies]
    return pd.concat([rows.iloc[:0], *(as_one_choice(each) for each in chosen)])


def means_and_counts(rows: pd.DataFrame, axes: tuple[Axis, Axis], metric: str) -> tuple[np.ndarray, np.ndarray]:
    """Tabulate the mean of ``metric`` and the finished seeds, the second axis' values down, the first one's across."""
    across, up = axes
    table = summarise(rows, [across.column, up.column], metric)
    means, counts = np.full((2, len(up.values), len(across.values)), np.nan)
    places = [up.values.index(v) for v in table[up.column]], [across.values.index(v) for v in table[across.column]]
    means[places], counts[places] = table["mean"], table["n"]
    return means, np.nan_to_num(counts).astype(int)


def chosen_run(rows: pd.DataFrame) -> pd.Series | None:
    """Choose the best configuration by its mean validation metric, and give one of its runs. rows: of one split.

    Only those with most finished seeds are compared. None where none has finished."""
    metric = selection_metric(rows)
    table = summarise(rows, ["configuration"], metric)
    table = table[table["n"].eq(table["n"].max()) & table["n"].gt(0)]
    if table.empty:
        return None
    best = table["configuration"].iloc[int(table["mean"].argmax())]
    return rows.iloc[int(rows["configuration"].eq(best).argmax())]


def selection_metric(rows: pd.DataFrame) -> str:
    """Name the column of the validation metric by which epochs and configurations are selected."""
    metrics = rows["metric"].dropna() if "metric" in rows else pd.Series(dtype=str)
    return f"validation_{metrics.iloc[0] if len(metrics) else METRICS[0]}"


def shown_metric(rows: pd.DataFrame, metric: str) -> str | None:
    """Name the test column of ``metric`` where any run has one, else the validation column; None where neither is."""
    for split in ("test", "validation"):
        column = f"{split}_{metric}"
        if column in rows and rows.loc[rows["status"].eq("done"), column].notna().any():
            return column
    return None


def metric_label(column: str) -> str:
    """Label an axis: "test_macro_f1" -> "test macro-F1 (%)"."""
    split, metric = next((column[: -len(m) - 1], m) for m in METRICS if column.endswith(m))
    return f"{split.replace('_', '-')} {METRIC_NAMES[metric]} (%)"


def modalities(rows: pd.DataFrame) -> list[str]:
    """List the modalities that the rows have metrics of, in the dataset's order."""
    pattern = re.compile(r"(?:validation|test)_accuracy_(.+)")
    found = [
        m.group(1)
        for c in columns_of(rows, "validation_", "test_")
        if (m := pattern.fullmatch(c)) and rows[c].notna().any()
    ]
    return list(dict.fromkeys(found))


def configuration_name(row: Any) -> str:
    """Name the configuration of a run in a table: its label, and the point where it is one of several."""
    return f"{row['label']}: {row['point']}" if row["point"] else str(row["label"])


def left_out_name(left_out: NotApplicable) -> str:
    """Name a configuration that its method refuses, as one that was run would be named."""
    return configuration_name({"label": left_out.label, "point": point_text(left_out.values)})


def axis(rows: pd.DataFrame, column: str) -> Axis:
    """Make the axis of a column vary.NAME, with label and meaning as the method (or the recipe) declares them."""
    name = column.removeprefix("vary.")
    label, meaning = _label_and_meaning(name, str(rows["method"].iloc[0]))
    return axis_with_values(Axis(column, name, label, meaning, "category", ()), rows[column].dropna())


def axis_with_values(axis: Axis, found: Iterable[Any]) -> Axis:
    """Give the axis other values, with the scale that suits them."""
    values = list(dict.fromkeys(found))
    if not is_numeric(pd.Series(values, dtype=object)):
        return replace(axis, scale="category", values=tuple(values))
    values = sorted(float(v) for v in values)
    return replace(axis, scale=_scale(values), values=tuple(values))


def _label_and_meaning(name: str, method: str) -> tuple[str, str]:
    """Look up label and meaning of a varied name; the bare name where nobody declares it (data.NAME)."""
    group, _, bare = name.rpartition(".")
    if group == "train":
        from sweep.config import Recipe  # needs torch, which tables alone do without

        field = Recipe.model_fields.get(bare)
        return (bare.replace("_", " "), (field.description or "") if field else "")
    import methods
    from methods.base.hyperparameters import declared

    first, *parts = name.removeprefix(f"{method}.").split(".")
    if method in methods.names():
        found = declared(methods.get(method).Hyperparameters).get(first)
        if found:
            words = first.replace("_", " ")
            whole = words if found.symbol in ("", first) else f"{found.symbol} ({words})"
            return " of ".join([*reversed(parts), whole]) if parts else whole, found.meaning
    return bare.replace("_", " "), ""


def _scale(values: list[float]) -> str:
    """Choose log where positive values span more than a decade, more evenly in the logarithm than in themselves."""
    positive = np.array([v for v in values if v > 0])
    if len(positive) < 2 or min(values) < 0 or positive[-1] / positive[0] < 10.5:
        return "linear"
    linear, log = np.diff(positive), np.diff(np.log(positive))
    if len(linear) > 1 and log.std() / log.mean() >= linear.std() / linear.mean():
        return "linear"
    return "symlog" if min(values) == 0 else "log"


def _varied_columns(rows: pd.DataFrame) -> list[str]:
    """List the varied names that are chosen among."""
    return [c for c in columns_of(rows, "vary.") if rows[c].notna().any() and not is_severity(c.removeprefix("vary."))]
