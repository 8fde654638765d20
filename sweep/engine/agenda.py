"""The agenda: the run that comes next. Resuming is planning again: whatever the store already holds is absorbed at
once, so that a second driver, an extended grid or a crash only leaves less to do."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from sweep.engine.budget import Budget
from sweep.engine.choice import Choice, for_report
from sweep.engine.claims import Claim, Claims, Ended
from sweep.engine.further_seeds import FurtherSeeds
from sweep.engine.tally import Tally
from sweep.engine.tasks import Outcomes, Task, index_entry, is_candidate
from sweep.plan.configurations import Configuration, Plan
from sweep.runs.identity import dataset_key
from sweep.runs.records import FinalRecord, IndexEntry
from sweep.runs.store import Store
from sweep.runs.train import commit_unstarted
from sweep.search.proposals import ListProposer, Nothing, Proposer
from sweep.search.racing import RaceLog


@dataclass
class _UnderWay:
    """A configuration of which not all has ended."""

    configuration: Configuration
    proposer: Proposer
    held_back: deque[Task]
    """Seeds that wait until an earlier one has passed the stopping rule, or the race."""
    launched: int = 0
    outcomes: Outcomes = field(default_factory=dict)
    trained: list[str] = field(default_factory=list)


class Agenda:
    """Hands out tasks and takes their ends; one driver's view of one sweep.

    proposers: one a study. record: takes an index entry for every run of the sweep. ended: hears of each configuration
    that has ended, with the hashes of those of its runs that were trained now. force: train every run again, whatever
    the store holds. damaged: as Claims has it."""

    def __init__(
        self,
        plan: Plan,
        store: Store,
        proposers: list[Proposer],
        record: Callable[[IndexEntry], None],
        ended: Callable[[Configuration, list[str], Outcomes], None],
        force: bool = False,
        damaged: Callable[[], None] = lambda: None,
    ) -> None:
        self.plan, self.store, self.tally = plan, store, Tally()
        self._record, self._ended = record, ended
        self.kept: list[str] = []
        """Hashes of the runs that the store already held."""
        self.failed_unstarted: Callable[[Task, FinalRecord], None] = lambda task, final: None
        """Hears of runs that failed without being started, as another run of their dataset had failed of the data."""
        self._broken: dict[str, FinalRecord] = {}
        """Failures that every run of a dataset shares, by what the run reads."""
        self._claims = Claims(store, plan.sweep.retries, force, damaged)
        racing = plan.sweep.search is not None and plan.sweep.search.racing
        race_log = RaceLog(store.sweep(plan.sweep.name) / "race.jsonl", fresh=force) if racing else None
        self._further_seeds = FurtherSeeds(plan.sweep, race_log)
        self._choice = Choice(plan.sweep)
        self._budget = Budget(plan.sweep.budget)
        self._proposers = deque((proposer, plan.seeds) for proposer in [ListProposer(plan.references), *proposers])
        self._reporting = False
        self._ready: deque[Task] = deque()
        self._elsewhere: deque[Task] = deque()
        """Those that another driver trained when they were last looked at."""
        self._configurations: dict[int, _UnderWay] = {}
        self._openings = 0
        self._ahead: Task | None = None
        self.stopped = False
        self.complete = False
        """True when all has been handed out and ended (or the budget is spent), rather than interrupted."""

    # Tasks -----------------------------------------------------------------------------------------------------

    def idle(self) -> bool:
        """Tell whether nothing is left to train; looks ahead without losing the task it finds."""
        if self._ahead is None:
            found = self.next()
            self._ahead = found if isinstance(found, Task) else None
            return found is Nothing.LEFT
        return False

    def next(self) -> Task | Nothing:
        """Return the next run to train, claimed for this driver."""
        if self._ahead is not None:
            task, self._ahead = self._ahead, None
            return task
        while not self.stopped:
            if self._ready:
                if (ready := self._started(self._ready.popleft())) is not None:
                    return ready
                continue
            if self._elsewhere and (free := self._started(self._elsewhere.popleft())) is not None:
                return free
            if self._ready:
                continue
            state = self._open_next()
            if state is Nothing.NOW or (state is Nothing.LEFT and self._elsewhere):
                return Nothing.NOW
            if state is Nothing.LEFT:
                break
        if self._claims:
            return Nothing.NOW
        self.complete = not self.stopped
        return Nothing.LEFT

    @property
    def unstarted(self) -> int:
        """Count the runs that the budget was too small for: at most so many, where a search proposes or a rule stops
        some."""
        if not self._budget.unstarted:
            return 0
        held_back = sum(len(under_way.held_back) for under_way in self._configurations.values())
        return self._budget.unstarted + held_back + (0 if self._reporting else self.plan.report_runs())

    def _started(self, task: Task) -> Task | None:
        """Claim a task and return it; None where it has ended, another driver trains it, or the budget is spent."""
        found = self._claims.claim(task, allowed=not self._budget.spent())
        if isinstance(found, Ended):
            if found.first:
                self._further_seeds.learn(task, self.store.run(task.hash), ended=True)
            self._end(task, found.final, kept=not found.trained_here)
        elif found is Claim.ELSEWHERE and not self._budget.spent():
            self._elsewhere.append(task)
        elif found in (Claim.ELSEWHERE, Claim.DECLINED):
            self._budget.leave_out(1)
        elif found is Claim.GRANTED:
            if (broken := self._broken.get(dataset_key(task.run))) is not None:
                final = commit_unstarted(task.run, self.store.run(task.hash), broken)
                self.finish(task.hash, final)
                self.failed_unstarted(task, final)
                return None
            if self._claims.attempts(task.hash) == 1:
                self._budget.charge()
            if not self._claims.starts_anew(task.hash):
                self._further_seeds.learn(task, self.store.run(task.hash), ended=False)
            return task
        return None

    def finish(self, task_hash: str, final: FinalRecord) -> bool:
        """Take the end of a task, which the store holds. True where it is a failure that will be tried again, as
        ``retries`` allow. One that every run of its dataset shares is theirs from now on, without their being
        started."""
        if final.repeats == "dataset" and (known := self._claims.under_way(task_hash)) is not None:
            self._broken.setdefault(dataset_key(known.run), final)
        task, again = self._claims.release(task_hash, final)
        if again:
            self._ready.append(task)
            return True
        self._further_seeds.close(task)
        self._end(task, final, kept=False)
        self._ready.extendleft(reversed(self._claims.twins(task_hash)))
        return False

    def under_way(self) -> list[Task]:
        """Return the tasks that have been handed out and not ended."""
        return self._claims.tasks()

    def take_back(self) -> None:
        """Hand out what is under way once more, before all else, as whoever trained it is gone. That is no failure of
        theirs, and counts as no retry."""
        tasks = [found for task in self._claims.tasks() for found in (task, *self._claims.twins(task.hash))]
        self._ready.extendleft(reversed(tasks))
        self._claims.release_all()

    def abandon(self) -> None:
        """Hand out nothing more; release what is under way, to be taken up by a later driver."""
        self.stopped = True
        self._claims.release_all()

    def should_stop(self, task_hash: str, epoch: int, value: float) -> bool:
        """Take a validation value of a run under way; True where the stopping rule ends it."""
        task = self._claims.under_way(task_hash)
        return task is not None and self._further_seeds.should_stop(task, epoch, value)

    def task(self, task_hash: str) -> Task | None:
        """Return the task under way with this hash."""
        return self._claims.under_way(task_hash)

    # Configurations --------------------------------------------------------------------------------------------

    def _open_next(self) -> Nothing | None:
        """Open one more configuration; None where one was opened."""
        waits = False
        while True:
            for _ in range(len(self._proposers)):
                proposer, seeds = self._proposers[0]
                proposed = proposer.propose(new=not self._budget.spent())
                if proposed is Nothing.LEFT:
                    self._budget.leave_out(proposer.remaining() * len(seeds))
                    self._proposers.popleft()
                    break
                # Studies take turns, so that the first results of each come early.
                self._proposers.rotate(-1)
                if isinstance(proposed, Configuration):
                    self._open(proposed, proposer, seeds)
                    return None
                waits = True
            else:
                if waits or self._configurations:
                    return Nothing.LEFT if self._budget.spent() else Nothing.NOW
                if self._reporting or self._budget.unstarted:
                    return Nothing.LEFT
                self._reporting = True
                if self.plan.report_seeds:
                    single = (each for each in self.plan.references if not is_candidate(each))
                    chosen = for_report([*single, *self._choice.best()])
                    self._proposers.append((ListProposer(chosen), self.plan.report_seeds))

    def _open(self, configuration: Configuration, proposer: Proposer, seeds: list[int]) -> None:
        stoppable = self._further_seeds.stoppable(configuration)
        tasks = deque(
            Task(run, hashed, configuration, stoppable and run.seed == seeds[0], self._openings)
            for run, hashed in configuration.hashed_runs(seeds)
        )
        under_way = self._configurations[self._openings] = _UnderWay(configuration, proposer, tasks)
        self._openings += 1
        self._launch(under_way, self._further_seeds.first(configuration, seeds))

    def _launch(self, under_way: _UnderWay, count: int) -> None:
        """Have the next seeds of a configuration trained, before those of others that have not begun."""
        launched = [under_way.held_back.popleft() for _ in range(count)]
        under_way.launched += count
        for task in launched:
            self._record(index_entry(task))
        self._ready.extendleft(reversed(launched))

    def _end(self, task: Task, final: FinalRecord, kept: bool) -> None:
        self.tally.add(final.status, kept)
        under_way, configuration = self._configurations[task.opening], task.configuration
        under_way.outcomes[task.run.seed] = final
        if kept:
            self.kept.append(task.hash)
        else:
            under_way.trained.append(task.hash)
        if final.status == "done":
            self._launch(under_way, self._further_seeds.next(task, under_way.outcomes, len(under_way.held_back)))
        if len(under_way.outcomes) < under_way.launched:
            return
        del self._configurations[task.opening]
        under_way.proposer.tell(configuration, under_way.outcomes)
        self._ended(configuration, under_way.trained, under_way.outcomes)
        self._choice.add(task.opening, configuration, under_way.outcomes)
