"""Runs whose end does not count, as a record of theirs is missing or cannot be read, in words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sweep.runs.run_folder import DamagedEnd
from sweep.runs.store import Store


def damaged_records(store: Store, hashes: Iterable[str]) -> list[str]:
    """Name the record of each run for which its end does not count."""
    ends = ((run_hash, store.run(run_hash).end()) for run_hash in dict.fromkeys(hashes))
    return [f"{store}/runs/{run_hash}/{end.record}" for run_hash, end in ends if isinstance(end, DamagedEnd)]


def damage_text(records: Sequence[str]) -> str:
    """Say how many runs count as not ended, and name the first record."""
    if len(records) == 1:
        return f"1 run counts as not ended, as {records[0]} is missing or cannot be read: run trains it again"
    return (
        f"{len(records)} runs count as not ended, as a record of each is missing or cannot be read (first: "
        f"{records[0]}): run trains them again"
    )
