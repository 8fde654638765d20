"""Memory that a process of ours has freed stays at hand.

glibc asks the system for each block above a threshold anew and returns it when it is freed, and returns what is free at
the end of its heap: every batch and every layer's output is then paid for again with a page fault for each 4 KiB (471
for a sample of 20 s of sound). Both thresholds are raised in every process that this project starts: in commands and in
processes that decode by :func:`keep_freed_memory`, in what Ray runs by :func:`keeping_variables`. These also give every
thread the heap of the process, as glibc's other arenas end at 64 MiB and a worker of several trains in such a thread. A
process that calls ``fit`` belongs to its user and is left as it is.

Only glibc has these settings; with another C library (musl, macOS, Windows) nothing happens. Nor does it where glibc's
own variables are set (``MALLOC_TRIM_THRESHOLD_``, ``GLIBC_TUNABLES=glibc.malloc...``): who set them has decided."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Mapping

LARGEST_KEPT = 128 * 2**20
"""Bytes of a block from which on the system is asked for it: a batch of 64 sounds of 20 s has 82 MB."""
MOST_KEPT = 512 * 2**20
"""Bytes free at the end of the heap from which on they are returned. A run that trains two ResNets is 3 % larger at its
largest with this, 12 % where it evaluates four times the batch (docs/measurements/input.md)."""

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # malloc.h
_OLD_LARGEST = 32 * 2**20
"""The largest block that older versions allow."""


def keep_freed_memory(environment: Mapping[str, str] = os.environ) -> bool:
    """Keep freed memory in this process from now on; tell whether that could be set."""
    library = _glibc()
    if library is None or _is_decided(environment):
        return False
    # Older versions refuse more than their own largest.
    largest = any(library.mallopt(_MMAP_THRESHOLD, size) for size in (LARGEST_KEPT, _OLD_LARGEST))
    return largest and bool(library.mallopt(_TRIM_THRESHOLD, MOST_KEPT))


def keeping_variables(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Give the environment variables with which a process that starts keeps freed memory; none where ``environment``
    decides."""
    if _is_decided(environment):
        return {}
    return {
        "MALLOC_MMAP_THRESHOLD_": str(LARGEST_KEPT),
        "MALLOC_TRIM_THRESHOLD_": str(MOST_KEPT),
        "MALLOC_ARENA_MAX": "1",
    }


def return_freed_memory() -> None:
    """Give back to the system what is free, as between two runs of a process."""
    library = _glibc()
    if library is not None:
        library.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    if sys.platform != "linux":
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "mallopt") and hasattr(library, "malloc_trim") else None


def _is_decided(environment: Mapping[str, str]) -> bool:
    return "glibc.malloc." in environment.get("GLIBC_TUNABLES", "") or any(
        name.startswith("MALLOC_") for name in environment
    )
