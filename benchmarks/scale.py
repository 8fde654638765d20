"""Reading at scale: seconds and peak memory of loading, tables, report, ``show`` and a ``run`` that has nothing to do,
over many runs.

    python -m benchmarks.scale [--runs 20000] [--epochs 10] [--keep FOLDER]

Run folders are fabricated (real records of a real sweep, invented numbers): ten methods, a hundred points each, under
as many seeds as it takes. Each step is measured in a process of its own, so that none profits from the one before, and
from its start, interpreter and imports included; so is the memory, which is the process's peak.
"""

from __future__ import annotations

import argparse
import itertools
import math
import random
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

from sweep.config import freeze, load
from sweep.engine.tasks import Task, index_entry
from sweep.plan.build import plan
from sweep.runs.environment import record_environment
from sweep.runs.identity import run_hash
from sweep.runs.records import FinalRecord, TestRecord
from sweep.runs.run_folder import RunFolder
from sweep.training.epoch_record import EpochRecord

NAME, FILE = "scale", "sweeps.yaml"
METHODS = ("joint", "iprm", "bss", "ogm", "agm", "lfa", "mmcosine", "opm", "pmr", "greedy")
POINTS = 100
MODALITIES = ("left", "profile")

TABLES = "from sweep.results.tables import load, write_tables; "
COMMAND = "from sweep.commands.main import main; main"
STEPS = {
    "load": f"{TABLES}load(results / name)",
    "epochs": f"{TABLES}load(results / name, 'epoch')",
    "tables": f"{TABLES}write_tables(results, name)",
    "report": f"{COMMAND}(['report', name, *where])",
    "show": f"{COMMAND}(['show', name, *where])",
    "run": f"{COMMAND}(['run', name, '--no-report', *where])",
}
MEASURE = """
import sys, time
from pathlib import Path
started = time.perf_counter()
folder, name = Path(sys.argv[1]), sys.argv[2]
results, where = folder / "results", ["--file", str(folder / "sweeps.yaml"), "--results", str(folder / "results")]
exec(sys.argv[3])
# Linux: the maximum of getrusage would be that of the process that started this one, where that was larger.
status = dict(line.split(":", 1) for line in open("/proc/self/status") if ":" in line)
peak = int(status["VmHWM"].split()[0]) / 2**20
print(f"{time.perf_counter() - started:.1f} {time.process_time():.1f} {peak:.2f}")
"""


def metrics(split: str, level: float) -> dict[str, float]:
    """Accuracy, MAP and macro-F1 of the fused prediction and of each modality."""
    suffixes = ("", *(f"_{modality}" for modality in MODALITIES))
    return {f"{split}_{m}{suffix}": level for m in ("accuracy", "map", "macro_f1") for suffix in suffixes}


def fabricate(folder: Path, runs: int, epochs: int) -> None:
    """Write a sweep of ``runs`` finished runs: sweeps.yaml and results/ in ``folder``."""
    numbers, environment = random.Random(0), record_environment(1)
    methods = min(len(METHODS), math.ceil(runs / POINTS))
    keys = {
        "methods": list(METHODS[:methods]),
        "datasets": ["digits"],
        "epochs": epochs,
        "vary": {"train.lr": {"grid": [round(0.001 * (point + 1), 3) for point in range(POINTS)]}},
        "seeds": list(range(math.ceil(runs / (methods * POINTS)))),
        "references": False,
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FILE).write_text(yaml.safe_dump({"sweeps": {NAME: keys}}))
    planned = plan(load(folder / FILE, [NAME], [])[0])
    results, shapley = folder / "results", {f"validation_shapley_{m}": 0.3 for m in MODALITIES}
    (results / NAME).mkdir(parents=True)
    (results / NAME / "sweep.yaml").write_text(freeze(planned.sweep))
    every = (
        Task(run, run_hash(run), configuration, False, 0)
        for study in planned.studies
        for configuration in study.configurations
        for run in configuration.runs(planned.seeds)
    )
    with (results / NAME / "index.jsonl").open("w") as index:
        for task in itertools.islice(every, runs):
            level = numbers.uniform(0.5, 0.9)
            index.write(index_entry(task).model_dump_json() + "\n")
            final = FinalRecord(
                status="done",
                selected_epoch=epochs,
                epochs_trained=epochs,
                metrics=metrics("validation", level) | shapley | {"validation_imbalance": 0.1},
                seconds=10.0 * level,
                seconds_per_epoch=level,
                samples=600 * epochs,
                forward_passes=600.0 * epochs,
                samples_per_second=600.0,
                peak_memory_mib=100.0,
            )
            written = RunFolder(results / "runs" / task.hash)
            written.open(task.run, environment)
            (written.path / "metrics.jsonl").write_text("".join(_epoch(e, epochs, level) for e in range(1, epochs + 1)))
            written.commit(final, TestRecord(metrics=metrics("test", level), samples=600))


def _epoch(epoch: int, epochs: int, level: float) -> str:
    record = EpochRecord(
        epoch=epoch,
        epochs=epochs,
        loss=1 / epoch,
        learning_rate=0.05,
        seconds=level,
        samples=600 * epoch,
        forward_passes=600.0 * epoch,
        samples_per_second=600.0,
        peak_memory_mib=100.0,
        metrics=metrics("validation", level * (1 - math.exp(-epoch))),
        diagnostics={"lambda": level**epoch, "omega_left": level},
    )
    return record.model_dump_json() + "\n"


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--runs", type=int, default=20_000)
    arguments.add_argument("--epochs", type=int, default=10)
    arguments.add_argument("--keep", type=Path, help="fabricate here, or measure what is here already")
    arguments.add_argument("--steps", nargs="+", choices=list(STEPS), default=list(STEPS))
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.keep or Path(scratch)
        if not (folder / "results" / NAME).exists():
            fabricate(folder, options.runs, options.epochs)
        for step in options.steps:
            command = [sys.executable, "-c", MEASURE, str(folder), NAME, STEPS[step]]
            said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.split()
            wall, processor, peak = said[-3:]
            print(f"{step}: {wall} s ({processor} s of processor time), {peak} GiB at its peak", flush=True)


if __name__ == "__main__":
    main()
