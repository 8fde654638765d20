"""How much of two cores a sweep of short runs spends in training, beside a plain Ray Tune script doing the same work.

    python -m benchmarks.efficiency [--runs 60] [--epochs 60]

The work: ``--runs`` trainings of the joint method on the digits, one thread each. Efficiency = CPU seconds inside
``fit`` / (wall seconds x cores), the CPU seconds being those of the same trainings one after another in one quiet
process. Each contender is a command of its own, timed from its start to its end, all start-ups and imports included:

- sweep: ``python -m sweep run`` on Ray, as many runs at a time as there are cores;
- plain: a Ray Tune function trainable, as its guides show it: it loads the data, builds the method and trains;
- serial: ``python -m sweep run --local``, one run after another (at most 1 / cores by its nature).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

from sweep.fit import fit
from sweep.plan import plan
from sweep.records import Run
from sweep.train import build_method, load_dataset

ROOT = Path(__file__).resolve().parent.parent
CORES = os.cpu_count() or 1


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
    """One training, without anything that a platform adds."""
    dataset = load_dataset(run)
    result = fit(build_method(run, dataset), dataset, run.train, seed=run.seed, test_peak=run.test_peak)
    return {"value": result.validation["validation_accuracy"]}


def in_process(runs: list[Run]) -> float:
    """CPU seconds inside ``fit`` of all runs, one after another in this process."""
    train_once(runs[0])  # imports, first allocations and the data are not the work
    started = time.thread_time()
    for run in runs:
        train_once(run)
    return time.thread_time() - started


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


def timed(words: list[str], folder: Path) -> float:
    """Wall seconds of a command."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "RAY_AUTH_MODE": "disabled"}
    started = time.perf_counter()
    subprocess.run([sys.executable, "-m", *words], cwd=folder, env=environment, check=True, capture_output=True)
    return time.perf_counter() - started


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--runs", type=int, default=60)
    arguments.add_argument("--epochs", type=int, default=60)
    arguments.add_argument("--plain", type=Path, help=argparse.SUPPRESS)
    options = arguments.parse_args()
    if options.plain:
        plain_tune(options.plain)
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        path = write_sweep(folder, options.runs, options.epochs)
        cpu = in_process(work(path))
        print(
            f"work: {options.runs} runs, {cpu:.1f} CPU seconds inside fit, {cpu / options.runs:.2f} each; {CORES} cores"
        )
        run = ["sweep", "run", "bench", "--no-report", "--results"]
        contenders = {
            "sweep": [*run, "on-ray"],
            "plain": ["benchmarks.efficiency", "--plain", str(path)],
            "serial": [*run, "in-process", "--local"],
        }
        efficiency = {}
        for name, words in contenders.items():
            wall = timed(words, folder)
            efficiency[name] = cpu / (wall * CORES)
            print(f"{name + ':':8} {wall:6.1f} s wall, efficiency {efficiency[name]:.2f}", flush=True)
        print(f"sweep / plain: {efficiency['sweep'] / efficiency['plain']:.2f}")


if __name__ == "__main__":
    main()
