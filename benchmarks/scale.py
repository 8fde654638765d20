"""Reading at scale: seconds and peak memory of loading, tables and report over many runs.

    python -m benchmarks.scale [--runs 20000] [--epochs 10] [--keep FOLDER]

Run folders are fabricated (real records, invented numbers): one sweep of ten methods, a hundred points each, under as
many seeds as it takes. Each step is measured in a process of its own, so that none profits from the one before; the
memory is the process's peak, interpreter and libraries included.
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

from sweep.runs.environment import record_environment
from sweep.runs.records import FinalRecord, IndexEntry, Run, TestRecord
from sweep.training.epoch_record import EpochRecord
from sweep.training.recipe import Recipe

NAME = "scale"
METHODS, POINTS = 10, 100
MODALITIES = ("left", "profile")

STEPS = {
    "load": "load(results / name)",
    "epochs": "load(results / name, 'epoch')",
    "tables": "write_tables(results, name)",
    "report": "write_tables(results, name); write_report(results, name)",
}
MEASURE = """
import sys, time
from pathlib import Path
started = time.perf_counter()
results, name = Path(sys.argv[1]), sys.argv[2]
from sweep.results.tables import load, write_tables
if "report" in sys.argv[3]:
    from sweep.report.report import write_report
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


def fabricate(results: Path, runs: int, epochs: int) -> None:
    """A sweep of ``runs`` finished runs."""
    numbers, environment = random.Random(0), record_environment(1)
    seeds = math.ceil(runs / (METHODS * POINTS))
    (results / NAME).mkdir(parents=True)
    (results / NAME / "sweep.yaml").write_text("title: Scale\n")
    recipe, shapley = Recipe(), {f"validation_shapley_{m}": 0.3 for m in MODALITIES}
    with (results / NAME / "index.jsonl").open("w") as index:
        every = itertools.product(range(METHODS), range(POINTS), range(seeds))
        for count, (method, point, seed) in enumerate(itertools.islice(every, runs)):
            run_hash, alpha, level = f"{count:016x}", point / POINTS, numbers.uniform(0.5, 0.9)
            entry = IndexEntry(
                hash=run_hash,
                method="iprm",
                label=f"iprm {method}",
                dataset="digits",
                role="sweep",
                values={"alpha": alpha},
                configuration=f"{method}-{point}",
                seed=seed,
            )
            index.write(entry.model_dump_json() + "\n")
            run = Run(
                method="iprm",
                hyperparameters={"kind": "geodesic", "alpha": alpha, "unimodal_loss_weight": 0.5},
                dataset="digits",
                data={"train_samples": 600, "split_seed": 0},
                fingerprint="f00d",
                encoders={modality: {"name": "mlp", "width": 64, "depth": 2} for modality in MODALITIES},
                train=recipe,
                epochs=epochs,
                metric="accuracy",
                patience=None,
                test_peak=False,
                seed=seed,
                source={"method": "0" * 16, "dataset": "1" * 16},
            )
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
            folder = results / "runs" / run_hash
            folder.mkdir(parents=True)
            (folder / "config.json").write_text(run.model_dump_json(indent=2))
            (folder / "environment.json").write_text(environment.model_dump_json(indent=2))
            (folder / "test.json").write_text(TestRecord(metrics=metrics("test", level)).model_dump_json(indent=2))
            (folder / "final.json").write_text(final.model_dump_json(indent=2))
            (folder / "metrics.jsonl").write_text("".join(_epoch(e, epochs, level) for e in range(1, epochs + 1)))


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
        results = options.keep or Path(scratch)
        if not (results / NAME).exists():
            fabricate(results, options.runs, options.epochs)
        for step in options.steps:
            command = [sys.executable, "-c", MEASURE, str(results), NAME, STEPS[step]]
            said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.split()
            wall, processor, peak = said[-3:]
            print(f"{step}: {wall} s ({processor} s of processor time), {peak} GiB at its peak", flush=True)


if __name__ == "__main__":
    main()
