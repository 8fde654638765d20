"""Runs that hang are ended by force, and only they."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.prepared_commands import commands

from sweep.engine import watchdog
from sweep.engine.watchdog import Watchdog, forced_end, interrupted_at_forced_end, overtime_error
from sweep.runs.failures import OvertimeError
from sweep.runs.run_folder import RunFolder


def test_a_hang_in_native_code_that_holds_pythons_lock_ends_the_process(tmp_path: Path) -> None:
    script = """
import ctypes, pathlib, sys
from sweep.engine import watchdog
from sweep.runs.run_folder import RunFolder
watchdog.GRACE = 0.5
watching = watchdog.Watchdog(RunFolder(pathlib.Path(sys.argv[1])), 0.2)
ctypes.PyDLL(None).sleep(600)  # PyDLL: the lock is not released
"""
    code, _, err = commands.run_code(script, str(tmp_path))
    assert code == 1
    assert "Timeout" in err


def test_a_run_that_ends_in_time_takes_its_watchdogs_with_it(tmp_path: Path) -> None:
    script = """
import pathlib, sys, threading
from sweep.engine import watchdog
from sweep.runs.run_folder import RunFolder
watchdog.GRACE = 0.1
watchdog.Watchdog(RunFolder(pathlib.Path(sys.argv[1])), 0.2).cancel()
threading.Event().wait(1)
"""
    code, _, err = commands.run_code(script, str(tmp_path))
    assert code == 0, err


def test_an_interruption_reaches_code_that_swallows_the_first_one() -> None:
    def stubborn() -> None:
        try:
            time.sleep(600)
        except OvertimeError:
            time.sleep(600)

    with pytest.raises(OvertimeError, match="hangs"), interrupted_at_forced_end(0.01):
        stubborn()
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_a_run_has_ten_seconds_beyond_its_timeout_or_as_much_again() -> None:
    assert [forced_end(timeout) for timeout in (2.0, 10.0, 60.0)] == [4.0, 20.0, 70.0]
    said = "hangs: a step still ran 70 s after the start (timeout 60 s)"
    assert str(overtime_error(60.0)) == said


def test_without_a_timeout_nothing_interrupts() -> None:
    before = signal.getsignal(signal.SIGALRM)
    with interrupted_at_forced_end(None):
        assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    with interrupted_at_forced_end(30.0):
        left, again = signal.getitimer(signal.ITIMER_REAL)
        assert 30.0 < left <= 40.0
        assert again == 1.0
        assert signal.getsignal(signal.SIGALRM) is not before
    assert signal.getsignal(signal.SIGALRM) is before


class Hand:
    """Stands for timer and traceback, so that a test says when the time is over."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[object] = []
        monkeypatch.setattr(watchdog.threading, "Timer", self.timer)
        monkeypatch.setattr(watchdog.faulthandler, "dump_traceback_later", lambda after, **_: self.asked.append(after))
        monkeypatch.setattr(watchdog.faulthandler, "cancel_dump_traceback_later", lambda: self.asked.append("no dump"))
        monkeypatch.setattr(watchdog.os, "_exit", lambda code: self.asked.append(f"exit {code}"))
        monkeypatch.setattr(watchdog, "commit_failure", lambda folder, error: self.asked.append(str(error)))

    def timer(self, after: float, end: Callable[[], None]) -> Hand:
        self.asked.append(after)
        self.end = end
        return self

    def start(self) -> None:
        self.asked.append("daemon" if self.daemon else "no daemon")

    def cancel(self) -> None:
        self.asked.append("no timer")

    daemon = False


def test_a_watchdog_leaves_the_reason_and_ends_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hand = Hand(monkeypatch)
    Watchdog(RunFolder(tmp_path), 60.0, last=lambda: hand.asked.append("last"))
    assert sorted(map(str, hand.asked)) == ["70.0", "80.0", "daemon"]
    hand.asked.clear()
    hand.end()
    assert hand.asked == [str(overtime_error(60.0)), "last", "exit 1"]


def test_whoever_cancels_waits_while_the_process_is_being_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hand, held = Hand(monkeypatch), list[bool]()
    watching = Watchdog(RunFolder(tmp_path), 60.0, last=lambda: held.append(watching._lock.locked()))
    hand.end()
    assert held == [True]
    watching.cancel()
    assert not watching._lock.locked()


def test_the_log_says_where_the_run_hung(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hand, errors = Hand(monkeypatch), list[Exception]()
    monkeypatch.setattr(watchdog, "commit_failure", lambda folder, error: errors.append(error))
    Watchdog(RunFolder(tmp_path), 60.0)
    hand.end()
    (note,) = errors[0].__notes__
    assert note.startswith("it was here:\n")
    assert "test_the_log_says_where_the_run_hung" in note


def test_a_watchdog_that_was_cancelled_ends_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hand = Hand(monkeypatch)
    watching = Watchdog(RunFolder(tmp_path), 60.0, after=5.0)
    assert sorted(map(str, hand.asked)) == ["15.0", "5.0", "daemon"]
    hand.asked.clear()
    watching.cancel()
    hand.end()
    assert hand.asked == ["no timer", "no dump"]
    # Nothing need be done before the end.
    Watchdog(RunFolder(tmp_path), 60.0)
    hand.asked.clear()
    hand.end()
    assert hand.asked == [str(overtime_error(60.0)), "exit 1"]


def test_a_process_ends_even_where_the_reason_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hand = Hand(monkeypatch)

    def refuse(folder: RunFolder, error: BaseException) -> None:
        raise OSError("no room")

    monkeypatch.setattr(watchdog, "commit_failure", refuse)
    Watchdog(RunFolder(tmp_path), 60.0)
    with pytest.raises(OSError, match="no room"):
        hand.end()
    assert hand.asked[-1] == "exit 1"
