"""What a forest says of a search whose truth is known: the value grows by 0.1 a decade of rho, and of nothing else."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from sklearn import ensemble
from support.optuna_studies import random_search

from sweep.analysis import search_effects
from sweep.analysis.search_effects import GRID, Dependence, Step, Values, ablation_path, dependences
from sweep.analysis.search_results import SearchResult, search_results


@pytest.fixture(scope="module")
def search(tmp_path_factory: pytest.TempPathFactory) -> SearchResult:
    (found,) = search_results(random_search(tmp_path_factory.mktemp("search"), 40), "accuracy")
    return found


@pytest.fixture(scope="module")
def found(search: SearchResult) -> list[Dependence]:
    return dependences(search)


@pytest.fixture(scope="module")
def path(search: SearchResult) -> list[Step]:
    return ablation_path(search)


def test_the_hyperparameter_that_matters_has_the_effect(found: list[Dependence]) -> None:
    assert found[0].name == "rho"
    assert found[0].effect == pytest.approx(27, abs=7)  # 2.7 decades, in points; a forest flattens the ends
    assert found[0].effect_low > max(each.effect for each in found[1:])
    assert (found[0].low <= found[0].high).all()
    assert list(found[0].values) == sorted(found[0].values)
    assert {each.name: each.values for each in found}["scope"] == ("head", "all")


def test_the_path_leads_to_the_best_and_changes_what_matters_first(search: SearchResult, path: list[Step]) -> None:
    trials = search.trials("COMPLETE")
    best = max(trials, key=search.value)
    assert path[0].name is None
    assert path[1].name == "rho"
    assert {step.name: step.after for step in path[1:]}["rho"] == best.params["rho"]
    assert path[-1].predicted > path[0].predicted


def test_effects_come_with_intervals_and_know_their_scale(search: SearchResult, found: list[Dependence]) -> None:
    assert {each.name: each.log for each in found} == {"rho": True, "tau": False, "scope": False}
    effects = [each.effect for each in found]
    assert effects == sorted(effects, reverse=True)
    for each in found:
        assert len(each.values) == len(each.mean) == len(each.low) == len(each.high) <= GRID
        assert each.effect == pytest.approx(each.mean.max() - each.mean.min())
        assert each.effect_low <= each.effect_high
    tried = sorted({trial.params["rho"] for trial in search.trials("COMPLETE")})
    looked = found[0].values
    assert (looked[0], looked[-1], len(looked)) == (tried[0], tried[-1], GRID)


def test_the_largest_effect_comes_first(
    search: SearchResult, found: list[Dependence], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"rho": 1.0, "scope": 3.0, "tau": 2.0}
    effect_of = {each.name: replace(each, effect=given[each.name]) for each in found}
    monkeypatch.setattr(search_effects, "_dependence", lambda forests, name: effect_of[name])
    assert [each.name for each in dependences(search)] == ["scope", "tau", "rho"]


def test_each_step_of_the_path_changes_one_hyperparameter_of_the_first_to_that_of_the_best(
    search: SearchResult, path: list[Step]
) -> None:
    trials = search.trials("COMPLETE")
    first, best = trials[0].params, max(trials, key=search.value).params
    start, *steps = path
    assert (start.name, start.before, start.after) == (None, None, None)
    assert {step.name: (step.before, step.after) for step in steps} == {
        name: (first[name], best[name]) for name in first if first[name] != best[name]
    }
    assert len({step.name for step in steps}) == len(steps)


def test_the_path_of_what_is_minimised_leads_down(search: SearchResult) -> None:
    """The same values as seconds: the least of them is the best."""
    down = ablation_path(replace(search, objective="seconds"))
    best = min(search.trials("COMPLETE"), key=search.value)
    assert down[1].name == "rho"
    assert down[1].after == best.params["rho"]
    assert down[1].predicted < down[0].predicted


class Forest:
    """Stands for a forest: what it predicts is the sum of a row's places, times one more than its number."""

    made: ClassVar[list[Forest]] = []

    def __init__(self, trees: int, *, min_samples_leaf: int, random_state: int) -> None:
        self.own, self.number = (trees, min_samples_leaf), random_state
        self.made.append(self)

    def fit(self, rows: Values, values: Values) -> Forest:
        self.rows, self.values = rows, values
        return self

    def predict(self, rows: Values) -> Values:
        return rows.sum(1) * (1 + self.number)


def test_twenty_forests_of_resamples_give_the_intervals_of_the_one_of_all_trials(
    search: SearchResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ensemble, "RandomForestRegressor", Forest)
    monkeypatch.setattr(Forest, "made", [])
    found = {each.name: each for each in dependences(search)}
    trials = search.trials("COMPLETE")
    places = {
        "rho": [math.log(trial.params["rho"]) for trial in trials],
        "tau": [trial.params["tau"] for trial in trials],
        "scope": [1.0] * len(trials),
    }
    assert [forest.own for forest in Forest.made] == [(20, 2)] * 21
    assert [forest.number for forest in Forest.made] == list(range(21))
    whole = np.sum([places[name] for name in places], axis=0)
    assert Forest.made[0].rows.sum(1) == pytest.approx(whole)
    assert Forest.made[0].values.tolist() == [search.value(trial) for trial in trials]
    draw = np.random.default_rng(0).integers(len(trials), size=(20, len(trials)))
    for forest, rows in zip(Forest.made[1:], draw, strict=True):
        assert forest.rows.sum(1) == pytest.approx(whole[rows])
        assert forest.values == pytest.approx(Forest.made[0].values[rows])
    for name, at in (("rho", math.log), ("tau", float)):
        each = found[name]
        others = np.mean(whole) - np.mean(places[name])
        mean = np.array([at(value) for value in each.values]) + others
        replicas = np.arange(2, 22)[:, None] * mean
        assert each.mean == pytest.approx(mean)
        assert each.low == pytest.approx(np.quantile(replicas, 0.025, axis=0))
        assert each.high == pytest.approx(np.quantile(replicas, 0.975, axis=0))
        assert each.effect == pytest.approx(mean[-1] - mean[0])
        ends = np.quantile(np.arange(2, 22) * each.effect, (0.025, 0.975))
        assert (each.effect_low, each.effect_high) == pytest.approx(tuple(ends))
    assert found["scope"].effect == 0
    first, *steps = ablation_path(search)
    start = trials[0].params
    assert first.predicted == pytest.approx(math.log(start["rho"]) + start["tau"] + 1)
    assert steps[-1].predicted == pytest.approx(whole[np.argmax([search.value(trial) for trial in trials])])


def test_few_trials_say_nothing(tmp_path: Path) -> None:
    (search,) = search_results(random_search(tmp_path, 8), "accuracy")
    assert dependences(search) == ablation_path(search) == []
