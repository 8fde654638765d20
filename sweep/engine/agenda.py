"""What remains to be trained, in order. Resuming is planning again: whatever the store already holds is absorbed at
once, so that a second driver, an extended grid or a crash only leaves less to do."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Protocol

from filelock import FileLock

from sweep.engine.stopping import StoppingRule
from sweep.identity import run_hash
from sweep.plan import Configuration, Plan
from sweep.records import FinalRecord, IndexEntry, Run
from sweep.store import Store


class Nothing(Enum):
    """Why there is no task."""

    YET = "whatever comes next depends on runs under way"
    EVER = "all is done"


@dataclass(frozen=True)
class Task:
    """One run to train. stoppable: the early-stopping rule may end it (the first seed of a configuration)."""

    run: Run
    hash: str
    configuration: Configuration
    stoppable: bool = False


class Source(Protocol):
    """Where configurations come from: a list, or a search."""

    def propose(self) -> Configuration | Nothing: ...

    def tell(self, configuration: Configuration, outcomes: dict[int, FinalRecord]) -> None:
        """All its seeds have ended (fewer where it was pruned at the first one)."""


class Listed:
    """A source that knows its configurations: grids, points, references, the chosen ones."""

    def __init__(self, configurations: Iterable[Configuration]) -> None:
        self._left = deque(configurations)

    def propose(self) -> Configuration | Nothing:
        return self._left.popleft() if self._left else Nothing.EVER

    def tell(self, configuration: Configuration, outcomes: dict[int, FinalRecord]) -> None:
        return


@dataclass
class _Open:
    """A configuration under way."""

    configuration: Configuration
    source: Source
    seeds: list[int]
    waiting: list[Task] = field(default_factory=list)
    """Later seeds, held back until the first has passed the stopping rule."""
    outcomes: dict[int, FinalRecord] = field(default_factory=dict)
    trained: list[str] = field(default_factory=list)


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


class Agenda:
    """Hands out tasks and takes their ends; one driver's view of one sweep.

    sources: one a study (see :class:`Source`). record: takes an index entry for every run of the sweep. ended: hears of
    each configuration that has ended, with the hashes of those of its runs that were trained now. force: train every
    run again, whatever the store holds."""

    def __init__(
        self,
        plan: Plan,
        store: Store,
        sources: list[Source],
        record: Callable[[IndexEntry], None],
        ended: Callable[[Configuration, list[str], dict[int, FinalRecord]], None],
        force: bool = False,
    ) -> None:
        self.plan, self.store, self.tally = plan, store, Tally()
        self._record, self._ended, self._force = record, ended, force
        self.kept: list[str] = []
        """Hashes of the runs that the store already held."""
        spec = plan.sweep
        self._rules: dict[tuple[str, str], StoppingRule] = {}
        listed: list[Source] = [Listed(plan.references), *sources]
        self._sources = deque((source, plan.seeds) for source in listed)
        self._reporting = False
        self._ready: deque[Task] = deque()
        self._busy: deque[Task] = deque()
        self._open: dict[str, _Open] = {}
        self._under_way: dict[str, tuple[Task, FileLock]] = {}
        self._twins: dict[str, list[Task]] = {}
        self._settled: dict[str, FinalRecord] = {}
        self._attempts: dict[str, int] = {}
        self._finished: dict[tuple[str, str], list[tuple[Configuration, dict[int, FinalRecord]]]] = {}
        self._deadline = time.monotonic() + spec.budget.hours * 3600 if spec.budget else None
        self._ahead: Task | None = None
        self.stopped = False
        self.complete = False
        """Whether all has been handed out and ended (or the budget is spent), rather than interrupted."""

    # Tasks -----------------------------------------------------------------------------------------------------

    def idle(self) -> bool:
        """Whether nothing is left to train; looks ahead without losing the task it finds."""
        if self._ahead is None:
            found = self.next()
            self._ahead = found if isinstance(found, Task) else None
            return found is Nothing.EVER
        return False

    def next(self) -> Task | Nothing:
        """The next run to train, claimed for this driver."""
        if self._ahead is not None:
            task, self._ahead = self._ahead, None
            return task
        while True:
            if self.stopped or self._out_of_time():
                return self._none()
            if self._ready:
                if (ready := self._start(self._ready.popleft())) is not None:
                    return ready
                continue
            if self._busy and (free := self._start(self._busy.popleft())) is not None:
                return free
            if self._ready:
                continue
            state = self._open_next()
            if state is Nothing.YET or (state is Nothing.EVER and self._busy):
                return Nothing.YET
            if state is Nothing.EVER:
                return self._none()

    def _none(self) -> Nothing:
        """What to answer where no task will be handed out any more."""
        if self._under_way:
            return Nothing.YET
        self.complete = not self.stopped
        return Nothing.EVER

    def next_group(self) -> list[Task] | Nothing:
        """The next run with every other ready run of its configuration: what one launch of N workers trains."""
        first = self.next()
        if isinstance(first, Nothing):
            return first
        group = [first]
        same = [task for task in self._ready if task.configuration is first.configuration]
        for task in same:
            self._ready.remove(task)
            if (started := self._start(task)) is not None:
                group.append(started)
        return group

    def _out_of_time(self) -> bool:
        return self._deadline is not None and time.monotonic() > self._deadline

    def _start(self, task: Task) -> Task | None:
        """Claim a task; None where the store already holds its end or another driver trains it."""
        if (known := self._settled.get(task.hash)) is not None:
            self._end(task, known, kept=True)
            return None
        if task.hash in self._under_way:
            self._twins.setdefault(task.hash, []).append(task)
            return None
        claim = self.store.claim(task.hash)
        if claim is None:
            self._busy.append(task)
            return None
        folder = self.store.run(task.hash)
        final = folder.final()
        if self._force and task.hash not in self._attempts:
            folder.forget()
        elif final is not None and self._holds(final, task):
            claim.release()
            self._settled[task.hash] = final
            self._replay(task)
            self._end(task, final, kept=True)
            return None
        elif final is not None:
            folder.reopen()
        self._attempts[task.hash] = self._attempts.get(task.hash, 0) + 1
        self._under_way[task.hash] = (task, claim)
        return task

    def _holds(self, final: FinalRecord, task: Task) -> bool:
        """Whether an earlier end of this run stands: a failure is tried again, a pruned run goes on where no rule
        could have stopped it."""
        return final.status in ("done", "diverged") or (final.status == "pruned" and task.stoppable)

    def finish(self, task_hash: str, final: FinalRecord) -> None:
        """A task has ended as ``final`` says, which the store holds. A failure is tried again as ``retries`` allow."""
        task, claim = self._under_way.pop(task_hash)
        claim.release()
        if final.status == "failed" and self._attempts[task_hash] <= self.plan.sweep.retries:
            self.store.run(task_hash).reopen()
            self._ready.append(task)
            return
        self._settled[task_hash] = final
        if task.stoppable:
            self._rule(task).close(task.hash)
        for twin in [task, *self._twins.pop(task_hash, [])]:
            self._end(twin, final, kept=False)

    def abandon(self) -> None:
        """Hand out nothing more; release what is under way, to be taken up by a later driver."""
        self.stopped = True
        for _, claim in self._under_way.values():
            claim.release()
        self._under_way.clear()

    def should_stop(self, task_hash: str, epoch: int, value: float) -> bool:
        """Report a validation value of a run under way; True where the stopping rule ends it."""
        if task_hash not in self._under_way:
            return False
        task, _ = self._under_way[task_hash]
        return task.stoppable and self._rule(task).report(task_hash, epoch, value)

    def task(self, task_hash: str) -> Task | None:
        """The task under way with this hash."""
        found = self._under_way.get(task_hash)
        return found[0] if found else None

    # Configurations --------------------------------------------------------------------------------------------

    def _open_next(self) -> Nothing | None:
        """Open one more configuration; None where one was opened."""
        waits = False
        while True:
            for _ in range(len(self._sources)):
                source, seeds = self._sources[0]
                proposed = source.propose()
                if proposed is Nothing.EVER:
                    self._sources.popleft()
                    break
                # Studies take turns, so that the first results of each come early.
                self._sources.rotate(-1)
                if isinstance(proposed, Configuration):
                    self._enter(proposed, source, seeds)
                    return None
                waits = True
            else:
                if waits or self._open:
                    return Nothing.YET
                if self._reporting:
                    return Nothing.EVER
                self._reporting = True
                self._sources.extend(self._report_sources())

    def _enter(self, configuration: Configuration, source: Source, seeds: list[int]) -> None:
        rule = self.plan.sweep.scheduler is not None and configuration.role == "sweep"
        tasks = []
        for run in configuration.runs(seeds):
            tasks.append(Task(run, run_hash(run), configuration, stoppable=rule and run.seed == seeds[0]))
            self._record(index_entry(configuration, run, tasks[-1].hash))
        opened = _Open(configuration, source, list(seeds))
        self._open[_key(configuration)] = opened
        if rule:
            opened.waiting = tasks[1:]
            tasks = tasks[:1]
        self._ready.extend(tasks)

    def _end(self, task: Task, final: FinalRecord, kept: bool) -> None:
        self.tally.add(final.status, kept)
        opened = self._open[_key(task.configuration)]
        opened.outcomes[task.run.seed] = final
        if kept:
            self.kept.append(task.hash)
        else:
            opened.trained.append(task.hash)
        if opened.waiting and final.status == "done":
            self._ready.extendleft(reversed(opened.waiting))
            opened.waiting = []
        expected = len(opened.seeds) if not opened.waiting else 1
        if len(opened.outcomes) < expected:
            return
        del self._open[_key(task.configuration)]
        opened.source.tell(opened.configuration, opened.outcomes)
        self._ended(opened.configuration, opened.trained, opened.outcomes)
        if opened.configuration.role == "sweep":
            study = (opened.configuration.label, opened.configuration.dataset)
            self._finished.setdefault(study, []).append((opened.configuration, opened.outcomes))

    def _rule(self, task: Task) -> StoppingRule:
        """One rule a study: values of other datasets or methods are nothing to compare with."""
        study = (task.configuration.label, task.run.dataset)
        if study not in self._rules:
            assert self.plan.sweep.scheduler is not None
            self._rules[study] = StoppingRule(self.plan.sweep.scheduler)
        return self._rules[study]

    def _replay(self, task: Task) -> None:
        """Let the stopping rule know of a run that an earlier driver trained."""
        if not task.stoppable:
            return
        for record in self.store.run(task.hash).epochs():
            self._rule(task).report(task.hash, record.epoch, record.metrics[f"validation_{task.run.metric}"])
        self._rule(task).close(task.hash)

    def _report_sources(self) -> list[tuple[Source, list[int]]]:
        """The best configuration of each study, and the references, under fresh seeds."""
        if not self.plan.report_seeds:
            return []
        chosen = [best for found in self._finished.values() if (best := self._best(found)) is not None]
        again = [replace(configuration, role="report") for configuration in [*self.plan.references, *chosen]]
        return [(Listed(again), self.plan.report_seeds)]

    def _best(self, found: list[tuple[Configuration, dict[int, FinalRecord]]]) -> Configuration | None:
        metric = f"validation_{self.plan.sweep.metric}"
        values = [(mean_metric(outcomes.values(), metric, len(self.plan.seeds)), c) for c, outcomes in found]
        ranked = [(value, c) for value, c in values if value is not None]
        return max(ranked, key=lambda pair: pair[0])[1] if ranked else None


def mean_metric(outcomes: Iterable[FinalRecord], metric: str, seeds: int) -> float | None:
    """Mean of a validation metric over exactly ``seeds`` finished seeds, else None: means over different numbers of
    seeds are never compared."""
    values = [final.metrics[metric] for final in outcomes if final.status == "done"]
    return sum(values) / seeds if len(values) == seeds else None


def _key(configuration: Configuration) -> str:
    return f"{configuration.role}/{configuration.label}/{configuration.key}"


def index_entry(configuration: Configuration, run: Run, hashed: str) -> IndexEntry:
    """How a run belongs to a sweep: a line of the sweep's index."""
    return IndexEntry(
        hash=hashed,
        method=run.method,
        label=configuration.label,
        dataset=run.dataset,
        role=configuration.role,
        values=configuration.values,
        configuration=configuration.key,
        seed=run.seed,
        number=configuration.number,
    )
