"""Decoded media on the disk: one folder a dataset, profile and content, written in shards by as many processes as there
are and mapped by all that read. A :class:`Preparation` comes in; a complete :class:`CacheFolder` goes out, the same to
the byte whoever made it, however often the work was killed. Nothing else writes in these folders."""

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
    finish,
    markers_and_pending,
    prepare,
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
    Samples,
    Skipped,
)

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
    "Samples",
    "Shard",
    "Skipped",
    "Watcher",
    "cache_root",
    "cached_splits",
    "finish",
    "markers_and_pending",
    "pool_runner",
    "prepare",
    "processors",
    "read_only",
    "run_here",
    "size",
    "stored_bytes",
]
