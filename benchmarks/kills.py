"""Whether a sweep that is killed again and again ends like one that is left alone.

    python -m benchmarks.kills [--kills 50] [--epochs 400] [--local] [--seed 0]

A grid and a search (TPE in batches) run as ``python -m sweep run``. At random moments the driver and every process
that it has started get SIGKILL, half of the time before the first epoch; the same command is then given again, until
all is done. After each kill:

- lost: runs that had ended and whose record is gone or has changed (must be 0);
- repeated: runs that had ended and were trained again (must be 0);
- redone: epochs on record beyond the checkpoint that training goes on from, the most of any run (must be at most 1).

At the end the tables of both sweeps are compared with those of an uninterrupted run, every number of them, and the
study is asked whether a proposal was lost or told twice.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd
import torch
import yaml

from sweep.results.tables import load
from sweep.search.journal import open_storage

ROOT = Path(__file__).resolve().parent.parent
COMMON = {
    "method": "iprm",
    "datasets": ["digits"],
    "data": {"digits": {"train_samples": 300}},
    "references": False,
    "keep": "none",
    "checkpoint_every": 0,
}
SWEEPS = {
    "grid": COMMON | {"vary": {"alpha": {"grid": [0.1, 0.3, 0.5, 0.7, 0.9]}}, "seeds": [0, 1, 2, 3, 4, 5]},
    "search": COMMON
    | {
        "vary": {"alpha": "auto", "train.lr": {"loguniform": [0.01, 0.2]}},
        "search": {"algorithm": "tpe", "configurations": 12, "batch": 4},
        "seeds": [0],
        "report_seeds": [100, 101],
    },
}
CLOCK = ["seconds", "seconds_per_epoch", "samples_per_second", "peak_memory_mib", "attempts", "failures"]
"""Columns that say how long or how often, not what came out."""


def start(folder: Path, results: str, local: bool) -> subprocess.Popen[bytes]:
    """The sweeps as a command, in a process group of its own."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-m", "sweep", "run", *SWEEPS, "--no-report", "--results", results]
    log = (folder / f"{results}.log").open("ab")
    return subprocess.Popen(
        words + ["--local"] * local, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True
    )


def ended(results: Path) -> dict[str, bytes]:
    """What every run that has ended left on record."""
    return {path.parent.name: path.read_bytes() for path in results.glob("runs/*/final.json")}


def most_redone(results: Path) -> int:
    """Epochs on record beyond the checkpoint, the most of any run that has not ended."""
    redone = [0]
    for path in results.glob("runs/*/checkpoint.pt"):
        if not (path.parent / "final.json").exists():
            state = torch.load(path, map_location="cpu", weights_only=True)
            lines = (path.parent / "metrics.jsonl").read_text().splitlines()
            redone.append(len(lines) - state["training"]["progress"]["epoch"])
    return max(redone)


def table(results: Path, name: str) -> pd.DataFrame:
    """Every number of a sweep's runs but those of a clock."""
    frame = load(results / name)
    dropped = [column for column in frame if column in CLOCK or column.startswith("env.")]
    return frame.drop(columns=dropped).sort_values(["role", "hash"]).reset_index(drop=True)


def proposals(results: Path) -> list[str]:
    """Every proposal of the search: its parameters, state and value."""
    import optuna

    storage = open_storage(results / "search" / "study.journal")
    (summary,) = optuna.get_all_study_summaries(storage)
    trials = optuna.load_study(study_name=summary.study_name, storage=storage).get_trials(deepcopy=False)
    return [f"{trial.number} {trial.params} {trial.state.name} {trial.values}" for trial in trials]


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--kills", type=int, default=50)
    arguments.add_argument("--epochs", type=int, default=400, help="of a run: fewer for fewer kills")
    arguments.add_argument("--local", action="store_true", help="in one process, without Ray")
    arguments.add_argument("--seed", type=int, default=0)
    options = arguments.parse_args()
    draw = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        sweeps = {name: {**sweep, "epochs": options.epochs} for name, sweep in SWEEPS.items()}
        (folder / "sweeps.yaml").write_text(yaml.safe_dump({"sweeps": sweeps}))
        began = time.monotonic()
        process = start(folder, "whole", options.local)
        while process.poll() is None and not any((folder / "whole").glob("runs/*/metrics.jsonl")):
            time.sleep(0.1)
        startup = time.monotonic() - began
        assert process.wait() == 0, (folder / "whole.log").read_text()
        took = f"{time.monotonic() - began:.0f} s, {startup:.0f} s before the first epoch"
        print(f"uninterrupted: {len(ended(folder / 'whole'))} runs in {took}", flush=True)

        results, known = folder / "killed", dict[str, bytes]()
        kills = lost = redone = 0
        while True:
            process = start(folder, "killed", options.local)
            try:
                code = process.wait(draw.uniform(0.0, 2 * startup) if kills < options.kills else None)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                kills += 1
            else:
                assert code == 0, (folder / "killed.log").read_text()
                break
            found = ended(results)
            lost += sum(found.get(run) != record for run, record in known.items())
            redone, known = max(redone, most_redone(results)), found
            print(f"kill {kills}: {len(found)} runs ended, redone {redone}", flush=True)
        lost += sum(ended(results).get(run) != record for run, record in known.items())
        same = [table(folder / "whole", name).equals(table(results, name)) for name in SWEEPS]
        proposed = proposals(folder / "whole") == proposals(results)
        print(f"{kills} kills: {lost} runs lost or repeated, at most {redone} epoch redone at a time")
        print(f"tables as of the uninterrupted sweep: {dict(zip(SWEEPS, same, strict=True))}")
        print(f"proposals of the search as of the uninterrupted one: {proposed}")
        return int(bool(lost) or redone > 1 or not all(same) or not proposed)


if __name__ == "__main__":
    sys.exit(main())
