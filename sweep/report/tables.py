"""Tables of the report: configurations, differences to joint training, Pareto fronts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from sweep.analysis.completeness import COMPLETE, CONFIGURATION, RacedOut, completeness_table
from sweep.analysis.conclusions import differences_to_joint, name_with_role, points_text
from sweep.analysis.differences import power_between, power_text
from sweep.analysis.fronts import SHARES, Front, objective_label, value_text
from sweep.analysis.losses import losses_table
from sweep.analysis.parts import (
    METRIC_NAMES,
    Parts,
    left_out_name,
    modalities,
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
from sweep.plan.objectives import result_column
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
        order = rows["configuration"].map(place).to_numpy(float)
        groups.append(rows.iloc[np.argsort(order, kind="stable")[: np.count_nonzero(~np.isnan(order))]])
    rows = pd.concat([*groups, parts.chosen])
    table = compare(rows, columns, KEY).merge(
        completeness_table(rows, seeds, out)[[*CONFIGURATION, "state"]], on=CONFIGURATION
    )
    place = {dataset: number for number, dataset in enumerate(parts.runs["dataset"].unique())}
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
    # Of one modality alone there is no imbalance.
    changed = {c: runs[c].mask(runs["method"].eq("unimodal")) for c in columns if c.endswith("_imbalance")}
    if f"test_peak_{metric}" in columns and f"test_{metric}" in columns:
        changed["optimism"] = runs[f"test_peak_{metric}"] - runs[f"test_{metric}"]
        columns.append("optimism")
    tabulated = Parts(runs.assign(**changed)) if changed else parts
    table = configurations(tabulated, columns, BEST_ROWS, seeds, out)
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
    column = shown_metric(runs, metric) or f"validation_{metric}"
    note = _note(parts, columns, bool(fewer.any())) + _power(parts, column)
    if out:
        note += " Out of the race: one as good as all others is lost with a chance of 5 % at most."
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
    found = {(b["label"], b["configuration"]) for b in parts.choices}
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
        ""
        if not best
        else " Highlighted: the Pareto front."
        if fronts
        else " Highlighted: chosen on validation data, the best of several there and so optimistic."
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


def _power(parts: Parts, column: str) -> str:
    """Say what could have been found between the configurations of a sweep, and between those under fresh seeds."""
    said = [power_between(pd.concat([parts.references, parts.swept]), column)]
    fresh = power_between(parts.chosen, column)
    said += [f"under fresh seeds, {fresh}"] if fresh else []
    return "".join(f" {text[:1].upper()}{text[1:]}." for text in said if text)


def _repeats(runs: pd.DataFrame) -> str:
    splits = split_of(runs).nunique()
    return f"n finished seeds {ONE_SPLIT}" if splits < 2 else "the means of the splits that n finished runs are on"


def difference_blocks(parts: Parts, metric: str) -> list[Block]:
    """Show the paired differences to joint training; nothing where there is no joint training to compare with."""
    rows = parts.compared
    column = shown_metric(rows, metric) if len(rows) else None
    if column is None or parts.baseline.empty:
        return []
    table = differences_to_joint(parts, column)
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
        f"Points of {column.replace('_', ' ')} above joint training under the same splits and seeds. p: of one "
        f"difference alone, with {_repeats(rows)} as blocks and the noise pooled over configurations, where joint "
        "training scatters more than the others with its own; never below Welch's test, which takes the "
        "configuration's own noise. The interval is the wider one of the two. p, all together: Dunnett's test of many "
        "configurations against one, step-down over those that differ, times the datasets, and never below p. "
        f"{power[:1].upper()}{power[1:]}{'. ' if power else ''}Seeds that agree are no proof: the "
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
        note += f" Members are found by means alone.{_front_power(parts, front)}"
        table = Table(headings, rows, set(range(len(members))), note)
        blocks.append(Block(f"Pareto front of {front.label} on {front.dataset}", table=table))
    return blocks


def _front_power(parts: Parts, front: Front) -> str:
    """Say which differences of its objectives could have been found among the compared configurations of a front."""
    compared = front.table.loc[front.table["ranked"], "configuration"]
    rows = parts.swept[parts.swept["label"].eq(front.label) & parts.swept["configuration"].isin(compared)]
    said = [power_between(rows, result_column(each)) for each in front.objectives if each in SHARES]
    return "".join(f" {text[:1].upper()}{text[1:]}." for text in said if text)


def _pareto_row(parts: Parts, front: Front, row: dict[Any, Any], name: str, metric: str | None) -> list[str]:
    values = [value_text(o, row[o], row[f"{o}_high"] - row[o]) for o in front.objectives]
    fresh = parts.reports[parts.reports["configuration"].eq(row["configuration"]) & parts.reports["status"].eq("done")]
    if metric is None:
        return [name, str(row["n"]), *values]
    found = estimate_runs(fresh, metric)
    tested = interval_text(found.mean, found.low, found.high) + (f" (n = {found.n})" if found.n else "")
    return [name, str(row["n"]), *values, tested]
