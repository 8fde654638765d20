"""Ranges of a sweep: the values they stand for, and what lies within them."""

from __future__ import annotations

from typing import Any

import methods
from methods.base.hyperparameters import Choice, Integer, SearchRange, declared
from sweep.config.resolve import target
from sweep.config.schema import Range
from sweep.runs.identity import canonical


def search_range(found: Range, name: str, method: str) -> SearchRange | None:
    """Find the search range of a varied name for one method; None where ``auto`` stands for nothing."""
    if found.kind != "auto":
        return found.search_range()
    if target(name).section != "hyperparameters":
        return None
    return declared(methods.get(method).Hyperparameters)[target(name).path[0]].search


def contains(space: SearchRange, value: Any) -> bool:
    """Tell whether a search over ``space`` can propose ``value``."""
    if isinstance(space, Choice):
        return canonical(value) in map(canonical, space.values)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    whole = not isinstance(space, Integer) or value == int(value)
    return whole and space.low <= value <= space.high
