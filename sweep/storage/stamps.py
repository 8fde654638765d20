"""Stamps of files, by which it is noticed that one has changed without reading it."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass

SETTLED = 2.0
"""Seconds since its last change after which a file is settled: clocks of file systems are as coarse as that."""


@dataclass(frozen=True)
class Stamps:
    """Digest of the stamps of several files, in their order. settled: any is there, and none was changed a moment ago,
    as one that is changed once more in that moment could keep its stamp."""

    digest: str
    settled: bool


def stamp_files(paths: Iterable[str]) -> Stamps:
    """Stamp files: times of their content and of their state, size and number; that one is not there counts, too."""
    found, newest = hashlib.sha256(), 0
    for path in paths:
        try:
            state = os.stat(path)
        except OSError:
            found.update(b"-")
            continue
        newest = max(newest, state.st_ctime_ns)
        found.update(b"%d %d %d %d;" % (state.st_mtime_ns, state.st_ctime_ns, state.st_size, state.st_ino))
    return Stamps(found.hexdigest(), 0 < newest < time.time_ns() - int(SETTLED * 1e9))
