"""Which weights stay: those of the best configuration, of none, of all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
from support.small_runs import make_plan

from sweep.engine.weights_kept import WeightsKeeper
from sweep.plan.configurations import Role
from sweep.runs.identity import run_hash
from sweep.runs.records import FinalRecord
from sweep.runs.store import Store

Keep = Literal["none", "best", "all"]


def kept(folder: Path, keep: Keep, values: dict[float, float], elsewhere: tuple[float, ...] = ()) -> set[float]:
    """Which values of alpha still have weights after their configurations ended in this order with these accuracies;
    those ``elsewhere`` were trained by an earlier sweep."""
    store, plan = Store(folder), make_plan(folder, keep=keep, vary={"alpha": {"grid": list(values)}})
    keeper = WeightsKeeper(store, plan.sweep)
    paths = {}
    for configuration in plan.studies[0].configurations:
        alpha = configuration.values["alpha"]
        hashes = [run_hash(run) for run in configuration.runs(plan.seeds)]
        for each in hashes:
            path = store.run(each).path / "weights.safetensors"
            path.parent.mkdir(parents=True)
            path.touch()
            paths.setdefault(alpha, []).append(path)
        final = FinalRecord(status="done", metrics={"validation_accuracy": values[alpha]})
        keeper.ended(configuration, [] if alpha in elsewhere else hashes, dict.fromkeys(plan.seeds, final))
    return {alpha for alpha, found in paths.items() if all(path.exists() for path in found)}


@pytest.mark.parametrize(("keep", "expected"), [("none", set()), ("best", {0.5}), ("all", {0.1, 0.5, 0.9})])
def test_what_stays(tmp_path: Path, keep: Keep, expected: set[float]) -> None:
    assert kept(tmp_path, keep, {0.1: 0.6, 0.5: 0.8, 0.9: 0.7}) == expected


def test_weights_that_another_sweep_trained_stay_and_count_as_best(tmp_path: Path) -> None:
    assert kept(tmp_path, "best", {0.1: 0.9, 0.5: 0.8}, elsewhere=(0.1,)) == {0.1}
    assert kept(tmp_path / "worse", "best", {0.1: 0.7, 0.5: 0.8}, elsewhere=(0.1,)) == {0.1, 0.5}


@pytest.mark.parametrize(
    ("role", "status", "keep", "stay"),
    [
        ("sweep", "done", "best", True),
        ("sweep", "failed", "best", False),
        ("reference", "done", "best", False),
        ("reference", "done", "all", True),
        ("report", "done", "best", True),
        ("report", "done", "none", True),
    ],
)
def test_beside_the_best_those_of_the_report_stay_and_no_reference(
    tmp_path: Path, role: Role, status: str, keep: Keep, stay: bool
) -> None:
    store, plan = Store(tmp_path), make_plan(tmp_path, keep=keep, seeds=[0])
    configuration = replace(plan.studies[0].configurations[0], role=role)
    weights = store.run("0123").path / "weights.safetensors"
    weights.parent.mkdir(parents=True)
    weights.touch()
    final = FinalRecord(status=status, metrics={"validation_accuracy": 0.5})  # type: ignore[arg-type]
    WeightsKeeper(store, plan.sweep).ended(configuration, ["0123"], {0: final})
    assert weights.exists() is stay


def test_with_several_objectives_the_weights_of_the_front_stay(tmp_path: Path) -> None:
    vary = {"alpha": {"uniform": [0.1, 0.9]}}
    search = {"algorithm": "nsga2", "configurations": 4, "objectives": ["accuracy", "seconds"]}
    store, plan = Store(tmp_path), make_plan(tmp_path, vary=vary, search=search, seeds=[0])
    keeper, paths = WeightsKeeper(store, plan.sweep), []
    for number, (accuracy, seconds) in enumerate([(0.5, 5), (0.6, 6), (0.7, 4), (0.9, 9)]):
        configuration = plan.studies[0].configuration({"alpha": 0.1 + number / 10})
        (run,) = configuration.runs([0])
        paths.append(store.run(run_hash(run)).path / "weights.safetensors")
        paths[-1].parent.mkdir(parents=True)
        paths[-1].touch()
        final = FinalRecord(status="done", metrics={"validation_accuracy": accuracy}, seconds=seconds)
        keeper.ended(configuration, [run_hash(run)], {0: final})
    assert [path.exists() for path in paths] == [False, False, True, True]
