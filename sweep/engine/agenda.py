"""What remains to be trained, in order. Resuming is planning again: whatever the store already holds is absorbed at
once, so that a second driver, an extended grid or a crash only leaves less to do."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from sweep.engine.sources import Listed, Nothing, Source
from sweep.engine.stopping import StoppingRule
from sweep.engine.tasks import Outcomes, Tally, Task, index_entry
from sweep.identity import run_hash
from sweep.objectives import DIRECTIONS, directions, mean_values, objectives, pareto_front, value
from sweep.plan import Configuration, Plan
from sweep.racing import Decision, Race, RaceLog
from sweep.records import FinalRecord, IndexEntry
from sweep.store import Hold, Store


@dataclass
class _Open:
    """A configuration under way."""

    configuration: Configuration
    source: Source
    waiting: deque[Task]
    """Seeds held back until an earlier one has passed the stopping rule, or the race."""
    launched: int = 0
    outcomes: Outcomes = field(default_factory=dict)
    trained: list[str] = field(default_factory=list)


class Agenda:
    """Hands out tasks and takes their ends; one driver's view of one sweep.

    sources: one a study (see :class:`sweep.engine.sources.Source`). record: takes an index entry for every run of the
    sweep. ended: hears of each configuration that has ended, with the hashes of those of its runs that were trained
    now. force: train every run again, whatever the store holds."""

    def __init__(
        self,
        plan: Plan,
        store: Store,
        sources: list[Source],
        record: Callable[[IndexEntry], None],
        ended: Callable[[Configuration, list[str], Outcomes], None],
        force: bool = False,
    ) -> None:
        self.plan, self.store, self.tally = plan, store, Tally()
        self._record, self._ended, self._force = record, ended, force
        self.kept: list[str] = []
        """Hashes of the runs that the store already held."""
        self._objectives = objectives(plan.sweep)
        self._sources = deque((source, plan.seeds) for source in [Listed(plan.references), *sources])
        self._reporting = False
        self._ready: deque[Task] = deque()
        self._busy: deque[Task] = deque()
        self._open: dict[int, _Open] = {}
        self._openings = 0
        self._under_way: dict[str, tuple[Task, Hold]] = {}
        self._twins: dict[str, list[Task]] = {}
        self._settled: dict[str, FinalRecord] = {}
        self._attempts: dict[str, int] = {}
        self._finished: dict[tuple[str, str], dict[int, tuple[Configuration, Outcomes]]] = {}
        self._rules: dict[tuple[str, str], StoppingRule] = {}
        self._races: dict[tuple[str, str], Race] = {}
        racing = plan.sweep.search is not None and plan.sweep.search.racing
        self._race_log = RaceLog(store.sweep(plan.sweep.name) / "race.jsonl", fresh=force) if racing else None
        self._budget = _Budget(plan)
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
        while not self.stopped:
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
                break
        if self._under_way:
            return Nothing.YET
        self.complete = not self.stopped
        return Nothing.EVER

    @property
    def unstarted(self) -> int:
        """Runs that the budget was too small for: at most so many, where a search proposes or a rule stops some."""
        if not self._budget.unstarted:
            return 0
        waiting = sum(len(opened.waiting) for opened in self._open.values())
        return self._budget.unstarted + waiting + (0 if self._reporting else self.plan.report_runs())

    def _start(self, task: Task) -> Task | None:
        """Claim a task; None where the store already holds its end, another driver trains it, or the budget is
        spent."""
        known = self._settled.get(task.hash)
        if known is not None and self._holds(known, task):
            self._end(task, known, kept=task.hash not in self._attempts)
            return None
        if task.hash in self._under_way:
            self._twins.setdefault(task.hash, []).append(task)
            return None
        folder = self.store.run(task.hash)
        forced = self._force and task.hash not in self._attempts
        # Before claiming it, which on object storage is the dearer of the two: most of an extended sweep has ended.
        if not forced and self._keeps(task, folder.final()):
            return None
        claim = self.store.claim(task.hash)
        if claim is None:
            self._leave(task, self._busy)
            return None
        # Again: the driver that held the claim until now may have ended it.
        final = None if forced else folder.final()
        if self._keeps(task, final):
            claim.release()
            return None
        if self._budget.spent():
            claim.release()
            self._leave(task, None)
            return None
        if forced:
            folder.forget()
        elif final is not None:
            folder.reopen()
        self._settled.pop(task.hash, None)
        self._attempts[task.hash] = self._attempts.get(task.hash, 0) + 1
        self._budget.trained += self._attempts[task.hash] == 1
        self._under_way[task.hash] = (task, claim)
        if not forced:
            self._learn(task)
        return task

    def _keeps(self, task: Task, final: FinalRecord | None) -> bool:
        """Whether the store already holds the end of a task, which then counts."""
        if final is None or not self._holds(final, task):
            return False
        self._settled[task.hash] = final
        self._learn(task)
        self._end(task, final, kept=True)
        return True

    def _leave(self, task: Task, room: deque[Task] | None) -> None:
        """Look at a task again later, or never where the budget is spent."""
        if room is None or self._budget.spent():
            self._budget.unstarted += 1
        else:
            room.append(task)

    def _holds(self, final: FinalRecord, task: Task) -> bool:
        """Whether an earlier end of this run stands: a failure is tried again (by the next driver, where this one has
        tried as often as it may), a pruned run goes on where no rule could have stopped it."""
        if final.status == "failed":
            return task.hash in self._attempts
        return final.status != "pruned" or task.stoppable

    def finish(self, task_hash: str, final: FinalRecord) -> bool:
        """A task has ended as ``final`` says, which the store holds. True where it is a failure that will be tried
        again, as ``retries`` allow: the store then remembers the reason alone."""
        task, claim = self._under_way.pop(task_hash)
        claim.release()
        if final.status == "failed" and self._attempts[task_hash] <= self.plan.sweep.retries:
            self.store.run(task_hash).reopen()
            self._ready.append(task)
            return True
        self._settled[task_hash] = final
        if task.stoppable:
            self._rule(task).close(task.hash)
        self._end(task, final, kept=False)
        self._ready.extendleft(reversed(self._twins.pop(task_hash, [])))
        return False

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
                proposed = source.propose(new=not self._budget.spent())
                if proposed is Nothing.EVER:
                    self._budget.unstarted += source.left() * len(seeds)
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
                    return Nothing.EVER if self._budget.spent() else Nothing.YET
                if self._reporting or self._budget.unstarted:
                    return Nothing.EVER
                self._reporting = True
                self._sources.extend(self._report_sources())

    def _enter(self, configuration: Configuration, source: Source, seeds: list[int]) -> None:
        ruled = self.plan.sweep.scheduler is not None and _compared(configuration)
        tasks = deque(
            Task(run, run_hash(run), configuration, ruled and run.seed == seeds[0], self._openings)
            for run in configuration.runs(seeds)
        )
        opened = self._open[self._openings] = _Open(configuration, source, tasks)
        self._openings += 1
        self._launch(opened, 1 if ruled or self._races_on(configuration) else len(tasks))

    def _launch(self, opened: _Open, count: int) -> None:
        """Have the next seeds of a configuration trained, before those of others that have not begun."""
        launched = [opened.waiting.popleft() for _ in range(count)]
        opened.launched += count
        for task in launched:
            self._record(index_entry(task))
        self._ready.extendleft(reversed(launched))

    def _end(self, task: Task, final: FinalRecord, kept: bool) -> None:
        self.tally.add(final.status, kept)
        opened, configuration = self._open[task.opening], task.configuration
        opened.outcomes[task.run.seed] = final
        if kept:
            self.kept.append(task.hash)
        else:
            opened.trained.append(task.hash)
        if final.status == "done" and self._stays(task, opened):
            self._launch(opened, 1 if self._races_on(configuration) else len(opened.waiting))
        if len(opened.outcomes) < opened.launched:
            return
        del self._open[task.opening]
        opened.source.tell(configuration, opened.outcomes)
        self._ended(configuration, opened.trained, opened.outcomes)
        if _compared(configuration):
            self._finished.setdefault(_study(configuration), {})[task.opening] = (configuration, opened.outcomes)

    # Stopping and racing ---------------------------------------------------------------------------------------

    def _rule(self, task: Task) -> StoppingRule:
        """One rule a study: values of other datasets or methods are nothing to compare with."""
        study, spec = _study(task.configuration), self.plan.sweep.scheduler
        if study not in self._rules:
            assert spec is not None
            most = self.plan.sweep.vary.get("epochs")
            self._rules[study] = StoppingRule(spec, max(most.values) if most else task.run.epochs)
        return self._rules[study]

    def _learn(self, task: Task) -> None:
        """Let the stopping rule know of what an earlier driver trained of a run."""
        if not task.stoppable:
            return
        records = self.store.run(task.hash).epochs()
        metric = f"validation_{task.run.metric}"
        self._rule(task).learn(task.hash, ((record.epoch, record.metrics[metric]) for record in records))
        if task.hash not in self._under_way:
            self._rule(task).close(task.hash)

    def _races_on(self, configuration: Configuration) -> bool:
        return self._race_log is not None and configuration.number is not None and configuration.role != "report"

    def _stays(self, task: Task, opened: _Open) -> bool:
        """Whether a configuration gets further seeds, one of its seeds being done."""
        configuration = task.configuration
        if self._race_log is None or not self._races_on(configuration):
            return bool(opened.waiting)
        (objective,) = self._objectives
        sign = 1.0 if DIRECTIONS[objective] == "maximize" else -1.0
        race = self._races.setdefault(_study(configuration), Race(self.plan.seeds))
        race.add(configuration.key, task.run.seed, sign * value(opened.outcomes[task.run.seed], objective))
        if not opened.waiting:
            return False
        question = Decision(
            label=configuration.label,
            dataset=configuration.dataset,
            configuration=configuration.key,
            number=configuration.number,
            objective=objective,
            seeds=list(opened.outcomes),
            stays=True,
        )
        return self._race_log.decide(question, race).stays

    # The choice ------------------------------------------------------------------------------------------------

    def _report_sources(self) -> list[tuple[Source, list[int]]]:
        """The best configurations of each study, and the references, under fresh seeds."""
        if not self.plan.report_seeds:
            return []
        chosen = [best for found in self._finished.values() for best in self._best(found)]
        again = [replace(configuration, role="report") for configuration in [*self.plan.references, *chosen]]
        return [(Listed(again), self.plan.report_seeds)]

    def _best(self, found: dict[int, tuple[Configuration, Outcomes]]) -> list[Configuration]:
        """The best one, or with several objectives those that none beats; of ties the first proposed."""
        valued = []
        for _, (configuration, outcomes) in sorted(found.items()):
            means = mean_values(outcomes.values(), self._objectives, len(self.plan.seeds))
            if means is not None:
                valued.append((means, configuration))
        front = pareto_front([means for means, _ in valued], directions(self._objectives))
        return [valued[position][1] for position in front]


class _Budget:
    """What this driver may still spend. trained: runs it has started; unstarted: those it had to leave out."""

    def __init__(self, plan: Plan) -> None:
        limits = plan.sweep.budget
        self._runs = limits.runs if limits else None
        self._deadline = time.monotonic() + limits.hours * 3600 if limits and limits.hours is not None else None
        self.trained = 0
        self.unstarted = 0

    def spent(self) -> bool:
        late = self._deadline is not None and time.monotonic() > self._deadline
        return late or (self._runs is not None and self.trained >= self._runs)


def _compared(configuration: Configuration) -> bool:
    """Whether a configuration is one of a study that is chosen from: a point of the sweep, or a searched baseline."""
    return configuration.role == "sweep" or (configuration.role == "reference" and configuration.number is not None)


def _study(configuration: Configuration) -> tuple[str, str]:
    return (configuration.label, configuration.dataset)
