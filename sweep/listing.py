"""What is there to choose from, as tables: methods, datasets, sweeps, hyperparameters. Reads declarations alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

import data
import methods
from methods.base import Method
from methods.hyperparameters import Choice, Declared, Integer, LogUniform, SearchRange, Uniform, declared
from sweep.config import ConfigError, load
from sweep.config.problems import nearest


def methods_table() -> Table:
    """Every method: what it is, at which stages it acts, for how many modalities, where it comes from."""
    table = Table(title="methods", box=None, title_justify="left", padding=(0, 2, 0, 0))
    for column in ("name", "what it is", "stage", "modalities", "source"):
        table.add_column(column, overflow="fold")
    for name in methods.names():
        kind = methods.get(name)
        table.add_row(name, kind.title, ", ".join(kind.stages), _modalities(kind), kind.paper)
    return table


def datasets_table() -> Table:
    """Every dataset: what it is, its modalities and the options that a sweep's ``data`` may set."""
    table = Table(title="datasets", box=None, title_justify="left", padding=(0, 2, 0, 0))
    for column in ("name", "what it is", "options (default)"):
        table.add_column(column, overflow="fold")
    for name in data.names():
        source = data.get(name)
        fields = source.Options.model_fields.items()
        options = (f"{key} ({'required' if field.is_required() else _value(field.default)})" for key, field in fields)
        table.add_row(name, source.title, ", ".join(options))
    return table


def sweeps_table(path: Path) -> Table:
    """The sweeps of a file. Raises ConfigError."""
    table = Table(title=str(path), box=None, title_justify="left", padding=(0, 2, 0, 0))
    for column in ("name", "title", "reproduces"):
        table.add_column(column, overflow="fold")
    for sweep in load(path, None, []):
        table.add_row(sweep.name, sweep.title or "", sweep.reproduces or "")
    return table


def hyperparameter_tables(names: Sequence[str]) -> list[Table]:
    """A table a method: every hyperparameter with default, bounds, search range and meaning. Raises ConfigError for an
    unknown method."""
    for name in names:
        if name not in methods.names():
            raise ConfigError(f"no method called {name!r}; {nearest(name, methods.names())}")
    return [_hyperparameter_table(methods.get(name)) for name in names or methods.names()]


def _hyperparameter_table(kind: type[Method]) -> Table:
    table = Table(title=f"{kind.name}: {kind.title}", box=None, title_justify="left", padding=(0, 2, 0, 0))
    for column in ("name", "symbol", "default", "bounds", "search range", "meaning"):
        table.add_column(column, overflow="fold")
    for name, found in declared(kind.Hyperparameters).items():
        table.add_row(
            name, found.symbol, _value(found.default), _bounds(found), search_text(found.search), _meaning(found)
        )
    return table


def _meaning(found: Declared) -> str:
    if found.only_if is None:
        return found.meaning
    return f"{found.meaning} (only with {found.only_if[0]}: {_value(found.only_if[1])})"


def _bounds(found: Declared) -> str:
    if found.low is None and found.high is None:
        return found.type.replace("Literal", "").strip("[]") if found.type.startswith("Literal") else ""
    low = "" if found.low is None else f"{found.low:g}"
    high = "" if found.high is None else f"{found.high:g}"
    return f"{low} … {high}"


def search_text(space: SearchRange | None) -> str:
    """A search range in the words of sweeps.yaml."""
    if isinstance(space, Uniform):
        return f"uniform [{space.low:g}, {space.high:g}]"
    if isinstance(space, LogUniform):
        return f"loguniform [{space.low:g}, {space.high:g}]"
    if isinstance(space, Integer):
        return f"int [{space.low}, {space.high}]" + (" log" if space.log else "")
    if isinstance(space, Choice):
        return "choice " + ", ".join(map(_value, space.values))
    return ""


def _value(value: Any) -> str:
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _modalities(kind: type[Method]) -> str:
    if kind.max_modalities is None:
        return f"{kind.min_modalities} or more"
    if kind.max_modalities == kind.min_modalities:
        return str(kind.min_modalities)
    return f"{kind.min_modalities} to {kind.max_modalities}"
