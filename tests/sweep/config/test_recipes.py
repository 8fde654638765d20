"""Recipes of papers: each can be used, and lies below all that a sweep says itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from support.config_problems import problem_lines

import data
import methods
from sweep.config import Sweep, load
from sweep.config.recipes import PublishedRecipe, published_recipes
from sweep.training.recipe import Recipe

SWEEP = "sweeps: {a: {method: joint, datasets: [digits], recipe: inforeg-2025%s}}"
Real = Callable[..., Sweep]


@pytest.fixture
def real(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Real:
    """Loads the first sweep of a text, over the real methods and datasets."""
    monkeypatch.chdir(tmp_path)

    def real(text: str, *overrides: str) -> Sweep:
        Path("sweeps.yaml").write_text(text, encoding="utf-8")
        return load("sweeps.yaml", None, list(overrides))[0]

    return real


@pytest.mark.parametrize("name", published_recipes())
def test_every_recipe_sets_what_there_is_and_names_its_source(name: str) -> None:
    recipe = published_recipes()[name]
    settings = recipe.settings()
    assert Recipe.model_validate(settings["train"]) == recipe.train
    assert {"optimizer", "lr", "batch_size"} <= settings["train"].keys()
    for dataset, options in recipe.data.items():
        fields = data.get(dataset).Options.model_fields
        assert options.keys() <= fields.keys()
        data.get(dataset).Options.model_validate({"root": "somewhere", **options})
    method, year = name.replace("di-mml", "di_mml").split("-")[:2]
    assert method in {*methods.names(), "mla", "smv"}
    assert year in recipe.source


def test_only_what_was_written_is_set() -> None:
    recipe = PublishedRecipe.model_validate(
        {"title": "t", "source": "s", "train": {"lr": 0.1, "schedule": {"name": "step"}}}
    )
    assert recipe.settings() == {"train": {"lr": 0.1, "schedule": {"name": "step"}}}


def test_a_recipe_lies_below_what_a_sweep_says(real: Real) -> None:
    plain = real(SWEEP % "")
    assert (plain.train["lr"], plain.train["batch_size"], plain.epochs) == (2e-3, 64, 50)
    assert plain.train["schedule"] == {"name": "step", "every": 30}
    own = real(SWEEP % ", train: {lr: 0.5, schedule: {every: 9}}, epochs: 7")
    assert (own.train["lr"], own.train["batch_size"], own.epochs) == (0.5, 64, 7)
    assert own.train["schedule"] == {"name": "step", "every": 9}
    defaults = real(f"defaults: {{train: {{batch_size: 16}}}}\n{SWEEP % ''}")
    assert (defaults.train["batch_size"], defaults.train["lr"]) == (16, 2e-3)
    assert real(SWEEP % "", "train.lr=0.25").train["lr"] == 0.25
    assert real(SWEEP % "", "recipe=olm-2024").train["optimizer"] == "adam"
    assert real(SWEEP % "", "recipe=null").train == {}


def test_only_the_data_of_a_sweeps_own_datasets_are_set(real: Real) -> None:
    assert real(SWEEP % "").data == {}
    found = real("sweeps: {a: {method: joint, datasets: [crema_d], data: {crema_d: {root: x}}, recipe: inforeg-2025}}")
    assert found.data == {"crema_d": {"frames": 3, "root": "x"}}


def test_a_recipe_that_nobody_knows_is_a_mistake(real: Real) -> None:
    text = SWEEP.replace("inforeg-2025", "inforge-2025") % ""
    assert problem_lines(real, text) == [
        "sweeps.yaml:1: sweeps.a.recipe: no recipe called 'inforge-2025'; did you mean inforeg-2025?"
    ]
