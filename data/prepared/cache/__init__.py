"""Decoded media on the disk: a :class:`SampleStore` a form, where each medium is decoded once whatever lists it stands
in, written in shards by as many processes as there are and mapped by all that read. A :class:`Preparation` comes in;
stores with all its samples go out, the same to the byte whoever made them, however often the work was killed. Nothing
else writes in these folders."""

from __future__ import annotations

from data.prepared.cache.computed import (
    Computed,
    ComputedSplit,
    cached_splits,
)
from data.prepared.cache.decoding import (
    Advance,
    Runner,
    Watcher,
    prepare,
    reserve,
    run_here,
)
from data.prepared.cache.folder import (
    VARIABLE,
    CacheError,
    CacheFolder,
    cache_root,
    read_only,
    size,
    stored_bytes,
)
from data.prepared.cache.pool import (
    pool_runner,
    processors,
)
from data.prepared.cache.preparation import (
    Preparation,
    Shard,
)
from data.prepared.cache.records import (
    Content,
    Marker,
    Meta,
    Skipped,
)
from data.prepared.cache.store import SampleStore

__all__ = [
    "VARIABLE",
    "Advance",
    "CacheError",
    "CacheFolder",
    "Computed",
    "ComputedSplit",
    "Content",
    "Marker",
    "Meta",
    "Preparation",
    "Runner",
    "SampleStore",
    "Shard",
    "Skipped",
    "Watcher",
    "cache_root",
    "cached_splits",
    "pool_runner",
    "prepare",
    "processors",
    "read_only",
    "reserve",
    "run_here",
    "size",
    "stored_bytes",
]
