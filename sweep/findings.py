"""What a sweep shows, in plain sentences: sensitivity against seed noise, the search's choice, differences to joint
training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from sweep.pareto import Front, objective_label, shown
from sweep.shape import Shape, chosen, name_of, selection, shown_metric
from sweep.statistics import differences, estimate, per_cent, sensitivity


def findings(shape: Shape, fronts: Sequence[Front] = ()) -> list[str]:
    """Plain sentences: sensitivity of each varied hyperparameter against seed noise, the chosen configuration or the
    Pareto front, and which differences to joint training exceed chance."""
    sentences = []
    for grid in shape.grids:
        for axis in grid.axes:
            rows = grid.through([axis.column])
            column = shown_metric(rows, selection(rows).removeprefix("validation_"))
            for name, part in rows.groupby("dataset", sort=False):
                if column:
                    sentences.append(
                        f"{grid.label}, {axis.label} on {name}: {sensitivity(part, axis.column, column).verdict()}"
                    )
    sentences += [_front_finding(front) for front in fronts]
    for (label, searched), rows in shape.searched.groupby(["label", "dataset"], sort=False):
        if not fronts:
            sentences += _search_finding(shape, str(label), str(searched), rows)
    compared = rows_to_compare(shape)
    column = shown_metric(compared, selection(compared).removeprefix("validation_")) if len(compared) else None
    if column and len(shape.baseline):
        table = differences_to_joint(shape, compared, column)
        table = table[table["n"] > 1]
        above, below = (table[(table["p_holm"] < 0.05) & side] for side in (table["mean"] > 0, table["mean"] < 0))
        words = [f"{len(p)} {word} ({_listed(p)})" for word, p in (("better", above), ("worse", below)) if len(p)]
        outcome = " and ".join(words) if words else "none different"
        if len(table):
            subject = "configuration" if len(table) == 1 else "configurations"
            text = f"Of {len(table)} {subject} compared with joint training over common seeds, {outcome} beyond chance"
            sentences.append(f"{text} (paired t tests, Holm-corrected, 5 %).")
    return sentences


def _front_finding(front: Front) -> str:
    members, compared = front.table[front.table["front"]], int(front.table["ranked"].sum())
    reach = [
        f"{objective_label(o)} from {shown(o, members[o].min())} to {shown(o, members[o].max())}"
        for o in front.objectives
    ]
    text = f"{front.label} on {front.dataset}: {len(members)} of {compared} configurations with all seeds are beaten by"
    return f"{text} none; on that front {', '.join(reach)}." if compared else f"{text} none."


def _listed(table: pd.DataFrame) -> str:
    names = [f"{called(r)} {points(r['mean'])} on {r['dataset']}" for r in table.head(5).to_dict("records")]
    return "; ".join(names) + ("; ..." if len(table) > 5 else "")


def _search_finding(shape: Shape, label: str, dataset: str, rows: pd.DataFrame) -> list[str]:
    best, metric = chosen(rows), selection(rows)
    if best is None:
        return [f"{label} on {dataset}: no searched configuration has finished."]
    mine = rows[rows["configuration"].eq(best["configuration"]) & rows["status"].eq("done")]
    reached = estimate(mine[metric])
    text = f"{label} on {dataset}: the search chose {best['point']} with {per_cent(reached.mean)} % on validation"
    text += ", a maximum and so optimistic"
    alike = shape.reports["label"].eq(label) & shape.reports["configuration"].eq(best["configuration"])
    fresh = shape.reports[alike & shape.reports["status"].eq("done")]
    column = shown_metric(fresh, metric.removeprefix("validation_")) if len(fresh) else None
    if column is None:
        return [f"{text}; it has not been trained under fresh seeds yet."]
    found = estimate(fresh[column])
    return [
        f"{text}; under {found.n} fresh seeds it reaches {per_cent(found.mean, found.high - found.mean)} % "
        f"({column.replace('_', ' ')})."
    ]


def rows_to_compare(shape: Shape) -> pd.DataFrame:
    """Everything that is compared with joint training: planned configurations and report seeds, but joint itself."""
    rows = pd.concat([shape.planned, shape.reports])
    return rows[~rows["hash"].isin(shape.baseline["hash"])]


def differences_to_joint(shape: Shape, rows: pd.DataFrame, column: str) -> pd.DataFrame:
    others = shape.references[~shape.references["hash"].isin({*shape.baseline["hash"], *rows["hash"]})]
    return differences(pd.concat([rows, others]), shape.baseline, column, ["label", "point", "role"])


def called(row: dict[Any, Any]) -> str:
    role = {"reference": " (reference)", "report": " (fresh seeds)"}.get(row["role"], "")
    return name_of(row) + role


def points(value: float) -> str:
    return "–" if pd.isna(value) else f"{100 * value:+.2f}"
