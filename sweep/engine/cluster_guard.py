"""Ends what is left of a Ray cluster once its driver is gone, however that ended: agents of Ray live on for minutes
where both the driver and the control store were killed. A process of its own, which is run as a file: it waits for its
standard input to end, whose other end the driver has."""

from __future__ import annotations

import os
import sys

import psutil

VARIABLE = "SWEEP_CLUSTER"
"""Environment variable of the processes of a cluster of one's own: the folder of its logs."""


def end_processes_of(folder: str, driver: psutil.Process) -> None:
    """Kill all processes that write to files in a folder, as all of a cluster do to its logs, and what they start; but
    not the driver, which has let go of the cluster and lives on."""
    while found := [p for p in psutil.process_iter() if p != driver and _writes_to(p, folder)]:
        for process in found:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        # One whose parent does not ask for its end stays as a zombie, which has no files.
        psutil.wait_procs(found, timeout=0.2)


def _writes_to(process: psutil.Process, folder: str) -> bool:
    # Not the environment: Ray's agents overwrite theirs with a title.
    try:
        return any(file.path.startswith(f"{folder}/") and file.mode != "r" for file in process.open_files())
    except psutil.Error:  # another user's, or gone
        return False


if __name__ == "__main__":
    parent = psutil.Process(os.getppid())
    sys.stdin.read()
    end_processes_of(sys.argv[1], parent)
