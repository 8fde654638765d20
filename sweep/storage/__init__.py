"""Bytes that a kill cannot spoil: files written whole or not at all, folders of object storage, and leases on both.

In come paths, keys and bytes, out come the same, or a :class:`StoreError` that names the path and the remedy. This room
knows no record, no run and no sweep. What a file may contain is the business of :mod:`sweep.runs`, which alone writes
into a results folder, with :mod:`sweep.results` and :mod:`sweep.search` for what can be rebuilt."""

from __future__ import annotations

from sweep.storage.files import LockedError, StoreError, append_line, guarded, make_folder, write_atomic
from sweep.storage.leases import Hold, Leases
from sweep.storage.remote import Storage, is_uri

__all__ = [
    "Hold",
    "Leases",
    "LockedError",
    "Storage",
    "StoreError",
    "append_line",
    "guarded",
    "is_uri",
    "make_folder",
    "write_atomic",
]
