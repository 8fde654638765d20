"""Execute one sweep: plan, subtract what is done, choose an executor, keep the sweep's own files."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from sweep.config import Sweep, freeze
from sweep.engine.agenda import Agenda, Listed, Source, Tally
from sweep.engine.ray_session import RaySession
from sweep.engine.weights import WeightsKeeper
from sweep.identity import code_digest
from sweep.plan import Plan, plan
from sweep.progress import Progress
from sweep.records import IndexEntry
from sweep.store import Store, write_atomic


@dataclass(frozen=True)
class Execution:
    """How to run a sweep: in this process or on Ray, and whether to train again what is done."""

    local: bool = False
    force: bool = False


def execute(sweep: Sweep, results: Path, how: Execution, ray: RaySession, console: Console) -> Tally:
    """Run what remains of a sweep and return how its runs ended. Raises LockedError, StoreError, ConfigError, and
    KeyboardInterrupt after having left everything resumable."""
    store, planned = Store(results), plan(sweep)
    with store.lock(sweep.name):
        folder = store.sweep(sweep.name)
        _freeze(sweep, folder, console)
        index = Index(folder / "index.jsonl")
        sources = _sources(planned, folder)
        keeper = WeightsKeeper(store, sweep.keep, sweep.metric, len(planned.seeds))
        agenda = Agenda(planned, store, sources, index.add, keeper.ended, how.force)
        try:
            with Progress(console, sweep.name, planned.expected_runs(), agenda.tally) as progress:
                _run(agenda, progress, how, ray)
        finally:
            agenda.abandon()
        index.close()
    _warn_of_other_code(store, agenda.kept, console)
    return agenda.tally


def _run(agenda: Agenda, progress: Progress, how: Execution, ray: RaySession) -> None:
    if agenda.idle():
        return
    nested = agenda.plan.sweep.resources.workers > 1
    if how.local:
        from sweep.engine.local import run_local

        run_local(agenda, progress)
    elif nested:
        ray.ensure(nested)
        from sweep.engine.distributed import run_distributed

        run_distributed(agenda, progress)
    else:
        ray.ensure(nested)
        from sweep.engine.tuning import run_tuned

        run_tuned(agenda, progress)
    if not agenda.complete:
        # Tune ends quietly on Ctrl-C.
        raise KeyboardInterrupt


def _freeze(sweep: Sweep, folder: Path, console: Console) -> None:
    path, frozen = folder / "sweep.yaml", freeze(sweep).encode()
    if path.exists() and path.read_bytes() != frozen:
        console.print(f"{sweep.name}: configured otherwise than at its last run; frozen anew", highlight=False)
    write_atomic(path, frozen)


def _sources(planned: Plan, folder: Path) -> list[Source]:
    """For each study its listed configurations, and a search over its space where it has one."""
    sources: list[Source] = [Listed(study.configurations) for study in planned.studies]
    spec = planned.sweep.search
    if not spec:
        return sources
    from sweep.engine.search import Search, open_storage

    storage = open_storage(folder / "study.journal")
    searched = [study for study in planned.studies if study.space]
    return sources + [Search(study, spec, planned.sweep.metric, len(planned.seeds), storage) for study in searched]


def _warn_of_other_code(store: Store, kept: Iterable[str], console: Console) -> None:
    """One warning where runs were kept that other code trained: their method and dataset have not changed (that is
    part of their identity), but something else in the packages has."""
    ours = code_digest()
    environments = (store.run(run_hash).environment() for run_hash in kept)
    others = sum(environment is not None and environment.code != ours for environment in environments)
    if others:
        console.print(
            f"{others} runs were kept from an earlier version of models/ or sweep/; --force trains them again",
            style="yellow",
            highlight=False,
        )


class Index:
    """Which runs belong to a sweep: index.jsonl, appended while it runs, cut to what belongs to it at the end."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._present = set(path.read_text(encoding="utf-8").splitlines()) if path.exists() else set()
        self._belonging: dict[str, None] = {}

    def add(self, entry: IndexEntry) -> None:
        line = entry.model_dump_json()
        self._belonging[line] = None
        if line not in self._present:
            self._present.add(line)
            with self._path.open("a", encoding="utf-8") as file:
                file.write(line + "\n")

    def close(self) -> None:
        """The sweep is complete: forget the runs of an earlier configuration of it."""
        write_atomic(self._path, "".join(line + "\n" for line in self._belonging).encode())
