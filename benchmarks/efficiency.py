"""How much of two cores a sweep of short runs spends in training, beside a plain Ray Tune script doing the same work.

    python -m benchmarks.efficiency [--runs 60] [--epochs 120] [--contenders sweep plain serial]

The work: ``--runs`` trainings of the joint method on the digits, one thread each. Efficiency = seconds inside ``fit``
of all runs, as they are recorded while a contender runs, / (its wall seconds x cores). Each contender is a command of
its own, timed from its start to its end, all start-ups and imports included:

- sweep: ``python -m sweep run`` on Ray, as many runs at a time as there are cores; once it is under way means from
  the start of its first run to the end of its last;
- plain: a Ray Tune function trainable, as its guides show it: it loads the data, builds the method and trains;
- serial: ``python -m sweep run --local``, one run after another (at most 1 / cores by its nature).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

from sweep.plan.build import plan
from sweep.runs.records import Run
from sweep.runs.train import build_method, load_dataset
from sweep.training.loop import fit

ROOT = Path(__file__).resolve().parent.parent
CORES = os.cpu_count() or 1
CONTENDERS = ("sweep", "plain", "serial")
FOLDERS = {"sweep": "on-ray", "serial": "in-process"}
"""Where the results of a contender lie."""


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
    """One training, without anything that a platform adds, and the seconds that it took."""
    dataset = load_dataset(run)
    result = fit(build_method(run, dataset), dataset, run.train, seed=run.seed, test_peak=run.test_peak)
    return {"value": result.validation["validation_accuracy"], "seconds": result.seconds}


def plain_tune(path: Path) -> None:
    """The script that a user of Ray Tune writes first. Prints the seconds inside ``fit``."""
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
    print(sum(result.metrics["seconds"] for result in results))


def timed(words: list[str], folder: Path) -> tuple[float, str]:
    """Wall seconds of a command, and what it prints."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "RAY_AUTH_MODE": "disabled"}
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", *words], cwd=folder, env=environment, check=True, stdout=subprocess.PIPE, text=True
    )
    return time.perf_counter() - started, done.stdout


def inside(results: Path) -> float:
    """Seconds inside ``fit`` of all runs of a results folder."""
    return sum(json.loads(path.read_text())["seconds"] for path in results.glob("runs/*/final.json"))


def under_way(results: Path) -> float:
    """Wall seconds from the start of the first run of a sweep to the end of its last."""
    ends = [path.stat().st_mtime for path in results.glob("runs/*/final.json")]
    starts = [path.stat().st_mtime for path in results.glob("runs/*/config.json")]
    return max(ends) - min(starts)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--runs", type=int, default=60)
    arguments.add_argument("--epochs", type=int, default=120)
    arguments.add_argument("--contenders", nargs="+", choices=CONTENDERS, default=list(CONTENDERS))
    arguments.add_argument("--plain", type=Path, help=argparse.SUPPRESS)
    options = arguments.parse_args()
    if options.plain:
        plain_tune(options.plain)
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        path = write_sweep(folder, options.runs, options.epochs)
        run = ["sweep", "run", "bench", "--no-report", "--results"]
        commands = {
            "sweep": [*run, FOLDERS["sweep"]],
            "plain": ["benchmarks.efficiency", "--plain", str(path)],
            "serial": [*run, FOLDERS["serial"], "--local"],
        }
        efficiency = {}
        for name in options.contenders:
            wall, said = timed(commands[name], folder)
            seconds = float(said.splitlines()[-1]) if name == "plain" else inside(folder / FOLDERS[name])
            efficiency[name] = seconds / (wall * CORES)
            print(f"{name + ':':8} {seconds:6.1f} s inside fit, {wall:6.1f} s wall, efficiency {efficiency[name]:.2f}")
            if name == "sweep":
                wall = under_way(folder / FOLDERS[name])
                print(f"{wall:40.1f} s of them under way, efficiency {seconds / (wall * CORES):.2f}", flush=True)
        if {"sweep", "plain"} <= efficiency.keys():
            print(f"sweep / plain: {efficiency['sweep'] / efficiency['plain']:.2f}")


if __name__ == "__main__":
    main()
