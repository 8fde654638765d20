"""What is left of a cluster ends with its driver."""

from __future__ import annotations

import os
import subprocess
import sys

from sweep.engine import cluster_guard

SLEEPER = [sys.executable, "-S", "-c", "import sys; print(flush=True); sys.stdin.read()"]


def sleeper(mark: str) -> subprocess.Popen[bytes]:
    """A process of a marked cluster that waits to be ended."""
    environment = {**os.environ, cluster_guard.VARIABLE: mark}
    found = subprocess.Popen(SLEEPER, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert found.stdout is not None
    found.stdout.readline()
    return found


def test_processes_of_the_cluster_and_no_others_end_once_the_driver_has_let_go() -> None:
    ours, others = sleeper("ours"), sleeper("others")
    environment = {**os.environ, cluster_guard.VARIABLE: "ours"}
    command = [sys.executable, "-I", cluster_guard.__file__, "ours"]
    guard = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE)
    assert ours.poll() is None
    guard.communicate(timeout=300)
    assert ours.wait(timeout=300) < 0
    assert guard.returncode == 0
    assert others.poll() is None
    others.communicate()
    assert others.returncode == 0
