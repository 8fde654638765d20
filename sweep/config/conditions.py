"""Hyperparameters that exist under a condition alone: ``only_if`` of their declaration."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any

from methods.base.hyperparameters import Declared, Hyperparameters, declared
from sweep.runs.canonical_text import canonical

Kind = type[Hyperparameters]


@cache
def declarations(kind: Kind) -> Mapping[str, Declared]:
    """Look up every hyperparameter's declaration by name; a plan asks thousands of times."""
    return declared(kind)


def applies(kind: Kind, name: str, may_be: Callable[[str, Any], bool]) -> bool:
    """Tell whether a hyperparameter can have an effect: its condition, the condition of that one, and so on, all hold.
    may_be: whether a hyperparameter can have a value."""
    known = declarations(kind)
    while (condition := known[name].only_if) is not None:
        if not any(may_be(condition[0], value) for value in values_under(condition)):
            return False
        name = condition[0]
    return True


def values_under(condition: tuple[str, Any]) -> tuple[Any, ...]:
    """List the values under which a condition holds."""
    return condition[1] if isinstance(condition[1], tuple) else condition[1:]


def equality_test(kind: Kind, values: Mapping[str, Any]) -> Callable[[str, Any], bool]:
    """Make the test that :func:`applies` asks: by ``values``, and by the defaults where they are silent."""
    known = declarations(kind)

    def holds(name: str, value: Any) -> bool:
        found = values.get(name, known[name].default)
        if isinstance(found, str) and isinstance(value, str):
            return found == value  # nearly all conditions, and canonical forms take thirty times as long
        return canonical(found) == canonical(value)

    return holds


def idle_names(hyperparameters: Hyperparameters) -> list[str]:
    """List those whose condition does not hold."""
    kind = type(hyperparameters)
    conditional = [name for name, found in declarations(kind).items() if found.only_if is not None]
    if not conditional:
        return []
    holds = equality_test(kind, hyperparameters.model_dump(mode="json"))
    return [name for name in conditional if not applies(kind, name, holds)]


def with_idle_defaults(hyperparameters: Hyperparameters) -> Hyperparameters:
    """Set each one that has no effect to its default, so that runs which train alike are the same run."""
    known = declarations(type(hyperparameters))
    idle = {name: known[name].default for name in idle_names(hyperparameters)}
    return hyperparameters.model_copy(update=idle) if idle else hyperparameters


def conditions_first(names: Iterable[str], known: Mapping[str, Declared]) -> list[str]:
    """Order ``names`` as they are, but each one after the one that its condition speaks of."""
    wanted, found = list(names), list[str]()

    def add(name: str) -> None:
        condition = known[name].only_if
        if condition is not None and condition[0] in wanted:
            add(condition[0])
        if name not in found:
            found.append(name)

    for name in wanted:
        add(name)
    return found
