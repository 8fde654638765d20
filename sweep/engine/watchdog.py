"""Ends a run by force where it hangs past its timeout."""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from sweep.runs.failures import OvertimeError
from sweep.runs.run_folder import RunFolder
from sweep.runs.train import commit_failure

GRACE = 10.0
"""Seconds after its timeout in which a run can still finish its epoch and end in order; at most the timeout itself."""


def forced_end(timeout: float) -> float:
    """Return the seconds after which a run is ended by force, in the midst of a step."""
    return timeout + min(GRACE, timeout)


def overtime_error(timeout: float) -> OvertimeError:
    """Return the error of a run that was ended by force."""
    return OvertimeError(f"hangs: a step still ran {forced_end(timeout):g} s after the start (timeout {timeout:g} s)")


class Watchdog:
    """Ends this process, with the reason on record, where a step still runs at ``after`` seconds (default: the limit of
    the timeout): neither Tune nor Python can interrupt it. last: called before the end.

    Where even that cannot run, as native code holds Python's lock, the process ends GRACE seconds later without a
    record; its stack is on standard error, and whoever waits for it says that it hung."""

    def __init__(
        self, folder: RunFolder, timeout: float, after: float | None = None, last: Callable[[], None] | None = None
    ) -> None:
        self._folder, self._timeout, self._last = folder, timeout, last
        self._cancelled, self._lock = False, threading.Lock()
        after = after if after is not None else forced_end(timeout)
        self._timer = threading.Timer(after, self._end)
        faulthandler.dump_traceback_later(after + GRACE, exit=True, file=sys.__stderr__ or sys.stderr)
        self._timer.daemon = True
        self._timer.start()

    def cancel(self) -> None:
        """Let the process live, as the run has ended; never returns where the process is being ended already."""
        with self._lock:
            self._cancelled = True
        self._timer.cancel()
        faulthandler.cancel_dump_traceback_later()

    def _end(self) -> None:
        with self._lock:
            if self._cancelled:
                return
            try:
                error = overtime_error(self._timeout)
                error.add_note("it was here:\n" + "".join(_stack()))
                commit_failure(self._folder, error)
                if self._last is not None:
                    self._last()
            finally:
                os._exit(1)


def _stack() -> list[str]:
    """Return where the main thread is."""
    return traceback.format_stack(sys._current_frames()[threading.main_thread().ident or 0])


@contextmanager
def interrupted_at_forced_end(timeout: float | None) -> Iterator[None]:
    """Raise OvertimeError in the main thread, whatever Python code it runs, at the limit of the timeout."""
    if timeout is None:
        yield
        return
    given = timeout

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise overtime_error(given)

    before = signal.signal(signal.SIGALRM, interrupt)
    # Again every second: an import or a finaliser may have swallowed the first.
    signal.setitimer(signal.ITIMER_REAL, forced_end(timeout), 1.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
