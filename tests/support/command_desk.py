"""A folder with a sweeps.yaml in which commands are run, as a user does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml
from support.forked_programs import Program
from support.prepared_commands import ROOT, commands

from sweep.results.tables import load

IGNORED = ["seconds", "seconds_per_epoch", "samples_per_second", "peak_memory_mib", "attempts"]
"""Columns that the clock or the machine fills."""


class Desk:
    """odd: let the commands know the odd method, and one whose phases are not all validated, too."""

    def __init__(self, folder: Path, odd: bool = False) -> None:
        self.folder = folder
        self._paths = [str(ROOT), *([str(ROOT / "tests"), str(_package(folder))] if odd else [])]

    def write(self, **sweeps: dict[str, Any]) -> None:
        (self.folder / "sweeps.yaml").write_text(yaml.safe_dump({"sweeps": sweeps}))

    def start(self, *words: str) -> subprocess.Popen[str]:
        """A command in an interpreter of its own, as a user starts it, to be signalled and killed."""
        command = [sys.executable, "-m", "sweep", *words]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(
            command, cwd=self.folder, env=self._environment(), text=True, start_new_session=True, **pipes
        )

    def begin(self, *words: str) -> Program:
        """A command as :meth:`start` gives it, in a process that need not import torch first."""
        return Program(None, *words, folder=self.folder, environment=self._environment())

    def run(self, *words: str) -> tuple[int, str, str]:
        """Exit code of a command and what it wrote."""
        return commands.run(words, self.folder, self._environment())

    def _environment(self) -> dict[str, str]:
        paths = os.pathsep.join(self._paths)
        return {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "COLUMNS": "160"}

    def finished(self, results: str = "results") -> list[Path]:
        return sorted((self.folder / results / "runs").glob("*/final.json"))

    def logged(self, name: str) -> set[float]:
        """Values that the committed runs have logged under a name, of all their epochs."""
        files = [final.parent / "metrics.jsonl" for final in self.finished()]
        return {json.loads(line)["diagnostics"][name] for file in files for line in file.read_text().splitlines()}

    def table(self, name: str = "s", results: str = "results") -> list[dict[str, Any]]:
        """What a sweep's runs led to, without what a clock or the machine says."""
        frame = load(self.folder / results / name)
        dropped = [c for c in frame if c in IGNORED or c.startswith("env.")]
        rows = frame.drop(columns=dropped).sort_values(["role", "hash"])
        return list(json.loads(rows.to_json(orient="records", double_precision=15)))

    def wait_for(self, count: int, process: subprocess.Popen[str] | Program, results: str = "results") -> None:
        """Until ``count`` runs are committed, or the process ends."""
        while len(self.finished(results)) < count:
            assert process.poll() is None, process.communicate()
            time.sleep(0.02)


def kill(process: subprocess.Popen[str] | Program) -> None:
    """SIGKILL to the driver and all it has started, as a power cut would."""
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def _package(folder: Path) -> Path:
    """A folder that makes troubled_method.py and contract_methods.py look like an installed package of two methods."""
    found = folder / "packages"
    described = found / "odd-1.dist-info"
    described.mkdir(parents=True)
    (described / "METADATA").write_text("Metadata-Version: 2.1\nName: odd\nVersion: 1\n")
    declared = "odd = support.troubled_method:Odd\nestimates = support.contract_methods:Estimates\n"
    (described / "entry_points.txt").write_text(f"[sweep.methods]\n{declared}")
    return found
