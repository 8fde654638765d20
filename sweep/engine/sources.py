"""Where configurations come from: a list, or a search (``sweep.engine.search``)."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from enum import Enum
from typing import Protocol

from sweep.plan import Configuration
from sweep.records import FinalRecord


class Nothing(Enum):
    """Why there is no task."""

    YET = "whatever comes next depends on runs under way"
    EVER = "all is done"


class Source(Protocol):
    def propose(self, new: bool = True) -> Configuration | Nothing:
        """The next configuration; with ``new`` false only where it is known already, so that whatever an earlier driver
        has trained is found."""

    def left(self) -> int:
        """Configurations that it may still propose."""

    def tell(self, configuration: Configuration, outcomes: dict[int, FinalRecord]) -> None:
        """All its seeds have ended. Fewer than all where the first was stopped early or did not finish, or where the
        configuration is out of the race."""


class Listed:
    """A source that knows its configurations: grids, points, references, the chosen ones."""

    def __init__(self, configurations: Iterable[Configuration]) -> None:
        self._left = deque(configurations)

    def propose(self, new: bool = True) -> Configuration | Nothing:
        return self._left.popleft() if self._left else Nothing.EVER

    def left(self) -> int:
        return len(self._left)

    def tell(self, configuration: Configuration, outcomes: dict[int, FinalRecord]) -> None:
        return
