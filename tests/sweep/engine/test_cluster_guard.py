"""What is left of a cluster ends with its driver."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from sweep.engine import cluster_guard

SLEEPER = "import sys; file = open(*sys.argv[1:]); print(flush=True); sys.stdin.read()"


def sleeper(log: Path, mode: str) -> subprocess.Popen[bytes]:
    """A process with an open log, which waits for its end."""
    command = [sys.executable, "-S", "-c", SLEEPER, str(log), mode]
    found = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert found.stdout is not None
    found.stdout.readline()
    return found


def test_processes_of_the_cluster_and_no_others_end_once_the_driver_has_let_go(tmp_path: Path) -> None:
    for name in ("ours", "ours2"):
        (tmp_path / name / "logs").mkdir(parents=True)
    log, other = (tmp_path / name / "logs" / "raylet.out" for name in ("ours", "ours2"))
    ours, others = sleeper(log, "a"), [sleeper(other, "a"), sleeper(log, "r")]
    command = [sys.executable, "-I", cluster_guard.__file__, str(tmp_path / "ours")]
    guard = subprocess.Popen(command, stdin=subprocess.PIPE)
    assert ours.poll() is None
    with log.open("a"):  # as a driver has it that lives on, this process
        guard.communicate(timeout=300)
    assert ours.wait(timeout=300) < 0
    assert guard.returncode == 0
    for process in others:
        assert process.poll() is None
        process.communicate()
        assert process.returncode == 0
