"""What a forest says of a search whose truth is known: the value grows by 0.1 a decade of rho, and of nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from support.optuna_studies import random_search

from sweep.analysis import search_effects
from sweep.analysis.search_effects import GRID, Dependence, Step, ablation_path, dependences
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


def test_few_trials_say_nothing(tmp_path: Path) -> None:
    (search,) = search_results(random_search(tmp_path, 8), "accuracy")
    assert dependences(search) == ablation_path(search) == []
