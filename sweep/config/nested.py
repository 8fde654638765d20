"""Values inside mappings and lists: ``rho.audio`` of a mapping, ``inner_epochs.0`` of a list."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import UnionType
from typing import Any, Union, get_args, get_origin

Keys = tuple[str, ...]
"""Names of a mapping and positions of a list that lead to a value."""


def value_below(value: Any, path: Keys, spread: bool = False) -> Any:
    """Read the value at ``path`` below ``value``; None where there is none. spread: one value stands for every key of a
    mapping."""
    for part in path:
        if isinstance(value, Mapping):
            value = value.get(part)
        elif isinstance(value, list):
            value = value[int(part)] if part.isdecimal() and int(part) < len(value) else None
        elif not spread:
            return None
    return value


def with_value_below(value: Any, path: Keys, new: Any) -> Any:
    """Copy ``value`` with ``new`` at ``path`` below it; what is neither mapping nor list on the way becomes a mapping.
    Raises IndexError for a position that a list does not have."""
    if not path:
        return new
    part, rest = path[0], path[1:]
    if isinstance(value, list):
        if not part.isdecimal() or int(part) >= len(value):
            raise IndexError(f"no entry {part} in a list of {len(value)}, counted from 0")
        position = int(part)
        return [*value[:position], with_value_below(value[position], rest, new), *value[position + 1 :]]
    below = dict(value) if isinstance(value, Mapping) else {}
    return {**below, part: with_value_below(below.get(part), rest, new)}


def spread_over(value: Any, keys: Iterable[str], annotation: Any) -> Any:
    """Write out for each of ``keys`` the one value that stands for all; what is a mapping, a list or null stays, and so
    does what cannot be a mapping."""
    if value is None or isinstance(value, (Mapping, list)) or dict not in containers(annotation):
        return value
    return dict.fromkeys(keys, value)


def containers(annotation: Any) -> set[type]:
    """Tell which of dict and list an annotation allows."""
    origin = get_origin(annotation) or annotation
    if origin in (Union, UnionType):
        return {kind for part in get_args(annotation) for kind in containers(part)}
    if not isinstance(origin, type):
        return set()
    return {kind for kind, alike in ((dict, Mapping), (list, list)) if issubclass(origin, alike)}
