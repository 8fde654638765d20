"""Tables of the report: configurations, differences to joint training, Pareto fronts, published numbers beside ours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from sweep.findings import called, differences_to_joint, points, rows_to_compare
from sweep.page import Block, Table
from sweep.pareto import Front, objective_label, shown
from sweep.published import DATASETS, FUSED, PROTOCOL, Cell, cells_of, sources
from sweep.shape import METRIC_NAMES, Shape, chosen, modalities, selection, shown_metric
from sweep.standing import COMPLETE, CONFIGURATION, Raced, standings
from sweep.statistics import compare, estimate, per_cent, summarise

BEST_ROWS = 20
"""Configurations of a search, or of a large grid, that the tables show."""
MOST_PLANNED = 100
KEY = ("label", "point", "role", "dataset", "configuration")


def configurations(
    shape: Shape, columns: Sequence[str], most: int, seeds: int = 0, out: Raced | None = None
) -> pd.DataFrame:
    """One row a configuration, by dataset, references first; of searched ones the best ``most`` a label and dataset,
    and so of planned ones where there are more than MOST_PLANNED. Column ``standing``: "complete", or why a
    configuration has fewer seeds. Those with all their seeds are ranked; the others follow, unranked."""
    searched = pd.concat([shape.searched, shape.references[shape.references["number"].notna()]])
    planned, unsearched = shape.planned, shape.references[shape.references["number"].isna()]
    if planned["configuration"].nunique() > MOST_PLANNED:
        searched, planned = pd.concat([searched, planned]), planned.iloc[:0]
    parts = [unsearched[~unsearched["hash"].isin(planned["hash"])], planned]
    for _, rows in searched.groupby(["label", "dataset"], sort=False):
        means = summarise(rows, ["configuration"], selection(rows)).set_index("configuration")["mean"]
        stood = standings(rows, seeds, out)
        stood = stood.assign(mean=stood["configuration"].map(means)).sort_values(
            ["ranked", "mean"], ascending=False, kind="stable"
        )
        place = {key: number for number, key in enumerate(stood["configuration"].head(most))}
        kept = rows[rows["configuration"].isin(place)]
        parts.append(kept.assign(_rank=kept["configuration"].map(place)).sort_values("_rank", kind="stable"))
    rows = pd.concat([*parts, shape.reports])
    table = compare(rows, columns, KEY).merge(standings(rows, seeds, out)[[*CONFIGURATION, "state"]], on=CONFIGURATION)
    place = {dataset: number for number, dataset in enumerate(dict.fromkeys(shape.runs["dataset"]))}
    table = table.rename(columns={"state": "standing"})
    return table.sort_values("dataset", key=lambda names: names.map(place), kind="stable", ignore_index=True)


def number_blocks(shape: Shape, seeds: int, out: Raced, fronts: Sequence[Front]) -> list[Block]:
    """All metrics of the configurations, and their differences to joint training."""
    runs, metric = shape.runs, selection(shape.runs).removeprefix("validation_")
    streams = modalities(runs)
    scores = [
        f"{split}_{metric}{suffix}" for split in ("validation", "test") for suffix in ("", *(f"_{m}" for m in streams))
    ]
    others = [f"test_{m}" for m in METRIC_NAMES if m != metric]
    wanted = [*scores, *others, "validation_imbalance", "test_imbalance", f"test_peak_{metric}"]
    columns = [c for c in wanted if c in runs and runs[c].notna().any()]
    if f"test_peak_{metric}" in columns and f"test_{metric}" in columns:
        shape = Shape(runs.assign(optimism=runs[f"test_peak_{metric}"] - runs[f"test_{metric}"]))
        columns.append("optimism")
    table = configurations(shape, columns, BEST_ROWS, seeds, out)
    fewer = table["standing"].ne(COMPLETE)
    headings = ["configuration", "dataset", "n", "failed", "missing", *(c.replace("_", " ") for c in columns)]
    rows = [
        [called(r), *(str(r[c]) for c in ("dataset", "n", "failed", "missing", *columns))]
        for r in table.to_dict("records")
    ]
    if fewer.any():
        headings.insert(5, "standing")
        for row, state in zip(rows, table["standing"], strict=True):
            row.insert(5, state)
    found = {(b["label"], b["configuration"]) for b in chosen_runs(shape)}
    if fronts:
        found = {(f.label, key) for f in fronts for key in f.table.loc[f.table["front"], "configuration"]}
    best = {
        i
        for i, r in enumerate(table.to_dict("records"))
        if (r["label"], r["configuration"]) in found and r["role"] == "sweep"
    }
    note = _note(shape, columns, bool(fewer.any()))
    note += (
        "" if not best else " Highlighted: the Pareto front." if fronts else " Highlighted: chosen on validation data."
    )
    return [Block("Configurations", table=Table(headings, rows, best, note)), *difference_blocks(shape, metric)]


def _note(shape: Shape, columns: Sequence[str], fewer: bool) -> str:
    note = (
        "Per cent, mean ± half of the 95 % t interval over n finished seeds. Imbalance: largest minus smallest Shapley "
        "value of a modality."
    )
    if "optimism" in columns:
        note += (
            " test peak is the best test epoch, the protocol of published code, never used for selection; optimism is "
            "what it adds to the honest number."
        )
    many = (shape.searched["configuration"].nunique(), shape.planned["configuration"].nunique())
    if many[0] > BEST_ROWS or many[1] > MOST_PLANNED:
        note += f" Of many configurations the best {BEST_ROWS} on validation of each method and dataset are shown."
    if fewer:
        note += " Means over fewer seeds than the others' are comparable with none, and not ranked."
    return note


def chosen_runs(shape: Shape) -> list[pd.Series]:
    """A run of the chosen configuration of each study that chooses."""
    several = shape.swept.groupby(["label", "dataset"], sort=False)
    found = [chosen(rows) for _, rows in several if rows["configuration"].nunique() > 1]
    return [run for run in found if run is not None]


def difference_blocks(shape: Shape, metric: str) -> list[Block]:
    """Paired differences to joint training; of a large grid those of the chosen configurations."""
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


# Pareto fronts -------------------------------------------------------------------------------------------------


def pareto_blocks(shape: Shape, fronts: Sequence[Front]) -> list[Block]:
    """The members of each front, with the test metric of those that were trained under fresh seeds, and the references;
    then those that could not be compared."""
    blocks = []
    for front in fronts:
        metric = shown_metric(shape.runs, selection(shape.runs).removeprefix("validation_"))
        headings = ["configuration", "n", *(objective_label(o) for o in front.objectives)]
        headings += [f"{metric.replace('_', ' ')}, fresh seeds"] if metric else []
        members = front.table[front.table["front"]].sort_values(front.objectives[0], ascending=False)
        rows = [_pareto_row(shape, front, r, r["point"] or front.label, metric) for r in members.to_dict("records")]
        for label, own in front.references.items():
            for r in own.to_dict("records"):
                which = f": {r['point']}" if r["point"] else ""
                rows.append(_pareto_row(shape, front, r, f"{label} (reference){which}", metric))
        beaten = int((front.table["ranked"] & ~front.table["front"]).sum())
        note = f"Beaten by one that is as good in every objective and better in one: {beaten}."
        unranked = front.table[~front.table["ranked"]]
        if len(unranked) or front.lost:
            states = unranked["state"].value_counts()
            said = [f"{count} {state}" for state, count in states.items()]
            said += [f"{front.lost} without a finished seed"] if front.lost else []
            note += f" Not compared: {', '.join(said)}."
        table = Table(headings, rows, set(range(len(members))), note)
        blocks.append(Block(f"Pareto front of {front.label} on {front.dataset}", table=table))
    return blocks


def _pareto_row(shape: Shape, front: Front, row: dict[Any, Any], name: str, metric: str | None) -> list[str]:
    values = [shown(o, row[o], row[f"{o}_high"] - row[o]) for o in front.objectives]
    fresh = shape.reports[shape.reports["configuration"].eq(row["configuration"]) & shape.reports["status"].eq("done")]
    if metric is None:
        return [name, str(row["n"]), *values]
    found = estimate(fresh[metric])
    tested = per_cent(found.mean, found.high - found.mean) + (f" (n = {found.n})" if found.n else "")
    return [name, str(row["n"]), *values, tested]


# Published numbers ---------------------------------------------------------------------------------------------


def published_blocks(shape: Shape) -> list[Block]:
    """What the authors print of the same methods and variants: on the same dataset beside our number, on others in a
    table of their own, so that orderings can be compared."""
    metric = selection(shape.runs).removeprefix("validation_")
    beside, elsewhere = list[list[str]](), list[list[str]]()
    own = _to_publish(shape)
    printed = {key: cells_of(str(r["method"]), _hyperparameters(r)) for key, r in own.items()}
    datasets = [d for d in DATASETS if any(c.dataset == d and c.metric == metric for f in printed.values() for c in f)]
    for key, row in own.items():
        here = [c for c in printed[key] if c.dataset == row["dataset"]]
        streams = dict.fromkeys(c.modality for c in here)
        for stream, name in ((s, m) for s in streams for m in METRIC_NAMES):
            column = f"test_{name}" + ("" if stream == FUSED else f"_{stream}")
            if values := [c for c in here if (c.modality, c.metric) == (stream, name)]:
                ours = [_ours(shape, row, c) for c in (column, column.replace("test_", "test_peak_", 1))]
                what = METRIC_NAMES[name] + ("" if stream == FUSED else f" of {stream}")
                beside.append([called(row), row["dataset"], what, *ours, _values(values), _sources(values)])
        others = [c for c in printed[key] if (c.metric, c.modality) == (metric, FUSED)]
        if others and not here:
            own_number = _ours(shape, row, f"test_{metric}")
            cells = [_values([c for c in others if c.dataset == d]) for d in datasets]
            elsewhere.append([called(row), f"{row['dataset']}: {own_number}", *cells, _sources(others)])
    blocks = []
    if beside:
        headings = ["configuration", "dataset", "metric", "ours", "ours, best test epoch", "published", "printed in"]
        blocks.append(Block("Published, on the same dataset", table=Table(headings, beside, note=PROTOCOL)))
    if elsewhere:
        headings = ["configuration", "ours", *(DATASETS[d] for d in datasets), "printed in"]
        note = f"Fused {METRIC_NAMES[metric]} in per cent; the sources disagree where there are two numbers. {PROTOCOL}"
        blocks.append(Block("Published, on other datasets", table=Table(headings, elsewhere, note=note)))
    cited = dict.fromkeys(c.source for found in printed.values() for c in found)
    if blocks:
        names = sources()
        blocks.append(Block(text=" ".join(f"{names[s][0]}: {names[s][1]}." for s in cited)))
    return blocks


def _to_publish(shape: Shape) -> dict[tuple[str, ...], dict[Any, Any]]:
    """A run of each configuration that stands for its method: references, points, variants (grids over words), and what
    a grid over numbers or a search chose."""
    variants = [g.rows for g in shape.grids if all(axis.scale == "category" for axis in g.axes)]
    best = pd.DataFrame(chosen_runs(shape))
    rows = pd.concat([shape.references, shape.points, *variants, best])
    found = rows.drop_duplicates(["role", "label", "dataset", "configuration"])
    searched = found["role"].eq("reference") & found["number"].notna()
    return {(r["role"], r["label"], r["dataset"], r["configuration"]): r for r in found[~searched].to_dict("records")}


def _hyperparameters(row: dict[Any, Any]) -> dict[str, Any]:
    return {str(k).removeprefix("hp."): v for k, v in row.items() if str(k).startswith("hp.")}


def _ours(shape: Shape, row: dict[Any, Any], column: str) -> str:
    runs = shape.runs
    mine = runs[
        runs["configuration"].eq(row["configuration"]) & runs["role"].eq(row["role"]) & runs["status"].eq("done")
    ]
    found = estimate(mine.drop_duplicates("hash")[column] if column in mine else [])
    return per_cent(found.mean, found.high - found.mean)


def _values(found: Sequence[Cell]) -> str:
    """The distinct numbers, as printed."""
    return " / ".join(f"{value:.2f}" for value in sorted({c.value for c in found})) or "–"


def _sources(found: Sequence[Cell]) -> str:
    """Where each of the numbers stands."""
    several = len({(c.dataset, c.metric, c.modality) for c in found}) > 1
    if several:
        return "; ".join(dict.fromkeys(c.cited for c in found))
    places: dict[float, list[str]] = {}
    for cell in found:
        places.setdefault(cell.value, []).append(cell.cited)
    if len(places) == 1:
        return "; ".join(dict.fromkeys(next(iter(places.values()))))
    return "; ".join(f"{value:.2f}: {', '.join(dict.fromkeys(where))}" for value, where in sorted(places.items()))
