"""Load sweeps.yaml: read, merge, override, check. Everything wrong is said before anything runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sweep.config.auto_ranges import expand_auto
from sweep.config.check_idle import idle_problems
from sweep.config.check_sweep import check
from sweep.config.merge import KEYS, Override, merge, normalise
from sweep.config.problems import COMMAND_LINE, ConfigError, Problem, nearest
from sweep.config.recipes import recipe_layer
from sweep.config.schema import (
    Sweep,
)
from sweep.config.schema_errors import describe_value, explain
from sweep.config.yaml_lines import LocatedMapping, dump, read
from sweep.runs.records import MOST_LETTERS, is_sweep_name

USE = f"use letters, digits, - and _, at most {MOST_LETTERS}"
_RESERVED = "runs"
"""Name of the folder beside the sweeps' that holds all runs."""


def names(path: Path | str) -> list[str]:
    """List the names of the sweeps in a file, in its order. Raises ConfigError where it cannot be read."""
    found, problems = _open(Path(path))
    if problems:
        raise ConfigError(problems)
    return list(found.values["sweeps"])


def load(path: Path | str, names: list[str] | None = None, overrides: list[str] | None = None) -> list[Sweep]:
    """Load the sweeps called ``names`` (None: all), in that order, with ``overrides`` (``key=value``, later ones win)
    on top. Raises ConfigError with every mistake in what those sweeps are made of."""
    return _load(path, names, overrides or [], idle_problems)


def _load(
    path: Path | str, names: list[str] | None, overrides: list[str], further: Callable[[Sweep], Iterable[Problem]]
) -> list[Sweep]:
    """Load sweeps as :func:`load` does. further: finds mistakes in a sweep that could be trained."""
    document, problems = _open(Path(path))
    known, found = list(document.values["sweeps"]), list[Override]()
    whole, defaults = isinstance(document.values.get("defaults"), dict | None), document.below(("defaults",))
    for text in overrides:
        try:
            found.append(Override(text))
        except ConfigError as error:
            problems += error.problems
    wanted = list(dict.fromkeys(known if names is None else names))
    for name in wanted:
        if name not in known:
            problems.append(Problem(COMMAND_LINE, None, name, "no sweep of this name", nearest(name, known)))
    sweeps = []
    for name in wanted:
        if whole and isinstance(document.values["sweeps"].get(name), dict):
            sweep, wrong = _build(name, document.below(("sweeps", name)), defaults, found)
            problems += wrong or further(sweep)
            sweeps.append(sweep)
    if problems:
        raise ConfigError(problems)
    return sweeps


def freeze(sweep: Sweep) -> str:
    """Write the sweep as the text of a file of its own, that :func:`load_frozen` reads back to an equal one."""
    return dump({"sweeps": {sweep.name: sweep.model_dump(exclude={"name"})}})


def load_frozen(path: Path | str) -> Sweep:
    """Load the one sweep that :func:`freeze` wrote, of defaults and command line in one. Raises ConfigError where it
    cannot be used any more."""
    sweeps = _load(path, None, [], lambda _: [])
    if len(sweeps) != 1:
        raise ConfigError([Problem(str(path), None, "sweeps", f"expected one frozen sweep, found {len(sweeps)}")])
    return sweeps[0]


def _open(path: Path) -> tuple[LocatedMapping, list[Problem]]:
    """Read a file; also return what is wrong with its outline. Raises ConfigError where it has no sweeps at all."""
    document = read(path)
    problems = list(_outline(document))
    if not isinstance(document.values.get("sweeps"), dict) or not document.values["sweeps"]:
        raise ConfigError(problems)
    return document, problems


def _outline(document: LocatedMapping) -> Iterator[Problem]:
    values = document.values
    for key in values:
        if key not in ("defaults", "sweeps"):
            hint = "move it below defaults, or below a sweep" if key in KEYS else nearest(key, ["defaults", "sweeps"])
            yield document.problem((key,), f"no key called {key!r} here", hint)
    if not isinstance(values.get("defaults"), dict | None):
        yield document.problem(("defaults",), f"expected a mapping, not {describe_value(values['defaults'])}")
    sweeps = values.get("sweeps")
    if not isinstance(sweeps, dict) or not sweeps:
        yield document.problem(("sweeps",), "expected at least one sweep by its name", "as in sweeps: {first: {...}}")
        return
    for name, sweep in sweeps.items():
        if name == _RESERVED:
            yield document.problem(("sweeps", name), f"the name {name!r} is taken for the folder of runs", USE)
        elif not is_sweep_name(name):
            what = f"the name {name[:MOST_LETTERS]!r} cannot be the name of a folder"
            yield document.problem(("sweeps", name[:MOST_LETTERS]), what, USE)
        if not isinstance(sweep, dict):
            yield document.problem(("sweeps", name), f"expected a mapping, not {describe_value(sweep)}")


def _build(
    name: str, written: LocatedMapping, defaults: LocatedMapping, overrides: list[Override]
) -> tuple[Sweep, list[Problem]]:
    """Build one sweep of the parts that fit the schema; also return every mistake in it."""
    below = defaults.below(())
    problems = [*normalise(below), *normalise(written)]
    merged = merge(below, written)
    # A missing key is said of the sweep, not of the defaults.
    merged.places[()] = written.places[()]
    for override in overrides:
        problems += override.apply(merged)
    recipe, unknown = recipe_layer(merged)
    problems += unknown
    if recipe.values:
        merged = merge(recipe, merged)
        merged.places[()] = written.places[()]
    values = dict(merged.values)
    if values.get("search") == {"algorithm": "grid"}:
        values["search"] = None
    if values.get("scheduler") == {"name": "none"}:
        values["scheduler"] = None
    sweep, wrong, broken = _fit_schema(name, values, merged)
    sweep, unresolved = expand_auto(sweep, broken)
    return sweep, [*problems, *wrong, *unresolved, *check(sweep, broken | {"vary"} if unresolved else broken)]


def _fit_schema(name: str, values: dict[str, Any], written: LocatedMapping) -> tuple[Sweep, list[Problem], set[str]]:
    """Build the sweep of all values that fit the schema; also return what is wrong with the others, and their keys."""
    problems, broken = list[Problem](), set[str]()
    while True:
        try:
            sweep = Sweep.model_validate({"name": name, **values})
        except ValidationError as error:
            for wrong in list(explain(error, Sweep, values)):
                problems.append(written.problem(wrong.path, wrong.message, wrong.suggestion))
                values = _without(values, wrong.path)
                broken.add(str(wrong.path[0]))
        else:
            sweep._written = written
            return sweep, problems, broken


def _without(values: dict[str, Any], path: tuple[str | int, ...]) -> dict[str, Any]:
    """Leave the wrong value out: of ``vary`` and ``data`` that entry alone, else the whole key."""
    first, *rest = path
    if first in ("vary", "data", "encoders") and rest and isinstance(values.get(str(first)), dict):
        return values | {str(first): {key: value for key, value in values[str(first)].items() if key != rest[0]}}
    return {key: value for key, value in values.items() if key != first}
