"""Proposers of configurations: a list, or a search (``sweep.search.searcher``)."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from enum import Enum
from typing import Protocol

from sweep.plan.configurations import Configuration
from sweep.runs.records import FinalRecord


class Nothing(Enum):
    """The reasons for which nothing can be handed out to be trained."""

    NOW = "whatever comes next depends on runs under way"
    LEFT = "all is done"


class Proposer(Protocol):
    """Proposes the configurations of one study, and hears how they ended."""

    def propose(self, new: bool = True) -> Configuration | Nothing:
        """Return the next configuration; with ``new`` false only one that is known already, so that whatever an earlier
        driver has trained is found."""

    def remaining(self) -> int:
        """Count the configurations that it may still propose."""

    def tell(self, configuration: Configuration, outcomes: dict[int, FinalRecord]) -> None:
        """Take how the seeds of a configuration ended. They are fewer than all where the first was stopped early or did
        not finish, or where the configuration is out of the race."""


class ListProposer:
    """A proposer that knows its configurations: grids, points, references, the chosen ones."""

    def __init__(self, configurations: Iterable[Configuration]) -> None:
        self._configurations = deque(configurations)

    def propose(self, new: bool = True) -> Configuration | Nothing:
        return self._configurations.popleft() if self._configurations else Nothing.LEFT

    def remaining(self) -> int:
        return len(self._configurations)

    def tell(self, configuration: Configuration, outcomes: dict[int, FinalRecord]) -> None:
        return
