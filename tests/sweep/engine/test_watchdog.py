"""Runs that hang are ended by force, and only they."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest
from support.prepared_commands import commands

from sweep.engine.watchdog import interrupted_at_forced_end
from sweep.runs.failures import OvertimeError


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
