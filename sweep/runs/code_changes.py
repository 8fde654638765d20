"""Runs of earlier code: which part of the code has changed since they were trained, in words.

The code of a run's own method and dataset belongs to its identity. What lies outside (the contract modules of data/ and
methods/, models/ and sweep/) may change a number all the same, so it is told."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

import data
import methods
from data.base import corrupted
from data.registry import Registry
from sweep.runs.identity import code_digest, folder_digests, source_digest
from sweep.runs.records import EnvironmentRecord, Run
from sweep.runs.store import Store
from sweep.training.numerics import NUMERICS

UNKNOWN = "code of an unknown folder"
"""Said of runs that were recorded before folders were told apart."""


def changed_folders(environment: EnvironmentRecord) -> tuple[str, ...]:
    """Name the folders whose code outside every identity has changed since a run was trained, as ``("models/",
    "sweep/")``; empty where none has."""
    if environment.code == code_digest():
        return ()
    if not environment.folders:
        return (UNKNOWN,)
    now = folder_digests()
    return tuple(f"{name}/" for name in now if environment.folders.get(name) != now[name])


def changed_code(run: Run, environment: EnvironmentRecord | None) -> tuple[str, ...]:
    """List all that has changed since a run was trained: its method, its dataset, the numbers of training, folders.
    Empty where the run is of today's code."""
    kinds: list[tuple[str, Registry, str]] = [
        ("method", methods.METHODS, run.method),
        ("dataset", data.DATASETS, run.dataset),
    ]
    changed = [f"{room} {name}" for room, registry, name in kinds if not _is_current(run, room, registry, name)]
    if "corruption" in run.source and run.source["corruption"] != source_digest(corrupted):
        changed.append("how data are corrupted")
    if run.numerics != NUMERICS:
        changed.append(f"the numbers of training (version {run.numerics}, now {NUMERICS})")
    return (*changed, *(() if environment is None else changed_folders(environment)))


def _is_current(run: Run, room: str, registry: Registry, name: str) -> bool:
    if name not in registry.names():
        return False
    found: type = registry.get(name)
    return source_digest(found) == run.source.get(room)


def earlier_runs(
    store: Store, hashes: Iterable[str], planned: Collection[str] = ()
) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield the runs that ended under earlier code, each with what has changed since. planned: those whose hash today's
    code gives, and so the code that belongs to their identity."""
    for run_hash in hashes:
        folder = store.run(run_hash)
        environment = folder.environment()
        if run_hash in planned:
            changed = () if environment is None else changed_folders(environment)
        else:
            run = folder.config()
            changed = () if run is None else changed_code(run, environment)
        # Its end last: of most runs nothing has changed.
        if changed and folder.final() is not None:
            yield run_hash, changed


def changes_text(changes: Iterable[tuple[str, ...]]) -> str:
    """Write what has changed since any of several runs was trained: "models/ and sweep/"."""
    found = sorted({each for several in changes for each in several})
    return " and ".join([", ".join(found[:-1]), found[-1]] if len(found) > 1 else found)
