"""Decode once: what is missing of a cache is decoded, here or by a runner, and the cache is completed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence

from data.prepared.cache.preparation import Preparation, Shard
from data.prepared.cache.records import Marker, Meta

Advance = Callable[[int], None]
"""Is told how many samples have just been prepared; none: that the processes have started, and decoding begins."""


Runner = Callable[[Sequence[Shard], Advance], Iterator[Marker]]
"""Decodes shards, in any order, in this process or others."""


class Watcher:
    """Is told how a preparation goes. This one says nothing."""

    def expect(self, samples: int) -> None:
        """Hear that so many samples are to be decoded."""

    def advance(self, samples: int) -> None:
        """Hear that so many of them have just been; none: that decoding begins now."""


def prepare(work: Preparation, run: Runner | None = None, watcher: Watcher | None = None) -> Meta:
    """Make the cache, as far as it is not there; in this process, where no other ``run`` is given. Raises DataError."""
    watcher = watcher or Watcher()
    meta = work.folder.meta()
    skipped = list(meta.skipped) if meta else []
    work.check(skipped)
    work.repeats()
    pending = work.pending(skipped)
    if meta is not None and not pending:
        return meta
    work.require()
    watcher.expect(sum(len(shard.items) for shard in pending))
    reserve(work, pending)
    for marker in (run or run_here)(pending, watcher.advance):
        skipped += marker.skipped
        work.check(skipped)
    with work.folder.writing(0):
        return work.folder.finish(work.ending(skipped))


def reserve(work: Preparation, pending: Sequence[Shard]) -> None:
    """Give what is to be decoded its places on this machine. Raises CacheError, also where there is no room for it."""
    work.folder.check_room(sum(shard.bytes for shard in pending))
    work.allocate(pending)


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
