"""What comes of a sweep while something happens to its driver, to its Ray cluster, to the machine, or to its code.

    python -m benchmarks.faults [NAME ...] [--uri] [--epochs 200]

Each fault strikes a sweep of six runs, as ``python -m sweep run`` trains it, once a run has a checkpoint or, for one
"at the start", once Ray starts; the same command is given again until it ends with 0. For each is printed

- what the sweep said of it, and the exit codes of the commands;
- silence: the longest time after the fault without a line on the terminal or an epoch on record;
- left: how long processes of the cluster outlived their driver;
- lost or repeated: runs that had ended before the fault and whose record is another or gone (must be 0);
- starts: of runs, beside the number of runs (more by those that were under way);
- whether the table is that of an undisturbed sweep (must be so).

--uri: the results lie at a URI. Without names all faults strike in turn, which takes about a minute each.

"memory short" shows the sweep a /proc/meminfo of its own, so that it takes no memory and does not depend on what other
programs hold; it needs Linux with user namespaces (unshare), and no tighter limit of a container."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import psutil
import yaml

from benchmarks.kills import COMMON, ROOT, ended, table
from benchmarks.struck_sweep import PARTS, Struck, lives, said
from sweep.runs.module_imports import PACKAGES

SWEEP = COMMON | {"vary": {"alpha": {"grid": [0.1, 0.5, 0.9]}}, "seeds": [0, 1], "resources": {"cpus": 1}}
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


Strike = Callable[[Struck], None]


@dataclass(frozen=True)
class Fault:
    """What happens to a sweep, once it is ready for it."""

    strike: Strike
    ready: Callable[[Struck], bool] = Struck.has_checkpoint


def kill(part: str) -> Strike:
    return lambda struck: struck.part(part).kill()


def stop(part: str, seconds: float) -> Strike:
    def strike(struck: Struck) -> None:
        process = struck.part(part)
        process.suspend()
        time.sleep(seconds)
        process.resume()

    return strike


PLENTY, LITTLE = 0.5, 0.01
"""Shares of the memory that a sweep is shown as available."""
SHOWN = ["unshare", "--map-root-user", "--mount", "sh", "-c", 'mount --bind "$0" /proc/meminfo && exec "$@"']
"""Runs a command that reads a file, which is named next, as /proc/meminfo."""


def show_memory(struck: Struck, share: float) -> Path:
    """Show a sweep this share of the memory as available, by a file that is written in place; returns the file."""
    shown, available = struck.folder / "meminfo", int(psutil.virtual_memory().total * share / 1024)
    real = Path("/proc/meminfo").read_text()
    shown.write_text(re.sub(r"(?m)^(MemFree|MemAvailable):.*$", rf"\1: {available} kB", real))
    return shown


def take_memory(struck: Struck) -> None:
    """Another program takes nearly all memory for a while, as far as the sweep can tell."""
    show_memory(struck, LITTLE)
    time.sleep(STOPPED)
    show_memory(struck, PLENTY)


def start_second(struck: Struck) -> None:
    """Give the command once more while the first driver trains."""
    struck.told.append(f"a second driver exits with {struck.start().wait()}")


def jump(struck: Struck) -> None:
    """Put the driver's clock forward by five hours, and let a second driver come."""
    (struck.folder / "offset").write_text("18000")
    start_second(struck)


def rewrite(struck: Struck) -> None:
    """Change the method's file, then have new processes import it."""
    edit(struck)
    kill("actor")(struck)


def edit(struck: Struck) -> None:
    """Change the method's file."""
    with (struck.folder / "code" / "methods" / "iprm.py").open("a") as file:
        file.write("\n# another comment\n")


FAULTS: dict[str, Fault] = {
    **{f"{part} killed": Fault(kill(part)) for part in ("driver", *PARTS)},
    **{f"{part} stopped": Fault(stop(part, STOPPED)) for part in ("driver", *PARTS)},
    "driver stopped beyond its lease": Fault(stop("driver", BEYOND_LEASE)),
    "second driver": Fault(start_second),
    "memory short": Fault(take_memory),
    "clock jumps": Fault(jump),
    "method rewritten": Fault(rewrite),
    "method rewritten at the start": Fault(edit, Struck.has_cluster),
}


def words_of(name: str) -> list[str]:
    """Return what the command of a fault says besides: a worker that can be struck is one of two."""
    return ["resources.workers=2"] if name.startswith("worker") else []


def prepared(name: str, struck: Struck) -> Struck:
    """Return a sweep ready for a fault."""
    struck.words += words_of(name)
    if name.startswith("memory"):
        struck.before += [*SHOWN, str(show_memory(struck, PLENTY))]
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
    if not struck.begin(FAULTS[name].ready):
        print(f"\n{name}: the sweep ended with {struck.driver.returncode} before it could be struck")
        print(*(f"    {line}" for line in said(struck.log)), sep="\n", flush=True)
        return False
    known, began = ended(results), time.monotonic()
    fault = ThreadPoolExecutor(1).submit(FAULTS[name].strike, struck)
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
    if missed := fault.exception():
        struck.told.append(f"nothing was struck: {missed!r}")
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
    return same and not lost and not missed and codes[-1] == 0


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(FAULTS)}")
    arguments.add_argument("--uri", action="store_true", help="results at a URI")
    arguments.add_argument("--epochs", type=int, default=200, help="of a run")
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
