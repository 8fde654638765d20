"""What becomes of a sweep whose executor came to an end that nobody asked for: it is planned again. Nothing here needs
Ray."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from sweep.engine.agenda import Agenda
from sweep.engine.process_watch import LostClusterError
from sweep.engine.progress import Progress, end_task
from sweep.engine.tally import Tally
from sweep.storage.files import StoreError

FRUITLESS = 3
"""So many ends in a row between which no run has ended, and the sweep is given up."""


class ExecutorError(StoreError):
    """What trains a sweep ended before the sweep did: an error of Ray's or Tune's, none of a run or of ours."""


def executor_error(error: BaseException) -> ExecutorError:
    """Return what to say of an error of Ray's or Tune's: the first line of the one behind all others."""
    while (behind := error.__cause__ or error.__context__) is not None:
        error = behind
    said = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return ExecutorError(f"Ray ended with {type(error).__name__}{': ' if said else ''}{said}")


class Cluster(Protocol):
    """As much of a RaySession as is needed here."""

    @property
    def is_own(self) -> bool: ...

    def ensure(self) -> None: ...

    def close(self) -> None: ...


class Perseverance:
    """Tells whether it is worth to go on after another end. tally: what the agenda counts."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._total, self._fruitless = tally.total, 0

    def goes_on(self) -> bool:
        """Count one more end; False where it is the third in a row with no run ended since the one before."""
        self._fruitless = 1 if self._tally.total > self._total else self._fruitless + 1
        self._total = self._tally.total
        return self._fruitless < FRUITLESS


def train_to_the_end(agenda: Agenda, progress: Progress, cluster: Cluster, train: Callable[[], None]) -> None:
    """Have ``train`` train what is on the agenda, and again after each end that an ExecutorError or LostClusterError of
    it tells, on a cluster that is started or joined anew.

    Raises ExecutorError where that leads nowhere, LostClusterError where the cluster was others' to start, and what
    else ``train`` raises."""
    perseverance = Perseverance(agenda.tally)
    while True:
        cluster.ensure()
        try:
            train()
        except (ExecutorError, LostClusterError) as error:
            # Nobody trains any more once it is closed.
            cluster.close()
            _take_back(agenda, progress)
            if isinstance(error, LostClusterError) and not cluster.is_own:
                raise
            if not perseverance.goes_on():
                raise ExecutorError(f"{error}, {FRUITLESS} times in a row with no run ended in between") from error
            progress.say(f"{agenda.plan.sweep.name}: {error}; a new one goes on from what has been trained", "yellow")
        else:
            return


def _take_back(agenda: Agenda, progress: Progress) -> None:
    """End the tasks under way that have ended meanwhile, as their folders say, and have the others trained on."""
    for task in agenda.under_way():
        if (final := agenda.store.run(task.hash).final()) is not None:
            end_task(agenda, progress, task, final)
    agenda.take_back()
