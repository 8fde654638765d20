"""The searcher around Optuna: told once a configuration, duplicates for free, resumed without losing a proposal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState
from samples import make_plan

from methods.hyperparameters import Choice, Integer, LogUniform, Uniform
from sweep.engine.agenda import Nothing
from sweep.engine.search import Search, distribution, open_storage
from sweep.plan import Configuration
from sweep.records import FinalRecord

SPACE = {"alpha": {"uniform": [0.1, 0.9]}, "train.lr": {"loguniform": [0.001, 0.3]}}
ALGORITHMS = ["random", "tpe", "gp", "cmaes", "qmc", "nsga2"]


def make_search(folder: Path, algorithm: str = "tpe", configurations: int = 6, **keys: Any) -> Search:
    spec = {"algorithm": algorithm, "configurations": configurations}
    planned = make_plan(folder, **{"vary": SPACE, "search": spec, "report_seeds": [], **keys})
    assert planned.sweep.search
    storage = open_storage(folder / "study.journal")
    return Search(planned.studies[0], planned.sweep.search, "accuracy", len(planned.seeds), storage)


def outcomes(value: float, status: str = "done") -> dict[int, FinalRecord]:
    final = FinalRecord(status=status, metrics={"validation_accuracy": value})  # type: ignore[arg-type]
    return {0: final, 1: final}


def objective(configuration: Configuration) -> float:
    return 1 - abs(configuration.values["alpha"] - 0.4)


def finish(search: Search) -> list[Configuration]:
    proposed = []
    while isinstance(configuration := search.propose(), Configuration):
        proposed.append(configuration)
        search.tell(configuration, outcomes(objective(configuration)))
    assert configuration is Nothing.EVER
    return proposed


def study(folder: Path) -> optuna.Study:
    return optuna.load_study(study_name="s/iprm/digits", storage=open_storage(folder / "study.journal"))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_algorithm_proposes_within_the_space_and_is_told_every_value(tmp_path: Path, algorithm: str) -> None:
    proposed = finish(make_search(tmp_path, algorithm))
    assert len({c.key for c in proposed}) == 6
    for configuration in proposed:
        assert 0.1 <= configuration.values["alpha"] <= 0.9
        assert 0.001 <= configuration.template.train.lr <= 0.3
        assert configuration.template.hyperparameters["alpha"] == configuration.values["alpha"]
    trials = study(tmp_path).trials
    assert [t.state for t in trials] == [TrialState.COMPLETE] * 6
    assert [t.value for t in trials] == [objective(c) for c in proposed]
    assert [c.number for c in proposed] == list(range(6))


def test_the_declared_defaults_are_tried_first(tmp_path: Path) -> None:
    first = finish(make_search(tmp_path))[0]
    assert first.values == {"alpha": 0.8, "train.lr": first.template.train.lr}
    assert first.template.train.lr == make_plan(tmp_path).studies[0].configurations[0].template.train.lr


@pytest.mark.parametrize("algorithm", ["random", "tpe", "qmc"])
def test_an_interrupted_search_proposes_what_an_uninterrupted_one_does(tmp_path: Path, algorithm: str) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    whole.mkdir()
    parts.mkdir()
    expected = [c.key for c in finish(make_search(whole, algorithm))]
    search, seen = make_search(parts, algorithm), []
    for _ in range(2):
        configuration = search.propose()
        assert isinstance(configuration, Configuration)
        search.tell(configuration, outcomes(objective(configuration)))
        seen.append(configuration.key)
    lost = search.propose()
    assert isinstance(lost, Configuration)

    resumed = make_search(parts, algorithm)
    again = finish(resumed)
    # What was told before is proposed again first, to be answered by the store; what was lost follows.
    assert [c.key for c in again] == expected
    assert again[2].key == lost.key
    assert len(study(parts).trials) == 6


def test_duplicates_are_answered_by_the_configuration_they_repeat(tmp_path: Path) -> None:
    search = make_search(tmp_path, "random", configurations=10, vary={"alpha": {"choice": [0.2, 0.5]}})
    first, second = search.propose(), search.propose()
    assert isinstance(first, Configuration)
    assert isinstance(second, Configuration)
    assert first.key != second.key
    assert search.propose() is Nothing.YET
    for configuration in (first, second):
        search.tell(configuration, outcomes(objective(configuration)))
    assert search.propose() is Nothing.EVER
    trials = study(tmp_path).trials
    assert all(t.state == TrialState.COMPLETE for t in trials)
    assert {(t.params["alpha"], t.value) for t in trials} == {
        (c.values["alpha"], objective(c)) for c in (first, second)
    }


def test_pruned_and_failed_configurations_are_told_as_such(tmp_path: Path) -> None:
    search = make_search(tmp_path, configurations=3)
    for status in ("pruned", "failed", "done"):
        configuration = search.propose()
        assert isinstance(configuration, Configuration)
        search.tell(configuration, outcomes(0.5, status))
    assert [t.state for t in study(tmp_path).trials] == [TrialState.PRUNED, TrialState.FAIL, TrialState.COMPLETE]


def test_a_changed_space_keeps_the_proposals_inside_it(tmp_path: Path) -> None:
    before = finish(make_search(tmp_path))
    narrow = {"alpha": {"uniform": [0.1, 0.5]}, "train.lr": {"loguniform": [0.001, 0.3]}}
    search = make_search(tmp_path, vary=narrow)
    kept = [c for c in before if c.values["alpha"] <= 0.5]
    assert len(study(tmp_path).trials) == len(kept)
    assert [c.key for c in finish(search)][: len(kept)] == [c.key for c in kept]


def test_distributions() -> None:
    assert distribution(Uniform(0.0, 1.0)) == optuna.distributions.FloatDistribution(0.0, 1.0)
    assert distribution(LogUniform(0.1, 1.0)) == optuna.distributions.FloatDistribution(0.1, 1.0, log=True)
    assert distribution(Integer(1, 8, log=True)) == optuna.distributions.IntDistribution(1, 8, log=True)
    assert distribution(Choice(("a", None, [1, 2]))) == optuna.distributions.CategoricalDistribution(
        ("a", None, "[1, 2]")
    )
