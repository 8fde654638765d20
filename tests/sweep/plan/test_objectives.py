"""Which way is better, and which configurations none beats."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as some

from sweep.config.schema import MethodSpec, Objective, SearchSpec, Sweep
from sweep.plan.objectives import (
    DIRECTIONS,
    directions,
    mean_values,
    objective_value,
    objectives,
    pareto_front,
    result_column,
)
from sweep.runs.records import FinalRecord


def test_every_objective_of_the_schema_has_a_direction_and_a_column_of_the_validation_split() -> None:
    assert set(DIRECTIONS) == set(get_args(Objective))
    assert [result_column(name) for name in DIRECTIONS] == [
        "validation_accuracy", "validation_map", "validation_macro_f1", "validation_imbalance",
        "forward_passes", "seconds", "peak_memory_mib",
    ]  # fmt: skip


def test_fewer_seconds_are_better_and_more_accuracy_is() -> None:
    assert directions(["seconds", "map", "forward_passes"]) == ["minimize", "maximize", "minimize"]
    assert directions(["accuracy", "macro_f1", "imbalance", "peak_memory_mib"]) == ["maximize"] * 2 + ["minimize"] * 2


def test_a_sweep_looks_for_what_its_search_says_else_for_its_metric() -> None:
    def looked_for(**keys: Any) -> list[Objective]:
        return objectives(
            Sweep(name="s", methods=[MethodSpec(method="joint", label="joint")], datasets=["toy"], metric="map", **keys)
        )

    assert looked_for() == ["map"]
    search: dict[str, Any] = {"algorithm": "random", "configurations": 2}
    assert looked_for(search=SearchSpec(**search)) == ["map"]
    assert looked_for(search=SearchSpec(**search, objectives=["map", "seconds"])) == ["map", "seconds"]


def test_objectives_are_read_from_the_record_of_a_run() -> None:
    metrics = {f"validation_{name}": 0.1 * n for n, name in enumerate(("accuracy", "map", "macro_f1", "imbalance"))}
    final = FinalRecord(status="done", metrics=metrics, forward_passes=5.0, seconds=6.0, peak_memory_mib=7.0)
    assert [objective_value(final, name) for name in DIRECTIONS] == pytest.approx([0, 0.1, 0.2, 0.3, 5, 6, 7])


def test_means_over_different_numbers_of_seeds_are_never_compared() -> None:
    done = [FinalRecord(status="done", metrics={"validation_accuracy": v}, seconds=v) for v in (0.2, 0.4)]
    assert mean_values(done, ["accuracy", "seconds"], 2) == pytest.approx([0.3, 0.3])
    assert mean_values(done, ["accuracy"], 3) is None
    assert mean_values([*done, FinalRecord(status="diverged")], ["accuracy"], 3) is None
    spoilt = FinalRecord(status="done", metrics={"validation_accuracy": float("nan")})
    assert mean_values([*done, spoilt], ["accuracy"], 3) is None
    assert mean_values([*done, spoilt], ["accuracy", "seconds"], 3) is None


def test_a_front_by_hand() -> None:
    rows = [(0.9, 5), (0.8, 2), (0.9, 5), (0.7, 3), (0.6, 1), (0.9, 6), (0.5, 1)]
    assert pareto_front(rows, ["maximize", "minimize"]) == [0, 1, 4]
    assert pareto_front(rows, ["maximize", "maximize"]) == [5]
    assert pareto_front([(0.5,), (0.7,), (0.7,)], ["maximize"]) == [1]
    assert pareto_front([(0.6, 1), (0.8, 2)], ["maximize", "minimize"]) == [0, 1]  # in their own order
    assert pareto_front([], ["maximize"]) == []


@given(some.lists(some.tuples(some.integers(0, 4), some.integers(0, 4), some.integers(0, 4)), max_size=12))
def test_a_front_is_what_none_beats_and_beats_all_else(rows: list[tuple[int, int, int]]) -> None:
    front = pareto_front(rows, ["maximize", "minimize", "maximize"])
    signed = [(a, -b, c) for a, b, c in rows]

    def beats(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
        return one != other and all(x >= y for x, y in zip(one, other, strict=True))

    for position, row in enumerate(signed):
        beaten = any(beats(other, row) for other in signed)
        assert (position in front) is (not beaten and row not in signed[:position])
