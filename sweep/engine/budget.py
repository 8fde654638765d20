"""The budget of a driver, as the sweep's ``budget`` says."""

from __future__ import annotations

import time
from collections.abc import Callable

from sweep.config.schema import BudgetSpec


class Budget:
    """Counts the runs of this driver against its limits; without limits it is never spent."""

    def __init__(self, limits: BudgetSpec | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._runs = limits.runs if limits else None
        self._deadline = clock() + limits.hours * 3600 if limits and limits.hours is not None else None
        self._started = 0
        self.unstarted = 0
        """Runs that were left out because it was spent."""

    def spent(self) -> bool:
        """Tell whether no further run may start."""
        late = self._deadline is not None and self._clock() > self._deadline
        return late or (self._runs is not None and self._started >= self._runs)

    def charge(self) -> None:
        """Count a run that starts for the first time; its retries cost nothing more."""
        self._started += 1

    def leave_out(self, runs: int) -> None:
        """Count runs that will not be started."""
        self.unstarted += runs
