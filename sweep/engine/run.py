"""Execute one sweep: plan, subtract what is done, choose an executor, keep the sweep's own files."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError
from rich.console import Console

from sweep.code_changes import changed_folders, changes_text
from sweep.config import Sweep, freeze
from sweep.engine.agenda import Agenda, Tally
from sweep.engine.loggers import logged
from sweep.engine.ray_session import RaySession
from sweep.engine.sources import Listed, Source
from sweep.engine.weights import WeightsKeeper
from sweep.files import append_line, guarded, write_atomic
from sweep.plan import Configuration, Plan, plan
from sweep.preparing import prepare_planned
from sweep.progress import Progress
from sweep.records import FinalRecord, IndexEntry
from sweep.store import Store

PUSH_EVERY = 30.0
"""Seconds between two moments at which results that lie elsewhere learn of the driver's index and study."""


@dataclass(frozen=True)
class Execution:
    """How to run a sweep: in this process or on Ray, and whether to train again what is done."""

    local: bool = False
    force: bool = False


def execute(sweep: Sweep, results: str | Path | Store, how: Execution, ray: RaySession, console: Console) -> Tally:
    """Run what remains of a sweep and return how its runs ended. results: a path, a URI or the store there.
    Raises LockedError, StoreError, ConfigError, and KeyboardInterrupt after having left everything resumable."""
    store = results if isinstance(results, Store) else Store.open(results)
    planned = plan(sweep)
    held = store.lock(sweep.name)
    try:
        store.pull(sweep.name)
        folder = store.sweep(sweep.name)
        _freeze(sweep, folder, console)
        store.push(sweep.name)
        index = Index(folder / "index.jsonl")
        sources = _sources(planned, store)
        upkeep = Upkeep(store, sweep.name, WeightsKeeper(store, sweep))
        agenda = Agenda(planned, store, sources, index.add, upkeep.ended, how.force)
        try:
            if not agenda.idle():
                prepare_planned(planned, how.local, ray, console)
            expected, fewer = planned.expected_runs(), planned.may_end_sooner
            with (
                Progress(console, sweep.name, expected, agenda.tally, at_most=fewer) as progress,
                logged(sweep, store, progress, how.local),
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
    """Train everything on an agenda. Raises KeyboardInterrupt where that was not all."""
    if agenda.idle():
        return
    if how.local:
        from sweep.engine.local import run_local

        run_local(agenda, progress)
    elif agenda.plan.sweep.resources.workers > 1:
        ray.ensure()
        from sweep.engine.distributed import run_distributed

        run_distributed(agenda, progress)
    else:
        ray.ensure()
        from sweep.engine.tuning import run_tuned

        run_tuned(agenda, progress)
    if not agenda.complete:
        # Tune ends quietly on Ctrl-C.
        raise KeyboardInterrupt


def _freeze(sweep: Sweep, folder: Path, console: Console) -> None:
    path, frozen = folder / "sweep.yaml", freeze(sweep).encode()
    # An empty one is what a power cut left.
    if path.exists() and path.read_bytes() not in (frozen, b""):
        console.print(f"{sweep.name}: configured otherwise than at its last run; frozen anew", highlight=False)
    write_atomic(path, frozen)


def _sources(planned: Plan, store: Store) -> list[Source]:
    """Where the configurations come from. Raises ConfigError, StoreError."""
    if not planned.searches:
        return [Listed(study.configurations) for study in planned.studies]
    from sweep.engine.search import sources  # Optuna takes long to import

    return sources(planned, store)


def _warn_of_other_code(store: Store, kept: Iterable[str], console: Console) -> None:
    """One warning where runs were kept that other code trained: their method and dataset have not changed (that is
    part of their identity), but something else in the packages has."""
    environments = (store.run(run_hash).environment() for run_hash in kept)
    others = [found for environment in environments if environment and (found := changed_folders(environment))]
    if others:
        console.print(
            f"{len(others)} runs were kept that earlier code trained: since then {changes_text(others)} changed (their "
            "methods and datasets did not); --force trains them again",
            style="yellow",
            highlight=False,
        )


class Upkeep:
    """What is done as configurations end: weights are dropped, and what the driver keeps of the sweep is sent to where
    the results lie, now and then."""

    def __init__(self, store: Store, name: str, keeper: WeightsKeeper) -> None:
        self._store, self._name, self._keeper = store, name, keeper
        self._sent = float("-inf")

    def ended(self, configuration: Configuration, trained: list[str], outcomes: dict[int, FinalRecord]) -> None:
        self._keeper.ended(configuration, trained, outcomes)
        if time.monotonic() - self._sent > PUSH_EVERY:
            self._store.push(self._name)
            self._sent = time.monotonic()


class Index:
    """Which runs belong to a sweep: index.jsonl, appended while it runs, cut to what belongs to it at the end. What a
    crash tore is repaired at once: the plan names every run again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with guarded("read", path):
            content = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
        lines = [line for line in content.splitlines() if _is_entry(line)]
        repaired = "".join(line + "\n" for line in lines)
        if content != repaired:
            write_atomic(path, repaired.encode())
        self._present = set(lines)
        self._belonging: dict[str, None] = {}

    def add(self, entry: IndexEntry) -> None:
        line = entry.model_dump_json()
        self._belonging[line] = None
        if line not in self._present:
            self._present.add(line)
            append_line(self._path, line)

    def close(self) -> None:
        """The sweep is complete: forget the runs of an earlier configuration of it."""
        write_atomic(self._path, "".join(line + "\n" for line in self._belonging).encode())


def _is_entry(line: str) -> bool:
    try:
        IndexEntry.model_validate_json(line)
    except ValidationError:
        return False
    return True
