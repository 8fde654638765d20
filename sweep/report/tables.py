"""Tables of the report: configurations, differences to joint training, Pareto fronts, published numbers beside ours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from sweep.analysis.completeness import COMPLETE, CONFIGURATION, RacedOut, completeness_table
from sweep.analysis.conclusions import differences_to_joint, name_with_role, points_text, rows_to_compare
from sweep.analysis.differences import power_text
from sweep.analysis.fronts import Front, objective_label, value_text
from sweep.analysis.losses import losses_table
from sweep.analysis.parts import (
    METRIC_NAMES,
    Parts,
    by_split,
    chosen_run,
    left_out_name,
    modalities,
    rows_of_one_configuration,
    selection_metric,
    shown_metric,
)
from sweep.analysis.replicates import ONE_SPLIT
from sweep.analysis.statistics import (
    COVERAGE,
    compare,
    estimate_runs,
    interval_text,
    per_cent,
    split_of,
    summarise,
)
from sweep.plan.not_applicable import NotApplicable
from sweep.published import DATASETS, FUSED, PROTOCOL, Cell, cells_of, sources
from sweep.report.blocks import Block, Table

BEST_ROWS = 20
"""Configurations of a search, or of a large grid, that the tables show."""
MOST_PLANNED = 100
NOT_APPLICABLE = "N/A"
KEY = ("label", "point", "role", "dataset", "configuration")


def configurations(
    parts: Parts, columns: Sequence[str], most: int, seeds: int = 0, out: RacedOut | None = None
) -> pd.DataFrame:
    """Tabulate configurations, one a row, by dataset, references first.

    Of searched ones the best ``most`` a label and dataset are kept, and so of planned ones where there are more than
    MOST_PLANNED. Column ``state``: "complete", or why a configuration has fewer seeds. Those with all their seeds are
    ranked; the others follow, unranked."""
    searched = pd.concat([parts.searched, parts.references[parts.references["number"].notna()]])
    planned, unsearched = parts.planned, parts.references[parts.references["number"].isna()]
    if planned["configuration"].nunique() > MOST_PLANNED:
        searched, planned = pd.concat([searched, planned]), planned.iloc[:0]
    groups = [unsearched[~unsearched["hash"].isin(planned["hash"])], planned]
    for _, rows in searched.groupby(["label", "dataset", split_of(searched)], sort=False):
        means = summarise(rows, ["configuration"], selection_metric(rows)).set_index("configuration")["mean"]
        states = completeness_table(rows, seeds, out)
        states = states.assign(mean=states["configuration"].map(means)).sort_values(
            ["ranked", "mean"], ascending=False, kind="stable"
        )
        place = {key: number for number, key in enumerate(states["configuration"].head(most))}
        kept = rows[rows["configuration"].isin(place)]
        groups.append(kept.iloc[kept["configuration"].map(place).argsort(kind="stable")])
    rows = pd.concat([*groups, parts.chosen])
    table = compare(rows, columns, KEY).merge(
        completeness_table(rows, seeds, out)[[*CONFIGURATION, "state"]], on=CONFIGURATION
    )
    place = {dataset: number for number, dataset in enumerate(dict.fromkeys(parts.runs["dataset"]))}
    return table.sort_values("dataset", key=lambda names: names.map(place), kind="stable", ignore_index=True)


def number_blocks(
    parts: Parts, seeds: int, out: RacedOut, fronts: Sequence[Front], left_out: Sequence[NotApplicable] = ()
) -> list[Block]:
    """Show all metrics of the configurations, and their differences to joint training.

    left_out: configurations that their method refuses; they stand as N/A after the others of their dataset."""
    runs, metric = parts.runs, selection_metric(parts.runs).removeprefix("validation_")
    streams = modalities(runs)
    scores = [
        f"{split}_{metric}{suffix}" for split in ("validation", "test") for suffix in ("", *(f"_{m}" for m in streams))
    ]
    others = [f"test_{m}" for m in METRIC_NAMES if m != metric]
    wanted = [*scores, *others, "validation_imbalance", "test_imbalance", f"test_peak_{metric}"]
    columns = [c for c in wanted if c in runs and runs[c].notna().any()]
    if f"test_peak_{metric}" in columns and f"test_{metric}" in columns:
        parts = Parts(runs.assign(optimism=runs[f"test_peak_{metric}"] - runs[f"test_{metric}"]))
        columns.append("optimism")
    table = configurations(parts, columns, BEST_ROWS, seeds, out)
    fewer = table["state"].ne(COMPLETE)
    headings = ["configuration", "dataset", "n", "failed", "missing", *(c.replace("_", " ") for c in columns)]
    rows = [
        [name_with_role(r), *(str(r[c]) for c in ("dataset", "n", "failed", "missing", *columns))]
        for r in table.to_dict("records")
    ]
    if fewer.any() or left_out:
        headings.insert(5, "standing")
        for row, state in zip(rows, table["state"], strict=True):
            row.insert(5, state)
    note = _note(parts, columns, bool(fewer.any()))
    column = shown_metric(runs, metric) or f"validation_{metric}"
    shown = parts.runs[parts.runs["configuration"].isin(table["configuration"])]
    losses = table[list(KEY)].merge(losses_table(shown, KEY, column), on=list(KEY), how="left").to_dict("records")
    if any(each["lost"] for each in losses):
        place = 6 if headings[5] == "standing" else 5
        headings[place:place] = ["lost", f"{column.replace('_', ' ')}, losses at chance"]
        for row, each in zip(rows, losses, strict=True):
            row[place:place] = [_lost_text(each["lost"], each["seeds"]), per_cent(each["mean"])]
        note += (
            " Lost: seeds that failed, diverged or were stopped early. Beside it the mean with each of them at the "
            "share of the most frequent class; – where that is not known."
        )
    found = {(b["label"], b["configuration"]) for b in chosen_runs(parts)}
    if fronts:
        found = {(f.label, key) for f in fronts for key in f.table.loc[f.table["front"], "configuration"]}
    best = {
        i
        for i, r in enumerate(table.to_dict("records"))
        if (r["label"], r["configuration"]) in found and r["role"] == "sweep"
    }
    if left_out:
        rows, best = _with_left_out(rows, best, left_out)
        note += " N/A: the method refuses the configuration, for the reason given; it is no run and is not compared."
    note += (
        "" if not best else " Highlighted: the Pareto front." if fronts else " Highlighted: chosen on validation data."
    )
    return [Block("Configurations", table=Table(headings, rows, best, note)), *difference_blocks(parts, metric)]


def _lost_text(lost: int, seeds: int) -> str:
    return f"{lost} of {seeds} ({lost / seeds:.0%})" if lost else "0"


def _with_left_out(
    rows: Sequence[list[str]], best: set[int], left_out: Sequence[NotApplicable]
) -> tuple[list[list[str]], set[int]]:
    """Put configurations without a run after the others of their dataset; also renumber the rows to point out."""
    width = len(rows[0])
    lines = [(row, number in best) for number, row in enumerate(rows)]
    for each in left_out:
        row = [left_out_name(each), each.dataset, NOT_APPLICABLE, "–", "–", each.reason]
        lines.append(([*row, *[NOT_APPLICABLE] * (width - len(row))], False))
    place = {dataset: number for number, dataset in enumerate(dict.fromkeys(row[1] for row, _ in lines))}
    lines.sort(key=lambda line: place[line[0][1]])
    return [row for row, _ in lines], {number for number, (_, marked) in enumerate(lines) if marked}


def _note(parts: Parts, columns: Sequence[str], fewer: bool) -> str:
    note = (
        f"Per cent, mean ± half of the 95 % t interval over {_repeats(parts.runs)}, or its ends where 0 or 100 % cuts "
        f"it; none where seeds agree and the resolution is not known. {COVERAGE} Imbalance: largest minus smallest "
        "Shapley value of a modality."
    )
    if "optimism" in columns:
        note += (
            " test peak is the best test epoch, the protocol of published code, never used for selection; optimism is "
            "what it adds to the honest number."
        )
    many = (parts.searched["configuration"].nunique(), parts.planned["configuration"].nunique())
    if many[0] > BEST_ROWS or many[1] > MOST_PLANNED:
        note += f" Of many configurations the best {BEST_ROWS} on validation of each method and dataset are shown."
    if fewer:
        note += " Means over fewer seeds than the others' are comparable with none, and not ranked."
    return note


def _repeats(runs: pd.DataFrame) -> str:
    splits = split_of(runs).nunique()
    return f"n finished seeds {ONE_SPLIT}" if splits < 2 else "the means of the splits that n finished runs are on"


def chosen_runs(parts: Parts) -> list[pd.Series]:
    """Give a run of the chosen configuration of each study that chooses."""
    several = parts.swept.groupby(["label", "dataset", split_of(parts.swept)], sort=False)
    found = [chosen_run(rows) for _, rows in several if rows["configuration"].nunique() > 1]
    return [run for run in found if run is not None]


def difference_blocks(parts: Parts, metric: str) -> list[Block]:
    """Show the paired differences to joint training; nothing where there is no joint training to compare with."""
    rows = rows_to_compare(parts)
    column = shown_metric(rows, metric) if len(rows) else None
    if column is None or parts.baseline.empty:
        return []
    table = differences_to_joint(parts, rows, column)
    lines = [
        [
            name_with_role(r), r["dataset"], str(r["n"]), points_text(r["mean"]),
            "–" if pd.isna(r["low"]) else f"{points_text(r['low'])} to {points_text(r['high'])}",
            _p_text(r["p"]), _p_text(r["p_adjusted"]), _lost_text(r["lost"], r["seeds"]),
        ]
        for r in table.to_dict("records")
    ]  # fmt: skip
    headings = [
        "configuration",
        "dataset",
        "common runs",
        "difference",
        "95 % interval",
        "p",
        "p, all together",
        "lost",
    ]
    power = power_text(table[table["n"] > 1])
    note = (
        f"Points of {column.replace('_', ' ')} above joint training under the same splits and seeds. p: Dunnett's "
        f"test of many configurations against one, with {_repeats(rows)} as blocks and the noise pooled over "
        "configurations; a difference that scatters more than that is judged by its own scatter, and all are where "
        "joint training scatters more than the others. p, all together: step-down over the configurations that differ, "
        f"times the datasets. {power[:1].upper()}{power[1:]}{'. ' if power else ''}Seeds that agree are no proof: the "
        "noise counts as no smaller than rounding to the resolution of the test split, p as no smaller than it would "
        "be where one run in ten collapses (0.02 at two seeds, 0.002 at three). Of a configuration that lost seeds the "
        "others are compared, which flatters it."
    )
    return [Block("Differences to joint training", table=Table(headings, lines, note=note))]


def _p_text(value: float) -> str:
    return "–" if pd.isna(value) else "< 0.001" if value < 0.001 else f"{value:.3f}"


# Pareto fronts -------------------------------------------------------------------------------------------------


def pareto_blocks(parts: Parts, fronts: Sequence[Front]) -> list[Block]:
    """Show the members of each front and the references, with their test metric under fresh seeds where they have one.

    The note counts the others: beaten, or not compared."""
    blocks = []
    for front in fronts:
        metric = shown_metric(parts.runs, selection_metric(parts.runs).removeprefix("validation_"))
        headings = ["configuration", "n", *(objective_label(o) for o in front.objectives)]
        headings += [f"{metric.replace('_', ' ')}, fresh seeds"] if metric else []
        members = front.table[front.table["front"]].sort_values(front.objectives[0], ascending=False)
        rows = [_pareto_row(parts, front, r, r["point"] or front.label, metric) for r in members.to_dict("records")]
        for label, own in front.references.items():
            for r in own.to_dict("records"):
                which = f": {r['point']}" if r["point"] else ""
                rows.append(_pareto_row(parts, front, r, f"{label} (reference){which}", metric))
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


def _pareto_row(parts: Parts, front: Front, row: dict[Any, Any], name: str, metric: str | None) -> list[str]:
    values = [value_text(o, row[o], row[f"{o}_high"] - row[o]) for o in front.objectives]
    fresh = parts.reports[parts.reports["configuration"].eq(row["configuration"]) & parts.reports["status"].eq("done")]
    if metric is None:
        return [name, str(row["n"]), *values]
    found = estimate_runs(fresh, metric)
    tested = interval_text(found.mean, found.low, found.high) + (f" (n = {found.n})" if found.n else "")
    return [name, str(row["n"]), *values, tested]


# Published numbers ---------------------------------------------------------------------------------------------


def published_blocks(parts: Parts) -> list[Block]:
    """Show the authors' numbers of the same methods and variants.

    Those on the same dataset stand beside ours, those on others in a table of their own, so that orderings can be
    compared."""
    metric = selection_metric(parts.runs).removeprefix("validation_")
    beside, elsewhere = list[list[str]](), list[list[str]]()
    own = _representative_runs(parts)
    printed = {key: cells_of(str(r["method"]), _hyperparameters(r)) for key, r in own.items()}
    datasets = [d for d in DATASETS if any(c.dataset == d and c.metric == metric for f in printed.values() for c in f)]
    for key, row in own.items():
        here = [c for c in printed[key] if c.dataset == row["dataset"]]
        streams = dict.fromkeys(c.modality for c in here)
        for stream, name in ((s, m) for s in streams for m in METRIC_NAMES):
            column = f"test_{name}" + ("" if stream == FUSED else f"_{stream}")
            if values := [c for c in here if (c.modality, c.metric) == (stream, name)]:
                ours = [_own_number(parts, row, c) for c in (column, column.replace("test_", "test_peak_", 1))]
                what = METRIC_NAMES[name] + ("" if stream == FUSED else f" of {stream}")
                beside.append(
                    [name_with_role(row), row["dataset"], what, *ours, _numbers_text(values), _places_text(values)]
                )
        others = [c for c in printed[key] if (c.metric, c.modality) == (metric, FUSED)]
        if others and not here:
            own_number = _own_number(parts, row, f"test_{metric}")
            cells = [_numbers_text([c for c in others if c.dataset == d]) for d in datasets]
            elsewhere.append([name_with_role(row), f"{row['dataset']}: {own_number}", *cells, _places_text(others)])
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


def _representative_runs(parts: Parts) -> dict[tuple[str, ...], dict[Any, Any]]:
    """Give a run of each configuration that represents its method.

    These are references, points, variants (grids over words), and the choice of a grid over numbers or of a search."""
    variants = [g.rows for g in parts.grids if all(axis.scale == "category" for axis in g.axes)]
    best = pd.DataFrame(chosen_runs(parts))
    references = (part for _, rows in parts.references.groupby("label", sort=False) for part in by_split(rows))
    rows = pd.concat([*map(rows_of_one_configuration, references), parts.points, *variants, best])
    found = rows.drop_duplicates(["role", "label", "dataset", "configuration"])
    searched = found["role"].eq("reference") & found["number"].notna()
    return {(r["role"], r["label"], r["dataset"], r["configuration"]): r for r in found[~searched].to_dict("records")}


def _hyperparameters(row: dict[Any, Any]) -> dict[str, Any]:
    return {str(k).removeprefix("hp."): v for k, v in row.items() if str(k).startswith("hp.")}


def _own_number(parts: Parts, row: dict[Any, Any], column: str) -> str:
    runs = parts.runs
    mine = runs[
        runs["configuration"].eq(row["configuration"]) & runs["role"].eq(row["role"]) & runs["status"].eq("done")
    ]
    found = estimate_runs(mine.drop_duplicates("hash"), column)
    return interval_text(found.mean, found.low, found.high)


def _numbers_text(found: Sequence[Cell]) -> str:
    """List the distinct numbers, as printed."""
    return " / ".join(f"{value:.2f}" for value in sorted({c.value for c in found})) or "–"


def _places_text(found: Sequence[Cell]) -> str:
    """Cite the place of each of the numbers."""
    several = len({(c.dataset, c.metric, c.modality) for c in found}) > 1
    if several:
        return "; ".join(dict.fromkeys(c.citation for c in found))
    places: dict[float, list[str]] = {}
    for cell in found:
        places.setdefault(cell.value, []).append(cell.citation)
    if len(places) == 1:
        return "; ".join(dict.fromkeys(next(iter(places.values()))))
    return "; ".join(f"{value:.2f}: {', '.join(dict.fromkeys(where))}" for value, where in sorted(places.items()))
