"""What the engine costs beside training: seconds a run, and runs a second.

    python -m benchmarks.overhead [--runs 200]
    python -m benchmarks.overhead --flat 2000

In one Ray session, one run at a time unless said otherwise:
- empty: runs that commit at once, without training: the scheduling itself;
- warm: short real runs (digits, 1 epoch); wall time a run less the seconds inside `train`;
- workers: runs of two workers through Ray Train, the same quantity;
- flat: that many empty runs of one sweep: milliseconds a run in each quarter of them, which do not grow.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from sweep.config import load
from sweep.engine.execute import Execution, execute
from sweep.engine.on_ray import tune as tuning
from sweep.engine.on_ray.session import RaySession
from sweep.runs.environment import record_environment
from sweep.runs.records import FinalRecord, Run
from sweep.runs.run_folder import RunFolder
from sweep.runs.store import Store
from sweep.training.epoch_record import EpochRecord


class EmptyActor(tuning.RunActor):
    """Commits every run at once."""

    def begin(self, run: Run, folder: RunFolder, config: dict[str, Any]) -> Iterator[EpochRecord]:
        folder.open(run, record_environment(1))
        folder.commit(FinalRecord(status="done", metrics={"validation_accuracy": 0.5}))
        return iter(())


def measure(folder: Path, ray: RaySession, runs: int, **keys: object) -> tuple[float, list[float]]:
    """Wall seconds of a sweep of ``runs`` runs of the joint method, and the seconds each spent in training."""
    sweep = {"method": "joint", "datasets": ["digits"], "seeds": list(range(runs)), "epochs": 1, "references": False}
    path = folder / "sweeps.yaml"
    path.write_text(yaml.safe_dump({"sweeps": {"bench": {**sweep, **keys}}}))
    results = Path(tempfile.mkdtemp(dir=folder))
    (loaded,) = load(path, ["bench"], [])
    started = time.perf_counter()
    execute(loaded, results, Execution(), ray, Console(quiet=True))
    wall = time.perf_counter() - started
    finals = [Store(results).run(p.parent.name).final() for p in (results / "runs").glob("*/final.json")]
    return wall, [final.seconds for final in finals if final is not None]


def flat(folder: Path, ray: RaySession, runs: int) -> None:
    """Print what a run costs in each quarter of a long sweep of empty runs."""
    tuning.RunActor = EmptyActor  # type: ignore[misc]
    measure(folder, ray, runs, resources={"cpus": _cpus()})
    ended = sorted(path.stat().st_mtime for path in folder.glob("*/runs/*/final.json"))
    marks = [ended[round(quarter * (len(ended) - 1) / 4)] for quarter in range(5)]
    costs = [1000 * (later - earlier) / (len(ended) / 4) for earlier, later in itertools.pairwise(marks)]
    print("flat:    " + ", ".join(f"{cost:.1f}" for cost in costs) + f" ms a run in the quarters of {len(ended)} runs")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--runs", type=int, default=200)
    arguments.add_argument("--flat", type=int, metavar="RUNS", help="only this: whether the cost grows with the number")
    options = arguments.parse_args()
    runs = options.runs
    with tempfile.TemporaryDirectory() as scratch, RaySession() as ray:
        folder = Path(scratch)
        ray.ensure()
        if options.flat:
            flat(folder, ray, options.flat)
            return
        one = {"cpus": _cpus()}
        measure(folder, ray, 5, resources=one)
        real = tuning.RunActor
        tuning.RunActor = EmptyActor  # type: ignore[misc]
        try:
            short, long = (measure(folder, ray, n, resources=one)[0] for n in (10, 10 + runs))
        finally:
            tuning.RunActor = real  # type: ignore[misc]
        print(f"empty:   {1000 * (long - short) / runs:7.1f} ms a run, {runs / (long - short):.1f} runs a second")
        (short, few), (long, many) = (measure(folder, ray, n, resources=one) for n in (10, 10 + runs // 4))
        beyond = (long - short - (sum(many) - sum(few))) / (runs // 4)
        print(f"warm:    {1000 * beyond:7.1f} ms a run beyond training ({statistics.median(many):.2f} s of it, median)")
        nested = {"workers": 2, "cpus": 1}
        wall, inside = measure(folder, ray, 1, resources=nested)
        again, insides = measure(folder, ray, 5, resources=nested)
        print(f"workers: {wall - sum(inside):7.1f} s for one run of 2 workers beyond training")
        print(f"workers: {(again - sum(insides)) / 5:7.1f} s a run for five seeds in one launch")


def _cpus() -> float:
    import ray

    return float(ray.cluster_resources()["CPU"])


if __name__ == "__main__":
    main()
