"""Decoding in several processes of this machine."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing.connection import wait as wait_for
from multiprocessing.context import ForkServerContext

from data.base import DataError
from data.base.allocation import keep_freed_memory
from data.prepared.cache.decoding import Advance, Runner, run_here
from data.prepared.cache.preparation import Shard
from data.prepared.cache.records import Marker

START = "forkserver" if sys.platform == "linux" else "spawn"
"""Elsewhere libraries that torch is built on may not be forked."""
IMPORTED = ["data.prepared"]
"""What one process imports, torch with it, where all those that decode begin with its imports."""
AHEAD = 2
"""Shards that each process has before it."""


def processors() -> int:
    """Count the processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def pool_runner(workers: int) -> Runner:
    """Decode shards in ``workers`` processes, which end with this one however it ends."""

    def run(shards: Sequence[Shard], advance: Advance) -> Iterator[Marker]:
        if workers == 1 or len(shards) <= 1:
            yield from run_here(shards, advance)
            return
        context = multiprocessing.get_context(START)
        if isinstance(context, ForkServerContext):
            context.set_forkserver_preload(IMPORTED)
        begin = partial(begin_worker, dict(os.environ))
        pool = ProcessPoolExecutor(min(workers, len(shards)), context, initializer=begin)
        try:
            yield from _spread(pool, workers, shards, advance)
        finally:
            pool.shutdown(cancel_futures=True)

    return run


def _spread(pool: ProcessPoolExecutor, workers: int, shards: Sequence[Shard], advance: Advance) -> Iterator[Marker]:
    ahead = deque((shard, False) for shard in shards)
    running: dict[Future[Marker | None], Shard] = {}
    try:
        pool.submit(int).result()
        advance(0)
        while ahead or running:
            while ahead and len(running) < AHEAD * workers:
                shard, waits = ahead.popleft()
                running[pool.submit(Shard.run, shard, waits)] = shard
            for done in wait(running, return_when=FIRST_COMPLETED).done:
                shard = running[done]
                if (marker := done.result()) is None:
                    ahead.append((shard, True))
                else:
                    advance(len(shard.items))
                    yield marker
                del running[done]
    except BrokenProcessPool as error:
        raise DataError(
            f"{shards[0].cache}: a process that decodes was killed, or a decoder crashed it, on a sample of "
            f"{', '.join(f'{s.items[0].id} to {s.items[-1].id}' for s in running.values())}; what was finished is "
            "kept, run again to go on"
        ) from error


def begin_worker(environment: Mapping[str, str]) -> None:
    """Begin a process that decodes, with the environment of its parent and not of an earlier moment."""
    os.environ |= environment
    keep_freed_memory()
    _end_with_parent()


def _end_with_parent() -> None:
    """End with the parent: a process whose parent was killed would wait for work for ever. Ctrl-C is the parent's to
    answer."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def end() -> None:
        wait_for([parent.sentinel])
        os._exit(1)

    threading.Thread(target=end, daemon=True).start()
