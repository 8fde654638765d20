"""Decoding in several processes of this machine."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing.connection import wait as wait_for
from multiprocessing.context import ForkServerContext
from typing import TypeVar

from data.base import DataError
from data.base.allocation import keep_freed_memory
from data.prepared.cache.decoding import Advance, Runner, run_here
from data.prepared.cache.preparation import Shard
from data.prepared.cache.records import Marker

T = TypeVar("T")

START = "forkserver" if sys.platform == "linux" else "spawn"
"""Elsewhere libraries that torch is built on may not be forked."""
IMPORTED = ["data.prepared"]
"""What one process imports, torch with it, where all those that decode begin with its imports."""
AHEAD = 2
"""Shards that each process has before it."""
KEPT = "what was finished is kept, run again to go on"


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
        _submit(pool, int).result()
        advance(0)
        while ahead or running:
            while ahead and len(running) < AHEAD * workers:
                shard, waits = ahead.popleft()
                running[_submit(pool, Shard.run, shard, waits)] = shard
            for done in wait(running, return_when=FIRST_COMPLETED).done:
                shard = running[done]
                if (marker := done.result()) is None:
                    ahead.append((shard, True))
                else:
                    advance(len(shard.items))
                    yield marker
                del running[done]
    except _StartError as error:
        what = "a process that decodes could not be started, as what starts it was killed (out of memory?)"
        raise DataError(f"{shards[0].cache}: {what}; {KEPT}") from error
    except BrokenProcessPool as error:
        samples = ", ".join(f"{s.items[0].id} to {s.items[-1].id}" for s in running.values())
        what = "a process that decodes was killed, or a decoder crashed it"
        raise DataError(f"{shards[0].cache}: {what}{samples and f', on a sample of {samples}'}; {KEPT}") from error


class _StartError(RuntimeError):
    """A process could not be started."""


def _submit(pool: ProcessPoolExecutor, work: Callable[..., T], *arguments: object) -> Future[T]:
    """Hand work to a pool, which may start a process for it. Raises _StartError where what starts it is gone."""
    try:
        return pool.submit(work, *arguments)
    except (EOFError, ConnectionError) as error:
        raise _StartError from error


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
