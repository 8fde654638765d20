"""Execute one sweep: plan, subtract what is done, choose an executor, keep the sweep's own files."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from rich.console import Console

from sweep.config import Sweep, freeze
from sweep.engine.agenda import Agenda
from sweep.engine.loggers import logging_to_services
from sweep.engine.memory import MemoryPatience, is_short
from sweep.engine.on_ray.session import RaySession
from sweep.engine.prepare import prepare_datasets
from sweep.engine.progress import Progress
from sweep.engine.recovery import train_to_the_end
from sweep.engine.tally import Tally
from sweep.engine.tasks import listed_entries
from sweep.engine.weights_kept import WeightsKeeper
from sweep.plan.build import plan
from sweep.plan.configurations import Configuration, Plan
from sweep.results.tables import index_entries
from sweep.runs.code_changes import changed_folders, kept_runs_text
from sweep.runs.code_texts import code_digest
from sweep.runs.damaged_ends import damage_text, damaged_records
from sweep.runs.environment import check_code
from sweep.runs.index import Index
from sweep.runs.open_store import open_store
from sweep.runs.records import FinalRecord
from sweep.runs.store import Store
from sweep.search.proposals import ListProposer, Proposer
from sweep.storage.files import write_atomic

PUSH_EVERY = 30.0
"""Seconds between two moments at which results that lie elsewhere learn of the driver's index and study."""


@dataclass(frozen=True)
class Execution:
    """Says how to run a sweep: in this process or on Ray, and whether to train again what is done."""

    local: bool = False
    force: bool = False


def execute(
    sweep: Sweep,
    results: str | Path | Store,
    how: Execution,
    ray: RaySession,
    console: Console,
    learn: Callable[[Plan], None] = lambda planned: None,
) -> Tally:
    """Run what remains of a sweep and return how its runs ended. results: a path, a URI or the store there. learn:
    takes the plan, once the sweep's folder is there.
    Raises LockedError, StoreError, ConfigError, and KeyboardInterrupt after having left everything resumable."""
    store = results if isinstance(results, Store) else open_store(results)
    planned = plan(sweep)
    held = store.lock(sweep.name)
    try:
        store.pull(sweep.name)
        folder = store.sweep(sweep.name)
        learn(planned)
        changed = _freeze_configuration(sweep, folder, console)
        # Else a report of what is there so far would mix the runs of two configurations of the sweep.
        index = Index(folder / "index.jsonl", listed_entries(planned) if changed else None)
        store.push(sweep.name)
        proposers = _proposers(planned, store)
        upkeep = Upkeep(store, sweep.name, WeightsKeeper(store, sweep))
        damaged = _warning_of_damage(planned, store, console)
        agenda = Agenda(planned, store, proposers, index.add, upkeep.ended, how.force, damaged)
        try:
            if not agenda.idle():
                prepare_datasets(planned, how.local, ray, console)
            expected, fewer = planned.expected_runs(), planned.may_end_sooner
            with (
                Progress(console, sweep.name, expected, agenda.tally, at_most=fewer) as progress,
                logging_to_services(sweep, store, progress),
            ):
                execute_agenda(agenda, progress, how, ray)
            if agenda.unstarted:
                said = f"{sweep.name}: budget spent, {agenda.unstarted} runs not started; run again to go on"
                console.print(said, highlight=False)
            index.close()
        finally:
            agenda.abandon()
            store.push(sweep.name)
    finally:
        held.release()
    _warn_of_other_code(store, agenda.kept, console)
    return agenda.tally


def execute_agenda(agenda: Agenda, progress: Progress, how: Execution, ray: RaySession) -> None:
    """Train everything on an agenda. Raises KeyboardInterrupt where that was not all, ChangedCodeError where the code
    was rewritten while it was planned or before a process imported it."""
    if agenda.idle():
        return
    check_code(code_digest())
    agenda.failed_unstarted = progress.finished
    if how.local:
        from sweep.engine.local import run_local

        run_local(agenda, progress)
    else:
        _train_on_ray(agenda, progress, ray)
    if not agenda.complete:
        # Tune ends quietly on Ctrl-C.
        raise KeyboardInterrupt


def _train_on_ray(agenda: Agenda, progress: Progress, ray: RaySession) -> None:
    def train() -> None:
        from sweep.engine.on_ray.tune import run_tuned  # Ray takes long to import

        run_tuned(agenda, progress, ray.watch(progress.stuck), patience)

    # What other machines have of memory is not known here.
    patience = MemoryPatience(lambda line: progress.say(line, "yellow"), is_short if ray.is_own else lambda: False)
    train_to_the_end(agenda, progress, ray, train)


def _freeze_configuration(sweep: Sweep, folder: Path, console: Console) -> bool:
    """Write down how the sweep is configured. Tell whether that is otherwise than at its last run."""
    path, frozen = folder / "sweep.yaml", freeze(sweep).encode()
    # An empty one is what a power cut left.
    changed = path.exists() and path.read_bytes() not in (frozen, b"")
    if changed:
        said = "configured otherwise than at its last run: its report now shows what belongs to this configuration"
        console.print(f"{sweep.name}: {said}; no run is lost", highlight=False)
    write_atomic(path, frozen, durable=True)
    return changed


def _proposers(planned: Plan, store: Store) -> list[Proposer]:
    """Return where the configurations come from. Raises ConfigError, StoreError."""
    if not planned.searches:
        return [ListProposer(study.configurations) for study in planned.studies]
    from sweep.search.searcher import proposers  # Optuna takes long to import

    return proposers(planned, store)


def _warn_of_other_code(store: Store, kept: Iterable[str], console: Console) -> None:
    """Warn once where runs were kept that other code trained: their method and dataset have not changed (that is
    part of their identity), but something else in the packages has."""
    environments = (store.run(run_hash).environment() for run_hash in kept)
    others = [found for environment in environments if environment and (found := changed_folders(environment))]
    if others:
        console.print(kept_runs_text(others), style="yellow", highlight=False)


def _warning_of_damage(planned: Plan, store: Store, console: Console) -> Callable[[], None]:
    """Return what warns of all runs whose ends do not count; once, as soon as one is met: a sweep without any has
    nothing read for it."""

    @cache
    def warn() -> None:
        name = planned.sweep.name
        known = (entry.hash for entry in [*listed_entries(planned), *index_entries(store.results, name)])
        said = f"{name}: {damage_text(damaged_records(store, known))}"
        console.print(said, style="yellow", highlight=False, soft_wrap=True, markup=False)

    return warn


class Upkeep:
    """Does what is due as configurations end: weights are dropped, and what the driver keeps of the sweep is sent to
    where the results lie, now and then."""

    def __init__(self, store: Store, name: str, keeper: WeightsKeeper) -> None:
        self._store, self._name, self._keeper = store, name, keeper
        self._sent = float("-inf")

    def ended(self, configuration: Configuration, trained: list[str], outcomes: dict[int, FinalRecord]) -> None:
        self._keeper.ended(configuration, trained, outcomes)
        if time.monotonic() - self._sent > PUSH_EVERY:
            self._store.push(self._name)
            self._sent = time.monotonic()
