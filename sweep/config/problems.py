"""Problems in a configuration: where they are, and what to write instead."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from data.registry import Registry

Path = tuple[str | int, ...]
"""Keys and list positions that lead to a value."""

MANY_NAMES = 15
MOST_SHOWN = 100
LONGEST_KEY = 200
"""Characters of a key, which is a whole word of the command line, that are shown."""


@dataclass(frozen=True)
class Problem:
    """One mistake. ``origin`` is a file or "command line"; ``key`` the dotted path there, or the override itself."""

    origin: str
    line: int | None
    key: str
    message: str
    suggestion: str = ""

    def __str__(self) -> str:
        place = self.origin if self.line is None else f"{self.origin}:{self.line}"
        key = self.key if len(self.key) <= LONGEST_KEY else f"{self.key[:LONGEST_KEY]}..."
        said = ": ".join(part for part in (place, key, self.message) if part)
        return f"{said}; {self.suggestion}" if self.suggestion else said


class ConfigError(Exception):
    """A configuration cannot be used. ``problems`` holds every mistake found; the text has one a line, the first
    :data:`MOST_SHOWN`. A mistake of no place in particular may be given as text."""

    def __init__(self, problems: Iterable[Problem] | str) -> None:
        found = dict.fromkeys([Problem("", None, "", problems)] if isinstance(problems, str) else problems)
        self.problems = sorted(found, key=lambda p: (p.origin != COMMAND_LINE, p.origin, p.line or 0))
        super().__init__(self.problems)

    def __str__(self) -> str:
        more = len(self.problems) - MOST_SHOWN
        rest = [f"and {more:,} more mistakes"] if more > 0 else []
        return "\n".join([*map(str, self.problems[:MOST_SHOWN]), *rest])


COMMAND_LINE = "command line"


@dataclass(frozen=True)
class Place:
    """The place where a value was written."""

    origin: str
    line: int | None
    key: str

    def problem(self, message: str, suggestion: str = "", rest: Path = ()) -> Problem:
        """Make the problem of a mistake here, or at ``rest`` below."""
        key = self.key if self.origin == COMMAND_LINE else dotted_key(rest, self.key)
        return Problem(self.origin, self.line, key, message, suggestion)


def dotted_key(path: Path, start: str = "") -> str:
    """Write a path as people do: ``sweeps.compare.methods[1].label``."""
    text = start
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def nearest(name: str, known: Iterable[str]) -> str:
    """Suggest what ``name`` may have been meant to be: the nearest of ``known``, else those there are."""
    names = {known_name.lower(): known_name for known_name in known}
    close = difflib.get_close_matches(name.lower(), names, n=1)
    if close:
        return f"did you mean {names[close[0]]}?"
    return f"there are: {', '.join(names.values())}" if 0 < len(names) <= MANY_NAMES else ""


def explain_absence(registry: Registry[Any], name: str) -> tuple[str, str]:
    """Say why a method or dataset cannot be used, and which name may have been meant."""
    if (reason := registry.refusal(name)) is not None:
        return reason, ""
    remedy = nearest(name, registry.names()) or f"python -m sweep list {registry.kind}s shows all"
    return f"no {registry.kind} called {name!r}", remedy


def require_name(registry: Registry[Any], name: str) -> None:
    """Raise ConfigError unless a method or dataset of this name can be used."""
    if name not in registry.names():
        raise ConfigError("; ".join(filter(None, explain_absence(registry, name))))
