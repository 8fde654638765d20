"""Claims on runs: a driver trains those that it has claimed, and nobody those whose end the store already holds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from sweep.engine.tasks import Task
from sweep.runs.records import FinalRecord
from sweep.runs.run_folder import DamagedEnd
from sweep.runs.store import Store
from sweep.storage.leases import Hold


class Claim(Enum):
    """Outcome of a claim on a run that has not ended already."""

    GRANTED = "this driver trains the run now"
    TWIN = "this driver trains it already, for another configuration"
    ELSEWHERE = "another driver trains it"
    DECLINED = "it may not be trained any more"


@dataclass(frozen=True)
class Ended:
    """Outcome of a claim on a run that has ended. trained_here: by this driver. first: not seen by this driver
    before."""

    final: FinalRecord
    trained_here: bool
    first: bool


class Claims:
    """The runs that one driver trains, has trained, or has found at their end.

    retries: how often a run that failed is tried again. force: train every run once more, whatever the store holds.
    damaged: hears of each run that is claimed although it had ended, as its end does not count."""

    def __init__(
        self, store: Store, retries: int, force: bool = False, damaged: Callable[[], None] = lambda: None
    ) -> None:
        self._store, self._retries, self._force, self._damaged = store, retries, force, damaged
        self._under_way: dict[str, tuple[Task, Hold]] = {}
        self._twins: dict[str, list[Task]] = {}
        self._ended: dict[str, FinalRecord] = {}
        self._attempts: dict[str, int] = {}
        self._failures: dict[str, int] = {}

    def claim(self, task: Task, allowed: bool = True) -> Claim | Ended:
        """Claim a run for this driver, unless it has ended. A twin is kept until its run ends, see :meth:`twins`.

        allowed: whether it may be trained where it has not ended; else the claim is only made to look. Raises
        LockedError where this driver has lost what it held."""
        self._store.check_held()
        known = self._ended.get(task.hash)
        if known is not None and self._counts(known, task):
            return Ended(known, task.hash in self._attempts, first=False)
        if task.hash in self._under_way:
            self._twins.setdefault(task.hash, []).append(task)
            return Claim.TWIN
        folder = self._store.run(task.hash)
        forced = self._force and task.hash not in self._attempts
        # Before claiming it, which on object storage is the dearer of the two: most of an extended sweep has ended.
        if not forced and (found := self._found(task, folder.final())) is not None:
            return found
        hold = self._store.claim(task.hash)
        if hold is None:
            return Claim.ELSEWHERE
        # Again: the driver that held the claim until now may have ended it.
        end = None if forced else folder.end()
        final = None if isinstance(end, DamagedEnd) else end
        if (found := self._found(task, final)) is not None:
            hold.release()
            return found
        if not allowed:
            hold.release()
            return Claim.DECLINED
        if forced:
            folder.forget()
        elif final is not None:
            folder.reopen()
        self._ended.pop(task.hash, None)
        self._attempts[task.hash] = self._attempts.get(task.hash, 0) + 1
        self._under_way[task.hash] = (task, hold)
        if isinstance(end, DamagedEnd):
            self._damaged()
        return Claim.GRANTED

    def _found(self, task: Task, final: FinalRecord | None) -> Ended | None:
        """Return the end that the store holds of a run, where it counts."""
        if final is None or not self._counts(final, task):
            return None
        self._ended[task.hash] = final
        return Ended(final, trained_here=False, first=True)

    def _counts(self, final: FinalRecord, task: Task) -> bool:
        """Tell whether an earlier end of this run stands: a failure is tried again (by the next driver, where this one
        has tried as often as it may), a pruned run goes on where no rule could have stopped it."""
        if final.status == "failed":
            return task.hash in self._attempts
        return final.status != "pruned" or task.stoppable

    def attempts(self, task_hash: str) -> int:
        """Count how often this driver has begun to train a run."""
        return self._attempts.get(task_hash, 0)

    def starts_anew(self, task_hash: str) -> bool:
        """Tell whether the run under way began without anything of an earlier driver's, which was forgotten."""
        return self._force and self._attempts.get(task_hash) == 1

    def under_way(self, task_hash: str) -> Task | None:
        """Return the task under way with this hash."""
        found = self._under_way.get(task_hash)
        return found[0] if found else None

    def tasks(self) -> list[Task]:
        """Return the tasks under way."""
        return [task for task, _ in self._under_way.values()]

    def __len__(self) -> int:
        """Count the runs under way."""
        return len(self._under_way)

    def release(self, task_hash: str, final: FinalRecord) -> tuple[Task, bool]:
        """Give back the claim of a run that has ended as ``final`` says, which the store holds. Return its task, and
        whether it may be tried again, as long as its failure need not repeat: the store then remembers the reason of
        the failure alone. Raises LockedError where this driver has lost what it held."""
        self._store.check_held()
        task, hold = self._under_way.pop(task_hash)
        failed = final.status == "failed"
        self._failures[task_hash] = self._failures.get(task_hash, 0) + failed
        again = failed and final.repeats is None and self._failures[task_hash] <= self._retries
        if again:
            # While it is held: another driver may take it up at once, and end it.
            self._store.run(task_hash).reopen()
        else:
            self._ended[task_hash] = final
        hold.release()
        return task, again

    def twins(self, task_hash: str) -> list[Task]:
        """Hand out the tasks that waited for this run to end."""
        return self._twins.pop(task_hash, [])

    def release_all(self) -> None:
        """Give back what is under way, to be taken up by a later driver."""
        for _, hold in self._under_way.values():
            hold.release()
        self._under_way.clear()
