"""Ends what is left of a Ray cluster once its driver is gone, however that ended: agents of Ray live on for minutes
where both the driver and the control store were killed. A process of its own, which is run as a file: it waits for its
standard input to end, whose other end the driver has."""

from __future__ import annotations

import os
import sys

import psutil

VARIABLE = "SWEEP_CLUSTER"
"""Environment variable that marks every process of a cluster."""


def end_marked_processes(mark: str) -> None:
    """Kill all processes of this user that were started with a mark in their environment, and what they start."""
    while found := [process for process in psutil.process_iter() if _is_marked(process, mark)]:
        for process in found:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        # One whose parent does not ask for its end stays as a zombie, which has no environment.
        psutil.wait_procs(found, timeout=0.2)


def _is_marked(process: psutil.Process, mark: str) -> bool:
    try:
        return process.pid != os.getpid() and process.environ().get(VARIABLE) == mark
    except psutil.Error:  # another user's, or gone
        return False


if __name__ == "__main__":
    sys.stdin.read()
    end_marked_processes(sys.argv[1])
