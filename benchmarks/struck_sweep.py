"""A sweep under way as a process of its own, for the benchmark of faults: started, watched, and taken to its parts."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from benchmarks.kills import ROOT

PARTS = {
    "raylet": r"raylet/raylet ",
    "gcs": r"gcs_server ",
    "actor": r"ray::(RunActor|GroupActor|ResourceTrainable)",
    "worker": r"ray::\S*RayTrainWorker",
}
"""Of a cluster: what the command lines of its processes look like."""


@dataclass
class Struck:
    """A sweep under way. folder: of sweeps.yaml. before: what stands before the command. environment: of the command,
    beside the usual."""

    folder: Path
    results: str
    words: list[str] = field(default_factory=list)
    before: list[str] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)
    told: list[str] = field(default_factory=list)
    """What the fault itself has to tell."""
    processes: list[psutil.Process] = field(default_factory=list)
    """Those that the driver has started when the fault strikes."""

    @property
    def log(self) -> Path:
        return self.folder / "log.txt"

    def start(self) -> subprocess.Popen[bytes]:
        """Give the command."""
        words = ["-m", "sweep", "run", "s", "--no-report", "--results", self.results, *self.words]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **self.environment}
        with self.log.open("ab") as log:
            command = [*self.before, sys.executable, *words]
            return subprocess.Popen(command, cwd=self.folder, env=environment, stdout=log, stderr=log)

    def begin(self, ready: Callable[[Struck], bool]) -> bool:
        """Start the sweep and wait until it is ready for the fault; False where it ends before."""
        self.driver = self.start()
        while not ready(self):
            if self.driver.poll() is not None:
                return False
            time.sleep(0.02)
        self.processes = self.children()
        return True

    def children(self) -> list[psutil.Process]:
        """List all processes that the driver has started."""
        try:
            return list(psutil.Process(self.driver.pid).children(recursive=True))
        except psutil.NoSuchProcess:
            return []

    def part(self, name: str) -> psutil.Process:
        """Find a process: the driver, or a part of its cluster. Raises LookupError where there is none."""
        if name == "driver":
            return psutil.Process(self.driver.pid)
        for child in self.children():
            with suppress(psutil.Error):
                if re.search(PARTS[name], " ".join(child.cmdline())):
                    return child
        raise LookupError(f"there was no {name}")

    def has_checkpoint(self) -> bool:
        return any(self.folder.rglob("checkpoint.pt"))

    def has_cluster(self) -> bool:
        with suppress(LookupError):
            return self.part("raylet").is_running()
        return False

    def signs(self) -> tuple[int, ...]:
        """Sizes of all that tells that the sweep lives."""
        return tuple(path.stat().st_size for path in [self.log, *sorted(self.folder.rglob("metrics.jsonl"))])


def lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def said(log: Path) -> list[str]:
    """Lines of the commands but those that count runs."""
    lines = log.read_text(errors="replace").splitlines()
    return [line[:250] for line in lines if line.strip() and " runs ended" not in line]
