"""Runs of earlier code: which part of the code has changed since they were trained, in words.

The code of a run's own method and dataset belongs to its identity. What lies outside (the contract modules of data/ and
methods/, models/ and sweep/) may change a number all the same, so it is told."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import TYPE_CHECKING

from sweep.runs.code_texts import code_digest, folder_digests
from sweep.runs.reached_code import source_digest
from sweep.runs.records import EnvironmentRecord, Run
from sweep.runs.run_folder import RunFolder
from sweep.runs.store import Store
from sweep.training.numerics import NUMERICS

if TYPE_CHECKING:
    from data.registry import Registry

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
    # Here: of the runs of a plan only their folders are asked for, without all that declares methods and datasets.
    import data
    import methods
    from data.base import corrupted

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
        changed = changed_since(folder, run_hash in planned)
        # Its end last: of most runs nothing has changed.
        if changed and folder.final() is not None:
            yield run_hash, changed


def changed_since(folder: RunFolder, is_planned: bool) -> tuple[str, ...]:
    """List what has changed since the run of a folder was trained. is_planned: today's code gives its hash."""
    environment = folder.environment()
    if is_planned:
        return () if environment is None else changed_folders(environment)
    run = folder.config()
    return () if run is None else changed_code(run, environment)


def changes_text(changes: Iterable[tuple[str, ...]]) -> str:
    """Write what has changed since any of several runs was trained: "models/ and sweep/"."""
    found = sorted({each for several in changes for each in several})
    return " and ".join([", ".join(found[:-1]), found[-1]] if len(found) > 1 else found)


def kept_runs_text(changes: Collection[tuple[str, ...]]) -> str:
    """Say how many runs were kept although something has changed since, and what."""
    return (
        f"{len(changes)} runs were kept that earlier code trained: since then {changes_text(changes)} changed (their "
        "methods and datasets did not); --force trains them again"
    )
