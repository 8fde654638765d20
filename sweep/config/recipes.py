"""Recipes of papers, by name: values for ``train``, ``epochs`` and ``data`` that lie below what a sweep says itself.

They are declared in ``recipes.yaml`` beside this module."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from sweep.config.problems import Place, Problem, nearest
from sweep.config.yaml_lines import LocatedMapping, parse
from sweep.training.recipe import Recipe


class PublishedRecipe(BaseModel):
    """The settings of a paper's training that its ``source`` states. data: dataset -> options."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    title: str = Field(min_length=1)
    source: str = Field(min_length=1)
    train: Recipe
    epochs: int | None = Field(None, ge=1)
    data: dict[str, dict[str, Any]] = {}

    def settings(self) -> dict[str, Any]:
        """Give the values that the source states, by the keys of a sweep."""
        found: dict[str, Any] = {"train": self.train.model_dump(exclude_unset=True)}
        return found | self.model_dump(include={"epochs", "data"}, exclude_unset=True)


@cache
def published_recipes() -> Mapping[str, PublishedRecipe]:
    """Read all of them, by name."""
    text = files(__package__).joinpath("recipes.yaml").read_text(encoding="utf-8")
    values, _ = parse(text, lambda path, line: Place("recipes.yaml", line, ""))
    return {name: PublishedRecipe.model_validate(recipe) for name, recipe in values.items()}


def recipe_layer(written: LocatedMapping) -> tuple[LocatedMapping, list[Problem]]:
    """Give the values of the recipe that a sweep names, of ``data`` those of its datasets; nothing where it names none.
    Also return what is wrong with the name."""
    name = written.values.get("recipe")
    if not isinstance(name, str):
        return LocatedMapping({}), []
    known = published_recipes()
    if name not in known:
        hint = nearest(name, known) or "see: python -m sweep list recipes"
        return LocatedMapping({}), [written.problem(("recipe",), f"no recipe called {name!r}", hint)]
    values, datasets = known[name].settings(), written.values.get("datasets")
    used = datasets if isinstance(datasets, list) else []
    values["data"] = {dataset: options for dataset, options in values.get("data", {}).items() if dataset in used}
    return LocatedMapping(values, {(): Place(f"recipe {name}", None, "")}), []
