"""Runs: what one is (its record and its identity), the folder that it leaves, and its way from record to commit.

In comes a :class:`Run` with every default filled in, out comes a run folder that ends with final.json. The folders are
the truth about what has been trained. :mod:`sweep.runs.open_store` opens them by path or URI, :mod:`sweep.runs.train`
trains a run into one. No other room writes into a run folder: it is changed through :class:`RunFolder` alone."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sweep.runs.canonical_text import canonical
    from sweep.runs.identity import configuration_hash, run_hash, source_digest
    from sweep.runs.index import Index
    from sweep.runs.records import Cause, EnvironmentRecord, FinalRecord, IndexEntry, Run, TestRecord
    from sweep.runs.run_folder import RunFolder
    from sweep.runs.store import Store
    from sweep.runs.train import build_method, commit_failure, commit_pruned, load_dataset

__all__ = [
    "Cause",
    "EnvironmentRecord",
    "FinalRecord",
    "Index",
    "IndexEntry",
    "Run",
    "RunFolder",
    "Store",
    "TestRecord",
    "build_method",
    "canonical",
    "commit_failure",
    "commit_pruned",
    "configuration_hash",
    "load_dataset",
    "run_hash",
    "source_digest",
]

_MODULES = {
    "Cause": "records",
    "EnvironmentRecord": "records",
    "FinalRecord": "records",
    "Index": "index",
    "IndexEntry": "records",
    "Run": "records",
    "RunFolder": "run_folder",
    "Store": "store",
    "TestRecord": "records",
    "build_method": "train",
    "canonical": "canonical_text",
    "commit_failure": "train",
    "commit_pruned": "train",
    "configuration_hash": "identity",
    "load_dataset": "train",
    "run_hash": "identity",
    "source_digest": "identity",
}


def __getattr__(name: str) -> Any:
    # These import torch, which whoever only reads texts or stamps does without.
    if name in _MODULES:
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
