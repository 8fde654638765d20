"""Objectives of a sweep: which way each of them is better, and which configurations none beats."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Literal

from sweep.config.schema import Objective, Sweep
from sweep.runs.records import FinalRecord

Direction = Literal["maximize", "minimize"]

DIRECTIONS: dict[Objective, Direction] = {
    "accuracy": "maximize",
    "map": "maximize",
    "macro_f1": "maximize",
    "imbalance": "minimize",
    "forward_passes": "minimize",
    "seconds": "minimize",
    "peak_memory_mib": "minimize",
}
"""Which way each objective is better, in Optuna's words."""

_RECORDED = ("forward_passes", "seconds", "peak_memory_mib")
"""Objectives that a run's record holds itself; the others are validation metrics."""


def objectives(sweep: Sweep) -> list[Objective]:
    """List what a sweep looks for: the objectives of its search, else its metric alone."""
    return list(sweep.search.objectives) if sweep.search and sweep.search.objectives else [sweep.metric]


def directions(names: Iterable[Objective]) -> list[Direction]:
    return [DIRECTIONS[name] for name in names]


def result_column(objective: Objective) -> str:
    """Name the column of a table of results that holds an objective: never one of the test split."""
    return objective if objective in _RECORDED else f"validation_{objective}"


def objective_value(final: FinalRecord, objective: Objective) -> float:
    """Read an objective off one finished run."""
    return float(getattr(final, objective) if objective in _RECORDED else final.metrics[result_column(objective)])


def mean_values(outcomes: Iterable[FinalRecord], names: Sequence[Objective], seeds: int) -> list[float] | None:
    """Average each objective over exactly ``seeds`` finished seeds, else None, also where one is not finite: means over
    different numbers of seeds are never compared."""
    finished = [final for final in outcomes if final.status == "done"]
    if len(finished) != seeds:
        return None
    means = [sum(objective_value(final, name) for final in finished) / seeds for name in names]
    return means if all(map(math.isfinite, means)) else None


def pareto_front(values: Sequence[Sequence[float]], directions: Sequence[Direction]) -> list[int]:
    """List the positions of the values that no other one beats, in their order: another one beats them that is at least
    as good in every direction and better in one. Of exact ties the first alone. With one direction: the best."""
    signs = [1.0 if direction == "maximize" else -1.0 for direction in directions]
    rows = [tuple(sign * number for sign, number in zip(signs, row, strict=True)) for row in values]
    first = {row: position for position, row in reversed(list(enumerate(rows)))}
    front: list[tuple[float, ...]] = []
    # Whatever beats a row comes before it in this order.
    for row in sorted(first, reverse=True):
        if not any(all(a >= b for a, b in zip(other, row, strict=True)) for other in front):
            front.append(row)
    return sorted(first[row] for row in front)
