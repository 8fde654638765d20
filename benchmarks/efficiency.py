"""The share of training in a sweep of short runs, beside a plain Ray Tune script doing the same work.

    python -m benchmarks.efficiency [--runs 60] [--epochs 120] [--contenders sweep plain serial]

The work: ``--runs`` trainings of the joint method on the digits, one thread each. Each contender is a command of its
own, counted from its start to its end, all start-ups and imports included, as the processor seconds of all processes
that it starts (wall seconds mislead where others use the machine, too):

- sweep: ``python -m sweep run`` on Ray, as many runs at a time as there are cores;
- plain: a Ray Tune function trainable, as its guides show it: it loads the data, builds the method and trains;
- serial: ``python -m sweep run --local``, one run after another.

Share = processor seconds of the same trainings by themselves, one after another in a process that has imported and
loaded everything, half of ``--bare`` of them before the contenders and half after, / those of the contender. Printed,
too: which processes take the rest; wall seconds, and of the sweep's those from the start of its first run to the end of
its last; and an empty cluster (``--contenders empty``): ``ray.init``, one task in one actor, ``ray.shutdown``.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import yaml

from sweep.plan.build import plan
from sweep.runs.records import Run
from sweep.runs.train import build_method, load_dataset
from sweep.training.loop import fit

ROOT = Path(__file__).resolve().parent.parent
CONTENDERS = ("sweep", "plain", "serial")
FOLDERS = {"sweep": "on-ray", "serial": "in-process"}
"""Where the results of a contender lie."""
EVERY = 0.2
"""Seconds between two looks at the processes of a contender: of what one uses after the last look nothing is known."""


def write_sweep(folder: Path, runs: int, epochs: int) -> Path:
    """A file with the sweep ``bench``."""
    sweep = {"method": "joint", "datasets": ["digits"], "seeds": list(range(runs)), "epochs": epochs}
    path = folder / "sweeps.yaml"
    path.write_text(yaml.safe_dump({"sweeps": {"bench": {**sweep, "references": False, "keep": "none"}}}))
    return path


def work(path: Path) -> list[Run]:
    """The runs of the sweep in ``path``."""
    from sweep.config import load

    (sweep,) = load(path, ["bench"], [])
    planned = plan(sweep)
    return [run for study in planned.studies for c in study.configurations for run in c.runs(planned.seeds)]


def train_once(run: Run) -> dict[str, float]:
    """One training, without anything that a platform adds, and the processor seconds that it took."""
    dataset = load_dataset(run)
    started = time.process_time()
    result = fit(build_method(run, dataset), dataset, run.train, seed=run.seed, test_peak=run.test_peak)
    return {"value": result.validation["validation_accuracy"], "seconds": time.process_time() - started}


def bare(path: Path, count: int) -> None:
    """Print the processor seconds of a training by itself, after a first that does not count."""
    runs = work(path)[: count + 1]
    seconds = [train_once(run)["seconds"] for run in runs][1:]
    print(sum(seconds) / len(seconds))


def empty_cluster() -> None:
    """The least that anything on Ray takes."""
    import ray

    class Actor:
        """One with a task."""

        def task(self) -> int:
            """Return a number."""
            return 1

    ray.init("local", include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    assert ray.get(ray.remote(Actor).remote().task.remote()) == 1
    ray.shutdown()


def plain_tune(path: Path) -> None:
    """The script that a user of Ray Tune writes first."""
    import ray
    from ray import tune

    def trainable(config: dict[str, Any]) -> None:
        tune.report(train_once(Run.model_validate_json(config["run"])))

    ray.init(log_to_driver=False, runtime_env={"env_vars": {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}})
    space = {"run": tune.grid_search([run.model_dump_json() for run in work(path)])}
    with tempfile.TemporaryDirectory() as scratch:
        results = tune.Tuner(
            tune.with_resources(trainable, {"cpu": 1}),
            param_space=space,
            run_config=tune.RunConfig(storage_path=scratch, verbose=0),
        ).fit()
    assert not results.errors


@dataclass
class Count:
    """What a command took: wall seconds, the processor seconds of each kind of process, and what it printed."""

    wall: float = 0.0
    processors: Counter[str] = field(default_factory=Counter)
    said: str = ""

    @property
    def total(self) -> float:
        """Processor seconds of all processes."""
        return self.processors.total()

    def __str__(self) -> str:
        kinds = ", ".join(f"{kind} {seconds:.1f}" for kind, seconds in self.processors.most_common())
        return f"{self.total:6.1f} s of processors, {self.wall:6.1f} s wall ({kinds})"


def counted(words: list[str], folder: Path) -> Count:
    """Run a module as a command and count what it takes, with all that it starts: this process adopts what its children
    leave behind (on Linux; elsewhere that is missed)."""
    adopt = getattr(ctypes.CDLL(None), "prctl", None)
    if adopt is not None:
        adopt(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "RAY_AUTH_MODE": "disabled"}
    started, seconds, kinds = time.perf_counter(), dict[psutil.Process, float](), dict[psutil.Process, str]()
    with tempfile.TemporaryFile("w+") as out:
        command = [sys.executable, "-m", *words]
        driver = subprocess.Popen(command, cwd=folder, env=environment, stdout=out)
        wall = None
        while found := _living(psutil.Process().children(recursive=True)):
            for process in found:
                try:
                    times, command_line = process.cpu_times(), process.cmdline()
                    if command_line:  # one that is ending has none
                        kinds[process] = "driver" if process.pid == driver.pid else _kind(command_line)
                except psutil.Error:
                    continue
                seconds[process] = times.user + times.system
            if wall is None and driver.poll() is not None:
                wall = time.perf_counter() - started
            time.sleep(EVERY)
        if driver.wait():
            raise SystemExit(f"{' '.join(words)}: exit code {driver.returncode}")
        out.seek(0)
        count = Count(wall or time.perf_counter() - started, said=out.read())
    for process, used in seconds.items():
        count.processors[kinds.get(process, "others")] += used
    return count


def _living(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those that have not ended; ended ones that were adopted are let go."""
    found = []
    for process in processes:
        try:
            if process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


def _kind(command: list[str]) -> str:
    """Name a process of a cluster by its command."""
    words = " ".join(command)
    known = {
        "gcs_server": "Ray",
        "raylet": "Ray",
        "Agent": "Ray",
        "dashboard": "Ray",
        "_private": "Ray",
        "ray::": "actors",
    }
    first = next((kind for sign, kind in known.items() if sign in words.split(" --")[0]), None)
    return first or ("actors" if "worker" in words else "others")


def under_way(results: Path) -> float:
    """Wall seconds from the start of the first run of a sweep to the end of its last."""
    ends = [path.stat().st_mtime for path in results.glob("runs/*/final.json")]
    starts = [path.stat().st_mtime for path in results.glob("runs/*/config.json")]
    return max(ends) - min(starts)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--runs", type=int, default=60)
    arguments.add_argument("--epochs", type=int, default=120)
    arguments.add_argument("--bare", type=int, default=10)
    arguments.add_argument("--contenders", nargs="+", choices=[*CONTENDERS, "empty"], default=list(CONTENDERS))
    arguments.add_argument("--only", choices=["plain", "bare", "empty"], help=argparse.SUPPRESS)
    arguments.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    options = arguments.parse_args()
    if options.only:
        alone = {
            "plain": plain_tune,
            "bare": lambda path: bare(path, options.bare),
            "empty": lambda path: empty_cluster(),
        }
        alone[options.only](options.file)
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        path = write_sweep(folder, options.runs, options.epochs)
        run = ["sweep", "run", "bench", "--no-report", "--results"]
        own = ["benchmarks.efficiency", "--file", str(path), "--bare", str(max(1, options.bare // 2)), "--only"]
        commands = {
            "sweep": [*run, FOLDERS["sweep"]],
            "plain": [*own, "plain"],
            "serial": [*run, FOLDERS["serial"], "--local"],
            "empty": [*own, "empty"],
        }
        alone, counts = [counted([*own, "bare"], folder)], dict[str, Count]()
        for name in options.contenders:
            counts[name] = counted(commands[name], folder)
            print(f"{name + ':':8} {counts[name]}", flush=True)
            if name in FOLDERS:
                print(
                    f"{under_way(folder / FOLDERS[name]):33.1f} s wall from the first run's start to the last one's end"
                )
        alone.append(counted([*own, "bare"], folder))
        training = options.runs * sum(float(count.said.splitlines()[-1]) for count in alone) / len(alone)
        print(f"training alone: {training:.1f} s of processors")
        for name, count in counts.items():
            if name != "empty":
                print(f"{name + ':':8} {training / count.total:.2f} of its processor seconds are training")


if __name__ == "__main__":
    main()
