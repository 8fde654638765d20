"""Tables of all that there is to choose from: methods, datasets, encoders, recipes, sweeps, hyperparameters.

They are read off declarations alone."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from rich.table import Table

import data
import methods
from data.base import USUAL_ENCODERS, Corruption, DatasetOptions
from methods.base import Method
from methods.base.hyperparameters import (
    Choice,
    Declared,
    Integer,
    LogUniform,
    SearchRange,
    Uniform,
    declared,
)
from models import encoders
from sweep.config import Recipe, load
from sweep.config.conditions import values_under
from sweep.config.problems import require_name
from sweep.config.recipes import PublishedRecipe, published_recipes
from sweep.results.tables import index_entries
from sweep.runs.code_changes import earlier_runs
from sweep.runs.store import Store
from sweep.storage.remote import is_uri


def methods_table() -> Table:
    """List every method on one line: its stages, modalities, title and source."""
    table = Table(title="methods", box=None, title_justify="left", padding=(0, 2, 0, 0))
    for column in ("name", "stage", "modalities", "what it is"):
        table.add_column(column, no_wrap=True)
    table.add_column("source", no_wrap=True, overflow="ellipsis")
    for name in methods.names():
        kind = methods.get(name)
        table.add_row(
            name, ", ".join(kind.stages) or "none", modalities_text(kind), kind.title, short_citation(kind.paper)
        )
    table.caption = "python -m sweep list method NAME tells all about one"
    table.caption_justify = "left"
    return table


def short_citation(paper: str) -> str:
    """Shorten "A, B, C: Title, Venue 2025" or "A et al.: Title, Venue 2025" to "A et al., Venue 2025"; anything else
    stays as it is."""
    found = re.fullmatch(r"(\w+)(, .*| et al\.)?: .*, ([^,]+ \d{4})", paper)
    return f"{found[1]}{' et al.' if found[2] else ''}, {found[3]}" if found else paper


def datasets_table() -> Table:
    """List every dataset: its title, its terms of use and the options that a sweep's ``data`` may set."""
    table = Table(title="datasets", box=None, title_justify="left", padding=(0, 2, 0, 0))
    for column in ("name", "what it is", "terms", "options (default)"):
        table.add_column(column, overflow="fold")
    for name in data.names():
        source = data.get(name)
        fields = [item for item in source.Options.model_fields.items() if item[0] not in DatasetOptions.model_fields]
        options = (
            f"{key} ({'required' if field.is_required() else _yaml_text(field.default)})" for key, field in fields
        )
        table.add_row(name, source.title, source.terms or "yours", ", ".join(options))
    corruption = ", ".join(Corruption.model_fields)
    by_shape = f"arrays: default encoders by shape, {USUAL_ENCODERS}"
    table.caption = f"every dataset: corrupt ({{}}), modality -> {{{corruption}}}\n{by_shape}"
    table.caption_justify = "left"
    return table


def encoders_table() -> Table:
    """List every encoder with the shapes of samples that it takes, by its default options, and with the options that a
    sweep's ``encoders`` may set."""
    table = Table(title="encoders", box=None, title_justify="left", padding=(0, 2, 0, 0))
    table.caption = f"default of a dataset: its own; of arrays by shape, {USUAL_ENCODERS}"
    table.caption_justify = "left"
    for column in ("name", "option", "default", "values", "meaning"):
        table.add_column(column, overflow="fold")
    for name in encoders.names():
        kind = encoders.ENCODERS[name]
        model, defaults = kind.Options, kind.described_by()
        count = kind.stage_count(defaults)
        parts = f"; {count} stages for fusion: channel" if count else ""
        table.add_row(name, "", "", "", f"takes {kind.takes(defaults)}{parts}")
        for option, field in model.model_fields.items():
            default = "required" if field.is_required() else _yaml_text(field.default)
            table.add_row("", option, default, values_text(model, option), field.description)
    return table


def recipes_table() -> Table:
    """List every recipe of a paper: what it sets, and which source says so."""
    table = Table(title="recipes", box=None, title_justify="left", padding=(0, 2, 0, 0))
    for column in ("name", "what it is", "settings", "source"):
        table.add_column(column, overflow="fold")
    for name, recipe in published_recipes().items():
        table.add_row(name, recipe.title, settings_text(recipe), recipe.source)
    return table


def settings_text(recipe: PublishedRecipe) -> str:
    """Write the values that a recipe sets, those of the schedule and of each dataset together."""
    settings = recipe.settings()
    parts = [_setting_text(name, value) for name, value in settings["train"].items()]
    parts += [_setting_text("epochs", settings["epochs"])] if "epochs" in settings else []
    parts += [_setting_text(dataset, options) for dataset, options in settings.get("data", {}).items()]
    return ", ".join(parts)


def _setting_text(name: str, value: Any) -> str:
    words = name.replace("_", " ") if name in Recipe.model_fields else name
    if isinstance(value, Mapping):
        return f"{words} ({', '.join(_setting_text(part, inner) for part, inner in value.items())})"
    return f"{words} {value:g}" if isinstance(value, float) else f"{words} {_yaml_text(value)}"


def sweeps_table(path: Path, results: str) -> Table:
    """List the sweeps of a file, with the number of their runs in a folder of results. Raises ConfigError."""
    table = Table(title=str(path), box=None, title_justify="left", padding=(0, 2, 0, 0))
    sweeps = load(path, None, [])
    runs = {} if is_uri(results) else {sweep.name: _runs_text(Store(Path(results)), sweep.name) for sweep in sweeps}
    headings = ["name", "title", "reproduces", *(["runs"] if any(runs.values()) else [])]
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for sweep in sweeps:
        cells = [sweep.name, sweep.title or "", sweep.reproduces or "", runs.get(sweep.name, "")]
        table.add_row(*cells[: len(headings)])
    return table


def _runs_text(store: Store, name: str) -> str:
    """Count the runs that a sweep has in the store, and those of earlier code; "" where it has none."""
    hashes = {entry.hash for entry in index_entries(store.results, name)}
    earlier = sum(1 for _ in earlier_runs(store, hashes))
    return "" if not hashes else f"{len(hashes)}" + (f", {earlier} of earlier code" if earlier else "")


def hyperparameter_tables(names: Sequence[str]) -> list[Table]:
    """Make a table a method: every hyperparameter with default, bounds, search range and meaning.

    Raises ConfigError for an unknown method."""
    for name in names:
        require_name(methods.METHODS, name)
    return [_hyperparameter_table(methods.get(name)) for name in names or methods.names()]


def _hyperparameter_table(kind: type[Method]) -> Table:
    table = Table(title=f"{kind.name}: {kind.title}", box=None, title_justify="left", padding=(0, 2, 0, 0))
    for column in ("name", "symbol", "default", "values", "search range", "meaning"):
        table.add_column(column, overflow="fold")
    for name, found in declared(kind.Hyperparameters).items():
        table.add_row(
            name,
            found.symbol,
            default_text(found),
            values_text(kind.Hyperparameters, name),
            search_text(found.search),
            meaning_text(found),
        )
    return table


def default_text(found: Declared) -> str:
    """Write the default of a hyperparameter, as in YAML."""
    return f"{found.default:.3g}" if isinstance(found.default, float) else _yaml_text(found.default)


def meaning_text(found: Declared) -> str:
    """Write the meaning of a hyperparameter, its unit and its condition."""
    unit = " [epochs, or a share of the budget below 1]" if found.epochs else ""
    condition = ""
    if found.only_if is not None:
        values = " or ".join(_yaml_text(value) for value in values_under(found.only_if))
        condition = f" (only with {found.only_if[0]}: {values})"
    return found.meaning + unit + condition


def values_text(model: type[BaseModel], name: str) -> str:
    """Write the values that a hyperparameter may have: words, bounds or a type."""
    field = model.model_fields[name]
    bounds = {key: getattr(item, key) for item in field.metadata for key in _BOUNDS if hasattr(item, key)}
    limits = " ".join(f"{_BOUNDS[key]} {value:g}" for key, value in bounds.items())
    words = dict.fromkeys(_words(field.annotation))
    return ", ".join(f"{word} {limits}".strip() if "number" in word else word for word in words)


_BOUNDS = {"ge": "from", "gt": "above", "le": "to"}
_TYPES = {float: "number", int: "whole number", str: "text", list: "list", dict: "mapping", NoneType: "null"}


def _words(annotation: Any) -> Iterator[str]:
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        yield from map(_yaml_text, inner)
    elif origin in (Union, UnionType):
        for each in inner:
            yield from _words(each)
    elif annotation is bool:
        yield from ("true", "false")
    else:
        yield _TYPES.get(origin or annotation, str(annotation))


def search_text(space: SearchRange | None) -> str:
    """Write a search range in the words of sweeps.yaml."""
    if isinstance(space, Uniform):
        return f"uniform [{space.low:g}, {space.high:g}]"
    if isinstance(space, LogUniform):
        return f"loguniform [{space.low:g}, {space.high:g}]"
    if isinstance(space, Integer):
        return f"int [{space.low}, {space.high}]" + (" log" if space.log else "")
    if isinstance(space, Choice):
        return "choice " + ", ".join(map(_yaml_text, space.values))
    return ""


def _yaml_text(value: Any) -> str:
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


def modalities_text(kind: type[Method]) -> str:
    """Write the numbers of modalities that a method is defined for."""
    if kind.max_modalities is None:
        return f"{kind.min_modalities} or more"
    if kind.max_modalities == kind.min_modalities:
        return str(kind.min_modalities)
    return f"{kind.min_modalities} to {kind.max_modalities}"
