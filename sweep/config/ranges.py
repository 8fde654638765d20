"""Ranges of a sweep: the values they stand for, and what lies within them."""

from __future__ import annotations

from typing import Any

import methods
from methods.base.hyperparameters import Choice, Integer, SearchRange
from sweep.config.conditions import declarations
from sweep.config.resolve import modalities_of
from sweep.config.schema import Range, Sweep
from sweep.config.targets import target
from sweep.runs.canonical_text import canonical


def search_range(found: Range, name: str, method: str, modalities: tuple[str, ...] = ()) -> SearchRange | None:
    """Find the search range of a varied name for one method on a dataset of ``modalities``; None where ``auto`` or
    ``each`` stands for nothing."""
    if found.kind == "each":
        return Choice(modalities) if modalities else None
    if found.kind != "auto":
        return found.search_range()
    aim = target(name)
    if aim.hyperparameter is None:
        return None
    space = declarations(methods.get(method).Hyperparameters)[aim.hyperparameter].search
    whole = isinstance(space, Choice) and any(isinstance(value, (list, tuple, dict)) for value in space.values)
    return None if whole and len(aim.path) > 1 else space


def range_of(sweep: Sweep, name: str, method: str, dataset: str) -> SearchRange | None:
    """Find the search range of a varied name in one study; see :func:`search_range`."""
    return search_range(sweep.vary[name], name, method, modalities_of(dataset, sweep.data.get(dataset, {})))


def contains(space: SearchRange, value: Any) -> bool:
    """Tell whether a search over ``space`` can propose ``value``."""
    if isinstance(space, Choice):
        return canonical(value) in map(canonical, space.values)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    whole = not isinstance(space, Integer) or value == int(value)
    return whole and space.low <= value <= space.high
