"""Ctrl-C, SIGTERM and SIGHUP, in one place: the first asks the command to end where nothing is lost, the second ends
it, and every process that it started, at once. Either way the same command goes on later. A terminal that is closed
sends SIGHUP, often twice, so its repetition is none; under nohup it stays ignored."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

import psutil

INTERRUPTED = 130
"""Exit code of a command that a signal ended."""


class _State:
    asked = False
    ask: Callable[[], None] | None = None


def install() -> None:
    """Handle these signals in this process; the main thread must call it. The first raises KeyboardInterrupt."""
    _State.asked = False
    _install()


@contextmanager
def deferred(ask: Callable[[], None] | None = None) -> Iterator[None]:
    """Have the first signal call ``ask`` in place of raising KeyboardInterrupt; without ``ask`` what is under way
    is finished, and KeyboardInterrupt raised after it."""
    pending = []
    outer, _State.ask = _State.ask, ask or (lambda: pending.append(True))
    _install()  # ray.init puts its own handler of SIGTERM
    try:
        yield
    finally:
        _State.ask = outer
    if pending:
        raise KeyboardInterrupt


def _install() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _handle)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, _handle)


def _handle(number: int, frame: FrameType | None) -> None:
    if _State.asked:
        if number == signal.SIGHUP:
            return
        _end()
    _State.asked = True
    with suppress(OSError):  # the terminal may be gone
        os.write(2, b"interrupted: ending in order; once more ends at once\n")
    if _State.ask is None:
        raise KeyboardInterrupt
    _State.ask()


def _end() -> None:
    """End without another word; the live display may have hidden the cursor."""
    for child in psutil.Process().children(recursive=True):
        try:
            child.kill()
        except psutil.NoSuchProcess:
            continue
    if sys.__stdout__ is not None and sys.__stdout__.isatty():
        os.write(sys.__stdout__.fileno(), b"\x1b[?25h")
    os._exit(INTERRUPTED)
