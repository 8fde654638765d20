"""A reproducibility checklist of a sweep as text: what a reviewer asks, read off its runs and its file."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pandas as pd

import data
from sweep.analysis.completeness import SweepRequest
from sweep.analysis.parts import Parts, selection_metric
from sweep.analysis.replicates import split_sentences
from sweep.analysis.severities import SOURCE
from sweep.analysis.statistics import COVERAGE, FAILED
from sweep.analysis.trained_epochs import trained_epochs_text
from sweep.results.tables import columns_of


def checklist(parts: Parts, request: SweepRequest, text: str) -> str:
    """Write the checklist, an item a line. text: the sweep.yaml as it was run."""
    items = dict(_items(parts, request))
    lines = [f"[x] {name}: {said}" if said else f"[ ] {name}: to be filled in" for name, said in items.items()]
    return "Reproducibility checklist\n\n" + "\n".join(lines) + f"\n\nThe sweep as it was run:\n\n{text}"


def _items(parts: Parts, request: SweepRequest) -> Iterator[tuple[str, str]]:
    runs = parts.runs.drop_duplicates("hash")
    ended = runs[runs["status"].isin(["done", *FAILED])]
    chosen_by = selection_metric(runs).replace("_", " ")
    yield "Seeds", _seeds(parts)
    yield "Splits", " ".join(split_sentences(runs))
    yield "Intervals", f"95 % t intervals. {COVERAGE}"
    yield (
        "Tests",
        (
            "Dunnett's test of all configurations against joint training, with seeds as blocks, 5 % for all together; "
            "p-values no smaller than those of Welch's test alone, nor than one collapsed run in ten allows."
        ),
    )
    yield (
        "Selection",
        f"epochs and configurations by {chosen_by}; the test split is read with their weights.",
    )
    yield "Budget", _budgets(ended, request)
    yield "Space", _spaces(parts)
    yield "Lost runs", _lost(runs)
    yield "Compute", _compute(ended)
    yield "Software", _software(ended)
    yield "Data", _data(runs)
    yield from _licences(runs)


def _seeds(parts: Parts) -> str:
    said = [f"{_listed(parts.swept['seed'])} for every configuration"]
    if len(parts.references):
        said.append(f"{_listed(parts.references['seed'])} for the references")
    if len(parts.reports):
        said.append(f"{_listed(parts.reports['seed'])}, fresh, for what was chosen")
    return "; ".join(said) + "."


def _budgets(ended: pd.DataFrame, request: SweepRequest) -> str:
    lines = []
    for label, rows in ended.groupby("label", sort=False):
        epochs = trained_epochs_text(rows, " epochs a run") or "no run trained to its end"
        configurations = rows["configuration"].nunique()
        said = f"{configurations} configuration{'s' if configurations > 1 else ''}"
        lines.append(f"{label} {said}, {len(rows)} run{'s' if len(rows) > 1 else ''}, {epochs}")
    limit = f" A driver stops after {request.budget}." if request.budget else ""
    return "; ".join(lines) + "." + limit


def _spaces(parts: Parts) -> str:
    lines = []
    for label, rows in pd.concat([parts.references, parts.swept]).groupby("label", sort=False):
        names = [c.removeprefix("vary.") for c in columns_of(rows, "vary.") if rows[c].notna().any()]
        how = "searched" if rows["number"].notna().any() else "listed"
        lines.append(f"{label} {how} over {', '.join(names)}" if names else f"{label} at fixed values")
    return "; ".join(lines) + "; ranges in the file below."


def _lost(runs: pd.DataFrame) -> str:
    counts = runs.loc[runs["status"].isin(FAILED), "status"].value_counts()
    return ", ".join(f"{count} {status}" for status, count in counts.items()) + "." if len(counts) else "none."


def _compute(ended: pd.DataFrame) -> str:
    hours = float(ended["seconds"].sum()) / 3600 if "seconds" in ended else 0.0
    machines = [_listed(ended[f"env.{name}"]) for name in ("processor", "gpus") if f"env.{name}" in ended]
    return f"{hours:.2f} hours of training in all, on {', '.join(filter(None, machines)) or 'machines not recorded'}."


def _software(ended: pd.DataFrame) -> str:
    named = [f"python {_listed(ended['env.python'])}"] if "env.python" in ended else []
    columns = [c for c in ("env.packages.torch", "env.packages.ray", "env.packages.optuna", "env.git") if c in ended]
    return ", ".join([*named, *(f"{c.rpartition('.')[2]} {_listed(ended[c])}" for c in columns)]) + "."


def _data(runs: pd.DataFrame) -> str:
    prints = runs["fingerprint"] if "fingerprint" in runs else pd.Series("", runs.index)
    return (
        "; ".join(f"{dataset}, fingerprint {_listed(found)}" for dataset, found in prints.groupby(runs["dataset"]))
        + "."
    )


def _licences(runs: pd.DataFrame) -> Iterator[tuple[str, str]]:
    """Give the terms of each dataset as it states them, and name the pretrained weights, whose terms are not known."""
    for dataset in dict.fromkeys(runs[SOURCE] if SOURCE in runs else runs["dataset"]):
        terms = data.get(dataset).terms if dataset in data.names() else ""
        yield f"Licence of {dataset}", f"{terms}." if terms else ""
    encoders = {text for column in columns_of(runs, "encoder.") for text in runs[column].dropna()}
    backbones = {str(named) for column in columns_of(runs, "hp.pretrained") for named in runs[column].dropna()}
    weights = backbones | {str(named) for text in encoders if (named := json.loads(text).get("pretrained"))}
    for name in sorted(weights):
        yield f"Licence of the pretrained weights {name}", ""
    if not weights:
        yield "Pretrained weights", "none."


def _listed(values: pd.Series) -> str:
    """List the distinct values, numbers ascending; of many the first and the last."""
    found = list(dict.fromkeys(values.dropna()))
    numbers = all(isinstance(value, (int, float)) for value in found)
    words = [f"{value:g}" if numbers else str(value) for value in (sorted(found) if numbers else found)]
    words = [word for word in words if word]
    return ", ".join(words) if len(words) <= 10 else f"{', '.join(words[:3])} ... {words[-1]} ({len(words)})"
