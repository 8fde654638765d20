"""The benchmark of faults: what it shows a sweep, and what it says where there is nothing to strike."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.faults import show_memory
from benchmarks.struck_sweep import Struck


@pytest.mark.skipif(not Path("/proc/meminfo").exists(), reason="needs Linux")
def test_memory_is_shown_in_place_for_what_already_reads_it(tmp_path: Path) -> None:
    struck = Struck(tmp_path, "results")
    shown = show_memory(struck, 0.5)
    before = shown.stat().st_ino
    assert show_memory(struck, 0.01).stat().st_ino == before
    found = dict(re.findall(r"(?m)^(\w+):\s+(\d+) kB$", shown.read_text()))
    real = dict(re.findall(r"(?m)^(\w+):\s+(\d+) kB$", Path("/proc/meminfo").read_text()))
    assert found["MemTotal"] == real["MemTotal"]
    assert int(found["MemAvailable"]) == int(real["MemTotal"]) // 100
    assert found.keys() == real.keys()


def test_a_part_that_is_not_there_cannot_be_struck(tmp_path: Path) -> None:
    struck = Struck(tmp_path, "results")
    struck.driver = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        assert struck.part("driver").pid == struck.driver.pid != os.getpid()
        with pytest.raises(LookupError, match="there was no raylet"):
            struck.part("raylet")
        assert not struck.has_cluster()
        assert not struck.has_checkpoint()
    finally:
        struck.driver.communicate()
    assert struck.children() == []
