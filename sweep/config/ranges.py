"""What the ranges of a sweep stand for, and what lies within them."""

from __future__ import annotations

from typing import Any

import methods
from methods.hyperparameters import Choice, Integer, SearchRange, declared
from sweep.config.resolve import target
from sweep.config.schema import Range
from sweep.identity import canonical


def expand(found: Range, name: str, method: str) -> SearchRange | None:
    """The search range of a varied name for one method; None where ``auto`` stands for nothing."""
    if found.kind != "auto":
        return found.search_range()
    if target(name).room != "hyperparameters":
        return None
    return declared(methods.get(method).Hyperparameters)[target(name).path[0]].search


def contains(space: SearchRange, value: Any) -> bool:
    """Whether a search over ``space`` can propose ``value``."""
    if isinstance(space, Choice):
        return canonical(value) in map(canonical, space.values)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    whole = not isinstance(space, Integer) or value == int(value)
    return whole and space.low <= value <= space.high
