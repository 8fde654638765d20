"""The points of a sweep before they are configurations: values, with where they were written, and their settings."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

from methods.base.hyperparameters import Choice, SearchRange
from sweep.config import (
    ConfigError,
    MethodSpec,
    Problem,
    Settings,
    Sweep,
    point_values,
    range_of,
    refusal,
    resolve,
    varied_names,
)
from sweep.config.conditions import idle_names
from sweep.config.targets import target


def listed_points(
    sweep: Sweep, entry: MethodSpec, dataset: str
) -> Iterator[tuple[dict[str, Any], tuple[str | int, ...]]]:
    """Give the values of each configuration of the grid, then of each point, with the key they were written under."""
    points = [(i, point_values(sweep, point, entry.method, dataset)) for i, point in enumerate(sweep.points)]
    own = [(i, values) for i, values in points if values is not None]
    names = varied_names(sweep, entry.method, dataset)
    if not sweep.search and (names or not own):
        grids = [_finite_values(range_of(sweep, name, entry.method, dataset)) for name in names]
        for point in itertools.product(*grids):
            yield dict(zip(names, point, strict=True)), ("vary",)
    elif sweep.search and not names and not own:
        yield {}, ("vary",)
    for i, values in own:
        yield values, ("points", i)


def search_examples(
    sweep: Sweep, entry: MethodSpec, dataset: str
) -> Iterator[tuple[dict[str, Any], tuple[str | int, ...]]]:
    """Give values that a search may propose, with the key they were written under: the first of every name, and beside
    these each further value that chooses an encoder or data. None where the study is no search."""
    names = varied_names(sweep, entry.method, dataset) if sweep.search else []
    if not names:
        return
    some = {name: _some_values(range_of(sweep, name, entry.method, dataset)) for name in names}
    first = {name: values[0] for name, values in some.items()}
    yield first, ("vary",)
    for name in names:
        if target(name).section in ("encoders", "data"):
            for value in some[name][1:]:
                yield first | {name: value}, ("vary",)


def _some_values(found: SearchRange | None) -> tuple[Any, ...]:
    assert found is not None, "a name without a range is refused before"
    return found.values if isinstance(found, Choice) else (found.low, found.high)


def _finite_values(found: SearchRange | None) -> tuple[Any, ...]:
    assert isinstance(found, Choice), "a range without a search is refused before"
    return found.values


class RefusedError(ConfigError):
    """A method refuses a configuration. reason: in its words. idle: varied names that have no effect there."""

    def __init__(self, problem: Problem, reason: str, idle: list[str]) -> None:
        self.reason, self.idle = reason, idle
        super().__init__([problem])


def checked_settings(
    sweep: Sweep, entry: MethodSpec, dataset: str, values: Mapping[str, Any], *key: str | int
) -> Settings:
    """Resolve the settings of one point, written under the key ``key``. Raises ConfigError where it cannot be
    trained, RefusedError where that is what its method says."""
    settings = resolve(sweep, entry, dataset, values, lambda name: (*key, name))
    if (reason := refusal(entry, dataset, settings)) is not None:
        said = ", ".join(f"{name} = {value}" for name, value in values.items())
        unused = idle_names(settings.hyperparameters)
        idle = [name for name in values if target(name).hyperparameter in unused]
        problem = sweep.problem(key, f"{reason}, with {said}" if said else reason)
        raise RefusedError(problem, reason.removesuffix(f" (dataset {dataset})"), idle)
    return settings
