"""What is wrong in a configuration, where, and what to write instead."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

Path = tuple[str | int, ...]
"""Keys and list positions that lead to a value."""

MANY_NAMES = 15


@dataclass(frozen=True)
class Problem:
    """One mistake. ``source`` is a file or "command line"; ``key`` the dotted path there, or the override itself."""

    source: str
    line: int | None
    key: str
    message: str
    suggestion: str = ""

    def __str__(self) -> str:
        place = self.source if self.line is None else f"{self.source}:{self.line}"
        said = ": ".join(part for part in (place, self.key, self.message) if part)
        return f"{said}; {self.suggestion}" if self.suggestion else said


class ConfigError(Exception):
    """A configuration cannot be used. ``problems`` holds every mistake found; the text has one a line. A mistake of no
    place in particular may be given as text."""

    def __init__(self, problems: Iterable[Problem] | str) -> None:
        found = dict.fromkeys([Problem("", None, "", problems)] if isinstance(problems, str) else problems)
        self.problems = sorted(found, key=lambda p: (p.source != COMMAND_LINE, p.source, p.line or 0))
        super().__init__(self.problems)

    def __str__(self) -> str:
        return "\n".join(map(str, self.problems))


COMMAND_LINE = "command line"


@dataclass(frozen=True)
class Place:
    """Where a value was written."""

    source: str
    line: int | None
    key: str

    def problem(self, message: str, suggestion: str = "", rest: Path = ()) -> Problem:
        """A mistake here, or at ``rest`` below."""
        key = self.key if self.source == COMMAND_LINE else dotted(rest, self.key)
        return Problem(self.source, self.line, key, message, suggestion)


def dotted(path: Path, start: str = "") -> str:
    """A path as people write it: ``sweeps.compare.methods[1].label``."""
    text = start
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def nearest(name: str, known: Iterable[str]) -> str:
    """What ``name`` may have been meant to be: the nearest of ``known``, else those there are."""
    names = {known_name.lower(): known_name for known_name in known}
    close = difflib.get_close_matches(name.lower(), names, n=1)
    if close:
        return f"did you mean {names[close[0]]}?"
    return f"there are: {', '.join(names.values())}" if 0 < len(names) <= MANY_NAMES else ""
