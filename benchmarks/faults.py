"""What comes of a sweep while something happens to its driver, to its Ray cluster, to the machine, or to its code.

    python -m benchmarks.faults [NAME ...] [--uri] [--epochs 100]

Each fault strikes a sweep of six runs, as ``python -m sweep run`` trains it, once a run has a checkpoint; the same
command is given again until it ends with 0. For each is printed

- what the sweep said of it, and the exit codes of the commands;
- silence: the longest time after the fault without a line on the terminal or an epoch on record;
- left: how long processes of the cluster outlived their driver;
- lost or repeated: runs that had ended before the fault and whose record is another or gone (must be 0);
- starts: of runs, beside the number of runs (more by those that were under way);
- whether the table is that of an undisturbed sweep (must be so).

--uri: the results lie at a URI. Without names all faults strike in turn, which takes about a minute each.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import psutil
import yaml

from benchmarks.kills import COMMON, ROOT, ended, table
from sweep.runs.identity import PACKAGES

SWEEP = COMMON | {"vary": {"alpha": {"grid": [0.1, 0.5, 0.9]}}, "seeds": [0, 1], "resources": {"cpus": 1}}
PARTS = {
    "raylet": r"raylet/raylet ",
    "gcs": r"gcs_server ",
    "actor": r"ray::(RunActor|GroupActor|ResourceTrainable)",
    "worker": r"ray::\S*RayTrainWorker",
}
"""Of a cluster: what the command lines of its processes look like."""
STOPPED, BEYOND_LEASE = 20.0, 75.0
"""Seconds for which a process is stopped."""
OUTLIVE = 60.0
"""Seconds to wait for what outlives its driver."""

CLOCK = """
import os, time
_real = time.time
def _jumped():
    try:
        return _real() + float(open(os.environ["CLOCK_OFFSET"]).read())
    except (OSError, ValueError):
        return _real()
time.time = _jumped
"""
"""As sitecustomize.py: a wall clock that jumps by what a file says."""


@dataclass
class Struck:
    """A sweep under way. folder: of sweeps.yaml. environment: of the command, beside the usual."""

    folder: Path
    results: str
    words: list[str] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)
    told: list[str] = field(default_factory=list)
    """What the fault itself has to tell."""

    @property
    def log(self) -> Path:
        return self.folder / "log.txt"

    def start(self) -> subprocess.Popen[bytes]:
        """Give the command."""
        words = [sys.executable, "-m", "sweep", "run", "s", "--no-report", "--results", self.results, *self.words]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **self.environment}
        with self.log.open("ab") as log:
            return subprocess.Popen(words, cwd=self.folder, env=environment, stdout=log, stderr=log)

    def begin(self) -> None:
        """Start the sweep, up to the first checkpoint of a run."""
        self.driver = self.start()
        while self.driver.poll() is None and not any(self.folder.rglob("checkpoint.pt")):
            time.sleep(0.05)
        self.processes = [*psutil.Process(self.driver.pid).children(recursive=True)]

    def part(self, name: str) -> psutil.Process:
        """Find a process: the driver, or a part of its cluster."""
        process = psutil.Process(self.driver.pid)
        if name == "driver":
            return process
        children = process.children(recursive=True)
        return next(child for child in children if re.search(PARTS[name], " ".join(child.cmdline())))

    def signs(self) -> tuple[int, ...]:
        """Sizes of all that tells that the sweep lives."""
        return tuple(path.stat().st_size for path in [self.log, *sorted(self.folder.rglob("metrics.jsonl"))])


Fault = Callable[[Struck], None]


def kill(part: str) -> Fault:
    return lambda struck: struck.part(part).kill()


def stop(part: str, seconds: float) -> Fault:
    def strike(struck: Struck) -> None:
        process = struck.part(part)
        process.suspend()
        time.sleep(seconds)
        process.resume()

    return strike


HOG = """
import sys, time
from sweep.engine.memory import is_short
taken = []
while not is_short() and len(taken) < 32:
    taken.append(bytearray(b"x") * (64 << 20))
time.sleep(20)
"""


def take_memory(struck: Struck) -> None:
    """Another program takes memory for a while, more than Ray's monitor allows, and at most 2 GiB."""
    environment = {**os.environ, **struck.environment, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", HOG], env=environment, check=True)


def start_second(struck: Struck) -> None:
    """Give the command once more while the first driver trains."""
    struck.told.append(f"a second driver exits with {struck.start().wait()}")


def jump(struck: Struck) -> None:
    """Put the driver's clock forward by five hours, and let a second driver come."""
    (struck.folder / "offset").write_text("18000")
    start_second(struck)


def rewrite(struck: Struck) -> None:
    """Change the method's file, then have new processes import it."""
    with (struck.folder / "code" / "methods" / "iprm.py").open("a") as file:
        file.write("\n# another comment\n")
    kill("actor")(struck)


FAULTS: dict[str, Fault] = {
    **{f"{part} killed": kill(part) for part in ("driver", *PARTS)},
    **{f"{part} stopped": stop(part, STOPPED) for part in ("driver", *PARTS)},
    "driver stopped beyond its lease": stop("driver", BEYOND_LEASE),
    "second driver": start_second,
    "memory short": take_memory,
    "clock jumps": jump,
    "method rewritten": rewrite,
}


def words_of(name: str) -> list[str]:
    """Return what the command of a fault says besides: a worker that can be struck is one of two."""
    return ["resources.workers=2"] if name.startswith("worker") else []


def prepared(name: str, struck: Struck) -> Struck:
    """Return a sweep ready for a fault."""
    struck.words += words_of(name)
    if name.startswith("memory"):
        memory = psutil.virtual_memory()
        threshold = (memory.total - memory.available + 2**30) / memory.total
        struck.environment["RAY_memory_usage_threshold"] = f"{threshold:.4f}"
    if name.startswith("clock"):
        (struck.folder / "clock").mkdir()
        (struck.folder / "clock" / "sitecustomize.py").write_text(CLOCK)
        paths = os.pathsep.join([str(struck.folder / "clock"), str(ROOT)])
        struck.environment |= {"PYTHONPATH": paths, "CLOCK_OFFSET": str(struck.folder / "offset")}
    if name.startswith("method"):
        for package in PACKAGES:
            shutil.copytree(ROOT / package, struck.folder / "code" / package)
        struck.environment["PYTHONPATH"] = str(struck.folder / "code")
    return struck


def strike(name: str, folder: Path, uri: bool, whole: Path) -> bool:
    """Have a fault happen and print what came of it; True where all is as it must be."""
    results = folder / "results"
    struck = prepared(name, Struck(folder, results.as_uri() if uri else str(results)))
    struck.begin()
    known, began = ended(results), time.monotonic()
    fault = threading.Thread(target=FAULTS[name], args=(struck,))
    fault.start()
    signs, sign, silence = struck.signs(), time.monotonic(), 0.0
    while struck.driver.poll() is None:
        time.sleep(0.05)
        if (found := struck.signs()) != signs:
            signs, sign = found, time.monotonic()
        silence = max(silence, time.monotonic() - sign)
    gone = time.monotonic()
    while time.monotonic() - gone < OUTLIVE and any(map(lives, struck.processes)):
        time.sleep(0.05)
    left = time.monotonic() - gone
    fault.join()
    codes = [struck.driver.returncode]
    while codes[-1] != 0 and len(codes) < 5:
        codes.append(struck.start().wait())
    finals = ended(results)
    lost = sum(finals.get(run) != record for run, record in known.items())
    starts = sum(path.read_text().count("started") for path in results.glob("runs/*/attempts.jsonl"))
    same = table(results, "s").equals(table(whole, "s"))
    print(f"\n{name}{' (URI)' if uri else ''}: exits {codes}, {gone - began:.0f} s after the fault")
    for line in [*said(struck.log), *struck.told]:
        print(f"    {line}")
    print(
        f"  silence {silence:.0f} s, left {left:.0f} s, {lost} lost or repeated, {starts} starts of {len(finals)} runs"
    )
    print(f"  table as of the undisturbed sweep: {same}", flush=True)
    return same and not lost and codes[-1] == 0


def lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def said(log: Path) -> list[str]:
    """Lines of the commands but those that count runs."""
    lines = log.read_text(errors="replace").splitlines()
    return [line[:250] for line in lines if line.strip() and " runs ended" not in line]


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(FAULTS)}")
    arguments.add_argument("--uri", action="store_true", help="results at a URI")
    arguments.add_argument("--epochs", type=int, default=100, help="of a run")
    options = arguments.parse_args()
    if unknown := set(options.names) - FAULTS.keys():
        arguments.error(f"no fault {sorted(unknown)}; there are {', '.join(FAULTS)}")
    with tempfile.TemporaryDirectory() as scratch:
        folders = {name: Path(scratch, re.sub(r"\W", "-", name)) for name in ["whole", *(options.names or FAULTS)]}
        for folder in folders.values():
            folder.mkdir()
            sweeps = {"s": SWEEP | {"epochs": options.epochs}}
            (folder / "sweeps.yaml").write_text(yaml.safe_dump({"sweeps": sweeps}))
        whole = folders.pop("whole")

        @cache
        def undisturbed(*words: str) -> Path:
            results = whole / f"results{len(words)}"
            sweep = Struck(whole, str(results), list(words) or ["--local"])
            assert sweep.start().wait() == 0, sweep.log.read_text()
            return results

        # Two workers add up in another order than one: their last digits are compared with their own.
        right = [strike(name, folder, options.uri, undisturbed(*words_of(name))) for name, folder in folders.items()]
        print(f"\n{sum(right)} of {len(right)} as they must be")
        return int(not all(right))


if __name__ == "__main__":
    sys.exit(main())
