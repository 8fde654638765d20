"""What early-stopped runs of two workers leave on a cluster: with Ray's dashboard and without it.

    python -m benchmarks.leaks [--runs 100]

For each setting a fresh Ray of two CPUs, so many configurations under successive halving, of which most are stopped
early, and five seconds after the end of the sweep what is still there: placement groups, actors, busy worker processes,
CPUs that are not free (all must be none).
"""

from __future__ import annotations

import argparse
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
import ray
import yaml
from ray._private.state import actors
from ray.util import placement_group_table

from sweep.runs.store import Store

ROOT = Path(__file__).resolve().parent.parent
RAYS_OWN = ("ray::IDLE", "ray::DashboardAgent", "ray::RuntimeEnvAgent")
"""Processes that belong to a node: its agents, and workers that hold nothing, kept for whatever comes next."""
SWEEP: dict[str, Any] = {
    "method": "joint",
    "datasets": ["digits"],
    "data": {"digits": {"train_samples": 200}},
    "vary": {"train.lr": {"loguniform": [1.0e-6, 0.1]}},
    "scheduler": {"name": "asha", "grace": 1, "reduction": 2},
    "seeds": [0],
    "report_seeds": [],
    "epochs": 4,
    "references": False,
    "resources": {"workers": 2},
}


def left() -> dict[str, Any]:
    """What is still held on the cluster that this process has started; nothing where all is free."""
    titles = [_title(process) for process in psutil.Process().children(recursive=True)]
    found = {
        "placement groups": [g for g in placement_group_table().values() if g["state"] != "REMOVED"],
        "actors": [actor["ActorClassName"] for actor in actors().values() if actor["State"] != "DEAD"],
        "processes": [title for title in titles if title.startswith("ray::") and not title.startswith(RAYS_OWN)],
        "CPUs": ray.cluster_resources()["CPU"] - ray.available_resources().get("CPU", 0),
    }
    return {name: what for name, what in found.items() if what}


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""


def measure(folder: Path, runs: int, dashboard: bool) -> None:
    """Run the sweep, as a command, on a Ray of its own and print what it leaves."""
    name = "on" if dashboard else "off"
    search = {"algorithm": "random", "configurations": runs}
    (folder / "sweeps.yaml").write_text(yaml.safe_dump({"sweeps": {name: SWEEP | {"search": search}}}))
    context = ray.init(
        "local", num_cpus=2, include_dashboard=dashboard, log_to_driver=False, logging_level=logging.ERROR
    )
    address = context.address_info["gcs_address"]
    command = [sys.executable, "-m", "sweep", "run", name, "--no-report", "--address", address]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    started = time.monotonic()
    subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)
    wall = time.monotonic() - started
    time.sleep(5)
    remains = left()
    finals = [
        Store(folder / "results").run(path.parent.name).final() for path in folder.glob("results/runs/*/final.json")
    ]
    statuses = Counter(final.status for final in finals if final is not None)
    said = ", ".join(f"{count} {status}" for status, count in statuses.items())
    print(f"dashboard {name}: {said} in {wall:.0f} s; left after 5 s: {remains or 'nothing'}")
    ray.shutdown()


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--runs", type=int, default=100)
    runs = arguments.parse_args().runs
    os.environ["RAY_AUTH_MODE"] = "disabled"
    for dashboard in (True, False):
        with tempfile.TemporaryDirectory() as folder:
            measure(Path(folder), runs, dashboard)


if __name__ == "__main__":
    main()
