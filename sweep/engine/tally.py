"""How many runs of a sweep have ended, and how."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Tally:
    """Counts for progress and exit code."""

    done: int = 0
    kept: int = 0
    """Of the done ones, those that the store already held."""
    pruned: int = 0
    diverged: int = 0
    failed: int = 0

    def add(self, status: str, kept: bool) -> None:
        setattr(self, status, getattr(self, status) + 1)
        self.kept += kept

    @property
    def total(self) -> int:
        return self.done + self.pruned + self.diverged + self.failed
