"""Runs of earlier code: which part of the code has changed since they were trained, in words.

The code of a run's own method and dataset belongs to its identity. What lies outside (the contract modules of data/ and
methods/, models/ and sweep/) may change a number all the same, so it is told."""

from __future__ import annotations

from collections.abc import Iterable

from sweep.identity import code_digest, folder_digests
from sweep.records import EnvironmentRecord

UNKNOWN = "code of an unknown folder"
"""Said of runs that were recorded before folders were told apart."""


def changed_folders(environment: EnvironmentRecord) -> tuple[str, ...]:
    """Folders whose code outside every identity has changed since a run was trained, as ``("models/", "sweep/")``;
    empty where none has."""
    if environment.code == code_digest():
        return ()
    if not environment.folders:
        return (UNKNOWN,)
    now = folder_digests()
    return tuple(f"{name}/" for name in now if environment.folders.get(name) != now[name])


def changes_text(changes: Iterable[tuple[str, ...]]) -> str:
    """The folders that have changed since any of several runs was trained: "models/ and sweep/"."""
    found = sorted({folder for each in changes for folder in each})
    return " and ".join([", ".join(found[:-1]), found[-1]] if len(found) > 1 else found)
