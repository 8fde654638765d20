"""Watches what a sweep on Ray cannot go on without: the processes of its cluster. Ray itself waits for them for ever,
in silence, or ends the driver in its own way. Nothing here needs Ray."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import FrameType

import psutil

from sweep.storage.files import StoreError

EVERY = 1.0
"""Seconds between two looks."""
STOPPED_LOOKS = 60
"""So many looks at a process that is stopped, and it counts as gone."""
UNREACHABLE = 30.0
"""Seconds without an answer, and the head of a cluster counts as gone: before Ray ends the driver, which is at 60."""
STUCK = 20.0
"""Seconds that the main thread has to get out of Ray, once its cluster is gone."""

Sign = Callable[[], str | None]
"""Says in words what is gone; None while it is there."""


class LostClusterError(StoreError):
    """The Ray cluster of a sweep is gone, or a part without which nothing is trained."""


class Interruption(BaseException):
    """Gets the main thread out of whatever it waits for; no error, so that nothing on the way takes it for its own."""


def process_sign(name: str, process: int) -> Sign:
    """Return a sign that a process of this machine is gone: it has ended, or is stopped and not continued."""
    gone = f"its {name} (process {process}) was killed, or crashed"
    try:
        watched = psutil.Process(process)
    except psutil.NoSuchProcess:
        return lambda: gone
    stopped = 0

    def look() -> str | None:
        nonlocal stopped
        try:
            status = watched.status() if watched.is_running() else psutil.STATUS_DEAD
        except psutil.NoSuchProcess:
            return gone
        stopped = stopped + 1 if status == psutil.STATUS_STOPPED else 0
        if stopped > STOPPED_LOOKS:
            return f"its {name} (process {process}) is stopped, and was not continued"
        return gone if status in (psutil.STATUS_DEAD, psutil.STATUS_ZOMBIE) else None

    return look


def address_sign(name: str, host: str, port: int, clock: Callable[[], float] = time.monotonic) -> Sign:
    """Return a sign that nobody has answered at an address for :data:`UNREACHABLE` seconds."""
    answered = clock()

    def look() -> str | None:
        nonlocal answered
        try:
            socket.create_connection((host, port), 5.0).close()
        except OSError:
            silent = clock() - answered
            return f"its {name} at {host}:{port} has not answered for {silent:.0f} s" if silent > UNREACHABLE else None
        answered = clock()
        return None

    return look


def _gone(lost: str) -> str:
    return f"the Ray cluster is gone: {lost}"


class ClusterWatch:
    """Interrupts the main thread once a sign shows, whatever that waits for.

    stuck: hears of a main thread that cannot be interrupted, with what is gone; the process is ended after it, with
    exit code 1, as are those that it has started."""

    def __init__(self, signs: Iterable[Sign], stuck: Callable[[str], None]) -> None:
        self._signs, self._stuck = list(signs), stuck
        self._lost: str | None = None

    def lost(self) -> str | None:
        """Look now; return what is gone. What was gone once is."""
        self._lost = self._lost or next((said for sign in self._signs if (said := sign()) is not None), None)
        return self._lost

    def check(self) -> None:
        """Look now. Raises LostClusterError."""
        if (lost := self.lost()) is not None:
            raise LostClusterError(_gone(lost))

    def interrupting(self, allowed: Callable[[], bool] = lambda: True) -> AbstractContextManager[None]:
        """End the body with a LostClusterError once something is gone: by an Interruption, in the main thread, at any
        place where ``allowed`` holds. Code of others may make an error of that, which becomes a LostClusterError, too.
        """
        return _Interrupting(self, self._stuck, allowed)


class _Interrupting:
    """The body of a :meth:`ClusterWatch.interrupting`, and the thread that looks meanwhile."""

    def __init__(self, watch: ClusterWatch, stuck: Callable[[str], None], allowed: Callable[[], bool]) -> None:
        self._watch, self._stuck, self._allowed, self._done = watch, stuck, allowed, threading.Event()
        self._thread = threading.Thread(target=self._look, name="cluster watch", daemon=True)

    def __enter__(self) -> None:
        self._before = signal.signal(signal.SIGALRM, self._interrupt)
        self._thread.start()

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._done.set()
        self._thread.join()
        signal.signal(signal.SIGALRM, self._before)
        if isinstance(error, Interruption | Exception):
            self._watch.check()

    def _look(self) -> None:
        main, deadline = threading.main_thread().ident or 0, None
        while not self._done.wait(EVERY):
            if (lost := self._watch.lost()) is None:
                continue
            deadline = deadline or time.monotonic() + STUCK
            if time.monotonic() > deadline:
                end_stuck_process(lambda: self._stuck(_gone(lost)))
            # Again and again: an import or a finaliser may have swallowed the first.
            signal.pthread_kill(main, signal.SIGALRM)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        if not self._done.is_set() and not _is_between(frame) and self._allowed():
            raise Interruption


def _is_between(frame: FrameType | None) -> bool:
    """Tell whether the main thread is on its way into the body, or out of it already: an Interruption there would leave
    the thread behind, and with it Interruptions without end."""
    ways = (_Interrupting.__enter__.__code__, _Interrupting.__exit__.__code__)
    while frame is not None and frame.f_code not in ways:
        frame = frame.f_back
    return frame is not None


@contextmanager
def ended_by_force(say: Callable[[], None], within: float = STUCK) -> Iterator[None]:
    """End this process, with exit code 1, where the body takes longer; ``say`` comes first."""
    timer = threading.Timer(within, end_stuck_process, (say,))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def end_stuck_process(say: Callable[[], None]) -> None:
    """Say why, then end this process and all that it has started."""
    try:
        say()
    finally:
        for child in psutil.Process().children(recursive=True):
            try:
                child.kill()
            except psutil.NoSuchProcess:
                continue
        os._exit(1)
