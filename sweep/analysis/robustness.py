"""Robustness: what each method keeps as its data are corrupted more and more."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from sweep.analysis.differences import differences
from sweep.analysis.parts import Parts, selection_metric, shown_metric
from sweep.analysis.severities import SOURCE, severity_words
from sweep.analysis.standings import BETTER, WORSE, difference_verdict, representatives
from sweep.analysis.statistics import is_numeric, repeat_of
from sweep.results.columns import TEST_SAMPLES
from sweep.results.tables import columns_of
from sweep.runs.severities import CORRUPT, is_severity

CHANGE = "test_change"
"""The metric at the highest severity less that at the lowest, under one split and seed."""


@dataclass(frozen=True)
class Robustness:
    """Methods over the severities of one corruption of a dataset, other corruptions being at their lowest.

    column: of the severities in rows; words: its name for people; values: the severities, ascending; metric: a column
    of rows. rows: the runs of each method's choice at each severity, of the dataset under its own name. changes: a row
    a method, the one that loses least first: label, plain (whether it is joint training), mean, low, high (metric at
    the highest severity less that at the lowest, over common seeds), n, and of the others joint, joint_low, joint_high
    (this less joint training's) and joint_verdict."""

    dataset: str
    column: str
    words: str
    values: tuple[float, ...]
    metric: str
    rows: pd.DataFrame
    changes: pd.DataFrame


def robustness(parts: Parts) -> list[Robustness]:
    """Give the robustness of the methods of a sweep, for each corruption by numbers that it varies."""
    if SOURCE not in parts.runs:
        return []
    chosen = pd.concat(list(representatives(parts)))
    chosen = chosen.assign(dataset=chosen[SOURCE])
    metric = shown_metric(chosen, selection_metric(parts.runs).removeprefix("validation_"))
    found = []
    for dataset, rows in chosen.groupby("dataset", sort=False) if metric else ():
        severe = _with_all_severities(rows)
        columns = [c for c in columns_of(severe, "vary.") if is_severity(c.removeprefix("vary."))]
        columns = [c for c in columns if is_numeric(severe[c]) and severe[c].nunique() > 1]
        for column in columns:
            lowest = [severe[other].eq(severe[other].min()) for other in columns if other != column]
            own = severe[np.logical_and.reduce([pd.Series(True, severe.index), *lowest])]
            values = tuple(sorted(map(float, own[column].unique())))
            if len(values) > 1:
                words = severity_words(f"{column.removeprefix('vary.')}=").strip()
                changes = _changes(own, parts, column, values, str(metric))
                found.append(Robustness(str(dataset), column, words, values, str(metric), own, changes))
    return found


def robustness_sentences(found: list[Robustness]) -> list[str]:
    """Say what joint training loses from the lowest severity to the highest, and which methods lose less or more."""
    return [sentence for each in found for sentence in _sentences(each)]


def _sentences(found: Robustness) -> Iterator[str]:
    table = found.changes[found.changes["mean"].notna()]
    if table.empty:
        return
    where = f"From {found.words} {found.values[0]:g} to {found.values[-1]:g} on {found.dataset}"
    metric = found.metric.replace("_", " ")
    judged, plain = table[table["joint_verdict"].ne("")], table[table["plain"]]
    if judged.empty or plain.empty:
        least, most = table.iloc[0], table.iloc[-1]
        alone = len(table) == 1
        said = _change_text(least) if alone else f"{_change_text(least)}, {most['label']} {_change_text(most)}"
        yield f"{where}, {metric} changes by so many points: {least['label']} {said}."
        return
    words = [
        f"{len(rows)} {'loses' if len(rows) == 1 else 'lose'} {what} ({_named(rows)})"
        if len(rows)
        else f"none loses {what}"
        for what, rows in (
            ("less", judged[judged["joint_verdict"].eq(BETTER)]),
            ("more", judged[judged["joint_verdict"].eq(WORSE)].iloc[::-1]),
        )
    ]
    count = "the one method" if len(judged) == 1 else f"the {len(judged)} methods"
    yield (
        f"{where}, {metric} of {plain.iloc[0]['label']} changes by {_change_text(plain.iloc[0])} points; of {count} "
        f"compared with it, {' and '.join(words)} beyond chance."
    )


def _named(rows: pd.DataFrame) -> str:
    texts = [f"{row['label']} {_change_text(row)}" for _, row in rows.head(5).iterrows()]
    return "; ".join(texts) + ("; ..." if len(rows) > 5 else "")


def _change_text(row: pd.Series) -> str:
    half = "" if math.isnan(row["high"]) else f" ± {100 * (row['high'] - row['low']) / 2:.1f}"
    return f"{100 * row['mean']:+.1f}{half}"


# Severities ------------------------------------------------------------------------------------------------------


def _with_all_severities(rows: pd.DataFrame) -> pd.DataFrame:
    """Fill in the severities of those rows that do not vary them: what their data were corrupted by, 0 for nothing."""
    recorded = rows[f"data.{CORRUPT}"] if f"data.{CORRUPT}" in rows else pd.Series(None, rows.index, dtype=object)
    filled = {}
    for column in columns_of(rows, "vary."):
        path = column.partition(f".{CORRUPT}.")[2].split(".")
        if is_severity(column.removeprefix("vary.")) and len(path) == 2 and rows[column].notna().any():
            values = [_recorded(text, *path) for text in recorded]
            filled[column] = rows[column].where(rows[column].notna(), pd.Series(values, rows.index, dtype=object))
    return rows.assign(**{column: values.infer_objects() for column, values in filled.items()})


def _recorded(text: Any, modality: str, option: str) -> Any:
    """Read an option of a record of what corrupts a dataset, JSON; 0 where the modality is left as it is."""
    corrupt = json.loads(text) if isinstance(text, str) else {}
    return corrupt[modality].get(option, 0.0) if modality in corrupt else 0.0


# Changes ---------------------------------------------------------------------------------------------------------


def _changes(rows: pd.DataFrame, parts: Parts, column: str, values: tuple[float, ...], metric: str) -> pd.DataFrame:
    lowest, highest = (rows[rows[column].eq(value) & rows["status"].eq("done")] for value in (values[0], values[-1]))
    labels = list(dict.fromkeys(rows["label"]))
    both = [(lowest[lowest["label"].eq(label)], highest[highest["label"].eq(label)]) for label in labels]
    table = pd.concat([differences(after, before, metric, ["label"]) for before, after in both])
    each = pd.concat([_of_each_seed(before, after, metric) for before, after in both])
    joint = list(dict.fromkeys(parts.baseline["label"]))
    plain = each["label"].isin(joint)
    beside = differences(each[~plain], each[plain], CHANGE, ["label"])
    beside["verdict"] = [difference_verdict(row) for row in beside.to_dict("records")]
    names = {"mean": "joint", "low": "joint_low", "high": "joint_high", "verdict": "joint_verdict"}
    found = table[["label", "mean", "low", "high", "n"]].merge(
        beside[["label", *names]].rename(columns=names), on="label", how="left"
    )
    found = (
        found.assign(plain=found["label"].isin(joint))
        .fillna({"joint_verdict": ""})
        .sort_values("mean", ascending=False, kind="stable")
    )
    return found.reset_index(drop=True)


def _of_each_seed(before: pd.DataFrame, after: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Give a row for each common split and seed of the runs of one method, with its change in the column CHANGE."""
    before, after = (rows[~repeat_of(rows).duplicated()] for rows in (before, after))
    least = pd.Series(before[metric].to_numpy(float), repeat_of(before))
    common = after[repeat_of(after).isin(least.index)]
    change = common[metric].to_numpy(float) - least.reindex(repeat_of(common)).to_numpy(float)
    found = common.assign(**{CHANGE: change})
    # A difference of two shares is rounded twice: as one share of half as many samples.
    return found.assign(**{TEST_SAMPLES: found[TEST_SAMPLES] / math.sqrt(2)}) if TEST_SAMPLES in found else found
