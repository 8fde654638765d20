"""Decode once: what is missing of a cache is decoded, here or by a runner, and the cache is completed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol, TypeVar

from data.prepared.cache.folder import CacheFolder
from data.prepared.cache.preparation import Preparation, Shard
from data.prepared.cache.records import Marker, Meta, Skipped

Advance = Callable[[int], None]
"""Is told how many samples have just been prepared."""


Runner = Callable[[Sequence[Shard], Advance], Iterator[Marker]]
"""Decodes shards, in any order, in this process or others."""


class Watcher:
    """Is told how a preparation goes. This one says nothing."""

    def expect(self, samples: int) -> None:
        """Hear that so many samples are to be decoded."""

    def advance(self, samples: int) -> None:
        """Hear that so many of them have just been."""


def prepare(work: Preparation, run: Runner | None = None, watcher: Watcher | None = None) -> Meta:
    """Make the cache, as far as it is not there; in this process, where no other ``run`` is given. Raises DataError."""
    watcher = watcher or Watcher()
    folder = work.folder
    if (meta := folder.meta()) is not None:
        work.check(meta.skipped)
        return meta
    work.check()
    found, pending = markers_and_pending(folder, work.shards, again=True)
    watcher.expect(sum(len(shard.items) for shard in pending))
    folder.check_room(sum(shard.bytes for shard in pending))
    while pending:
        skipped = list[Skipped]()
        for marker in (run or run_here)(pending, watcher.advance):
            skipped += marker.skipped
            work.check(skipped)
        # Another process may have taken back what was skipped, to try that again.
        found, pending = markers_and_pending(folder, work.shards)
    return finish(work, found)


def finish(work: Preparation, markers: Iterable[Marker]) -> Meta:
    """Complete the cache, all of whose shards are there. Raises DataError."""
    skipped = [skip for marker in markers for skip in marker.skipped]
    work.check(skipped)
    with work.folder.writing(0):
        return work.folder.finish(*work.ending(skipped))


class Located(Protocol):
    """A shard, or what says where it belongs."""

    @property
    def name(self) -> str: ...
    @property
    def bytes(self) -> int: ...


L = TypeVar("L", bound=Located)


def markers_and_pending(folder: CacheFolder, shards: Iterable[L], again: bool = False) -> tuple[list[Marker], list[L]]:
    """List what the cache has of the shards, and those that are to be decoded. again: with those that have skipped
    samples, for what was wrong may be mended."""
    found, pending = list[Marker](), list[L]()
    for shard in shards:
        marker = folder.marker(shard.name)
        if marker is not None and marker.skipped and again:
            with folder.writing(shard.bytes):
                folder.forget(shard.name)
            marker = None
        if marker is None:
            pending.append(shard)
        else:
            found.append(marker)
    return found, pending


def run_here(shards: Sequence[Shard], advance: Advance) -> Iterator[Marker]:
    """Decode in this process, first what no other process is at."""
    ahead = deque((shard, False) for shard in shards)
    while ahead:
        shard, wait = ahead.popleft()
        marker = shard.run(wait)
        if marker is None:
            ahead.append((shard, True))
        else:
            advance(len(shard.items))
            yield marker
