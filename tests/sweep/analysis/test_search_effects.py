"""What a forest says of a search whose truth is known: the value grows by 0.1 a decade of rho, and of nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.optuna_studies import random_search

from sweep.analysis.search_effects import ablation_path, dependences
from sweep.analysis.search_results import search_results


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_search(tmp_path_factory.mktemp("search"), 40)


def test_the_hyperparameter_that_matters_has_the_effect(folder: Path) -> None:
    (search,) = search_results(folder, "accuracy")
    found = dependences(search)
    assert found[0].name == "rho"
    assert found[0].effect == pytest.approx(27, abs=7)  # 2.7 decades, in points; a forest flattens the ends
    assert found[0].effect_low > max(each.effect for each in found[1:])
    assert (found[0].low <= found[0].high).all()
    assert list(found[0].values) == sorted(found[0].values)
    assert {each.name: each.values for each in found}["scope"] == ("head", "all")


def test_the_path_leads_to_the_best_and_changes_what_matters_first(folder: Path) -> None:
    (search,) = search_results(folder, "accuracy")
    path = ablation_path(search)
    trials = search.trials("COMPLETE")
    best = max(trials, key=search.value)
    assert path[0].name is None
    assert path[1].name == "rho"
    assert {step.name: step.after for step in path[1:]}["rho"] == best.params["rho"]
    assert path[-1].predicted > path[0].predicted


def test_few_trials_say_nothing(tmp_path: Path) -> None:
    (search,) = search_results(random_search(tmp_path, 8), "accuracy")
    assert dependences(search) == ablation_path(search) == []
