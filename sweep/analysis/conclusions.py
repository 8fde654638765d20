"""Conclusions in plain sentences: sensitivity, a search's choice, Pareto fronts, differences to joint training."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import pandas as pd

from sweep.analysis.differences import differences, power_between, power_text
from sweep.analysis.fronts import Front, objective_label, value_text
from sweep.analysis.many_to_one import least_p
from sweep.analysis.parts import (
    Parts,
    by_split,
    chosen_run,
    configuration_name,
    rows_of_each_choice,
    selection_metric,
    shown_metric,
)
from sweep.analysis.replicates import repeats_text, splits_text
from sweep.analysis.sensitivity import Sensitivity, sensitivity
from sweep.analysis.statistics import estimate_runs, holm, interval_text, per_cent, split_of
from sweep.analysis.two_way import SIGNIFICANCE


def conclusions(parts: Parts, fronts: Sequence[Front] = ()) -> list[str]:
    """Draw conclusions from the parts of a sweep.

    They name the sensitivity of each varied hyperparameter against seed noise, the chosen configuration or the Pareto
    front, and the differences to joint training that exceed chance."""
    found: list[tuple[str, Sensitivity]] = []
    for grid in parts.grids:
        for axis in grid.axes:
            rows = grid.through([axis.column])
            column = shown_metric(rows, selection_metric(rows).removeprefix("validation_"))
            for name, part in rows.groupby("dataset", sort=False):
                if column:
                    judged = sensitivity(part, axis.column, column, selection_metric(rows))
                    found.append((f"{grid.label}, {axis.label} on {name}", judged))
    corrected = holm([each.p for _, each in found])
    family = sum(not math.isnan(p) for p in corrected)
    sentences = [f"{name}: {each.verdict(p, family)}" for (name, each), p in zip(found, corrected, strict=True)]
    sentences += [_front_sentence(front) for front in fronts]
    sentences += [] if fronts else _choice_sentences(parts)
    compared = parts.compared
    column = shown_metric(compared, selection_metric(compared).removeprefix("validation_")) if len(compared) else None
    if column and len(parts.baseline):
        sentences += _comparison_sentences(differences_to_joint(parts, column))
    return sentences


def _comparison_sentences(table: pd.DataFrame) -> list[str]:
    """Say which rows of :func:`differences_to_joint` differ from joint training beyond chance, and with how many seeds;
    nothing where none has two. One that lost seeds is not claimed: those that survive are no fair sample."""
    table = table[table["n"] > 1]
    if table.empty:
        return []
    over = repeats_text(table["repeats"], table["splits"])
    lossy = table[table["lost"] > 0]
    few = table[least_p(table["repeats"]) * table["comparisons"] >= SIGNIFICANCE].drop(lossy.index, errors="ignore")
    judged = table.drop(few.index).drop(lossy.index)
    apart = judged[judged["p_adjusted"] < SIGNIFICANCE]
    above, below = apart[apart["mean"] > 0], apart[apart["mean"] < 0]
    words = [f"{len(p)} {word} ({_differences_text(p)})" for word, p in (("better", above), ("worse", below)) if len(p)]
    outcomes = [(" and ".join(words) if words else "none different") + " beyond chance"] if len(judged) else []
    if len(few):
        which = "none" if few.index.equals(table.index) else f"{len(few)}"
        outcomes.append(f"{which} can be judged" if which == "none" else f"{which} cannot be judged")
        what = "splits" if few["splits"].max() > 1 else "seeds"
        outcomes[-1] += f": {few['repeats'].max()} {what} are too few for so many comparisons"
    if len(lossy):
        outcomes.append(f"{len(lossy)} not claimed, for seeds were lost ({_losses_text(lossy)})")
    for dataset, part in table[table["baseline_lost"] > 0].groupby("dataset", sort=False):
        lost = part["baseline_lost"].iloc[0]
        seeds_lost = "1 seed" if lost == 1 else f"{lost} seeds"
        outcomes.append(f"on {dataset} joint training itself lost {seeds_lost}, which no difference counts")
    subject = "configuration" if len(table) == 1 else "configurations"
    text = f"Of {len(table)} {subject} compared with joint training over common seeds, {'; '.join(outcomes)}"
    if len(judged):
        text += f"; {power_text(judged)}"
    return [f"{text} (Dunnett's test over {over}, as blocks, 5 % for all of them together)."]


def _front_sentence(front: Front) -> str:
    members, compared = front.table[front.table["front"]], int(front.table["ranked"].sum())
    reach = [
        f"{objective_label(o)} from {value_text(o, members[o].min())} to {value_text(o, members[o].max())}"
        for o in front.objectives
    ]
    text = f"{front.label} on {front.dataset}: {len(members)} of {compared} configurations with all seeds are beaten by"
    return f"{text} none; on that front {', '.join(reach)}." if compared else f"{text} none."


def _differences_text(table: pd.DataFrame) -> str:
    names = [
        f"{name_with_role(r)} {points_text(r['mean'])} on {r['dataset']}" for r in table.head(5).to_dict("records")
    ]
    return "; ".join(names) + ("; ..." if len(table) > 5 else "")


def _losses_text(table: pd.DataFrame) -> str:
    names = [
        f"{name_with_role(r)} on {r['dataset']}: {r['lost']} of {r['seeds']}" for r in table.head(5).to_dict("records")
    ]
    return "; ".join(names) + ("; ..." if len(table) > 5 else "")


def _choice_sentences(parts: Parts) -> list[str]:
    """Say of each label and dataset what was chosen, and which difference would have been found: once of all choices of
    which the same is true."""
    said = []
    for (label, dataset), rows in parts.swept.groupby(["label", "dataset"], sort=False):
        if rows["configuration"].nunique() > 1:
            text = _choice_text(parts, str(label), str(dataset), rows)
            said.append((text, power_between(rows, selection_metric(rows))))
    times = Counter(power for _, power in said)
    own = [
        f"{text}. {power[:1].upper()}{power[1:]}." if power and times[power] == 1 else f"{text}."
        for text, power in said
    ]
    of_several = [f"In each of {count} choices: {power}." for power, count in times.items() if power and count > 1]
    return own + of_several


def _choice_text(parts: Parts, label: str, dataset: str, rows: pd.DataFrame) -> str:
    """Say what was chosen of the configurations of one label on one dataset, on each split, and what it reaches under
    fresh seeds: the validation mean of a choice is the best of several."""
    metric, several = selection_metric(rows), by_split(rows)
    found = [(best, part) for part in several if (best := chosen_run(part)) is not None]
    searched = rows["number"].notna().any()
    if not found:
        return f"{label} on {dataset}: no {'searched ' if searched else ''}configuration has finished"
    choices, fresh = list[str](), parts.reports.iloc[:0]
    for best, part in found:
        mine = part[part["configuration"].eq(best["configuration"])]
        where = f" (split {best['split']:g})" if len(several) > 1 else ""
        choices.append(f"{best['point']} with {per_cent(estimate_runs(mine, metric).mean)} % on validation{where}")
        alike = parts.reports["label"].eq(label) & parts.reports["configuration"].eq(best["configuration"])
        same = split_of(parts.reports).eq(split_of(part).iloc[0]) & parts.reports["status"].eq("done")
        fresh = pd.concat([fresh, parts.reports[alike & same]])
    counts = sorted({part["configuration"].nunique() for part in several})
    of = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    text = f"{label} on {dataset}: {'the search' if searched else 'validation'} chose {'; '.join(choices)}"
    text += f", the best of {of} and so optimistic" if len(several) == 1 else f"; these are the best of {of} each"
    column = shown_metric(fresh, metric.removeprefix("validation_")) if len(fresh) else None
    if column is None:
        text += "; it has no finished run under fresh seeds (report_seeds asks for them)"
    else:
        tested = estimate_runs(fresh, column)
        seeds = "1 fresh seed" if tested.n == 1 else f"{fresh['seed'].nunique()} fresh seeds"
        reached = f"{interval_text(tested.mean, tested.low, tested.high)} % ({column.replace('_', ' ')})"
        text += f"; under {seeds} {splits_text(tested.splits)} it reaches {reached}"
    return text


@lru_cache(maxsize=1)
def differences_to_joint(parts: Parts, column: str) -> pd.DataFrame:
    """Compare what is to be compared, and the other references, with joint training over common seeds, a row a
    configuration: once a report, whose table and conclusions both tell it."""
    rows = parts.compared
    own = {*parts.baseline["label"]}
    others = rows_of_each_choice(parts.references[~parts.references["label"].isin(own)])
    others = others[~others["hash"].isin(rows["hash"])]
    return differences(pd.concat([rows, others]), parts.baseline, column, ["label", "point", "role"])


def name_with_role(row: dict[Any, Any]) -> str:
    """Name a configuration, and say where it is a reference or was trained under report seeds."""
    role = {"reference": " (reference)", "report": " (fresh seeds)"}.get(row["role"], "")
    return configuration_name(row) + role


def points_text(value: float) -> str:
    """Write a difference of shares in points, with its sign."""
    return "–" if pd.isna(value) else f"{100 * value:+.2f}"
