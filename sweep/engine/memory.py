"""The memory of this machine, as Ray's monitor judges it: above a share in use it ends processes that train. Nothing
here needs Ray."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import psutil

THRESHOLD_VARIABLE = "RAY_memory_usage_threshold"
WAIT = 300.0
"""Seconds to wait at most, at a time, until memory is free."""
GIB = 2.0**30


def threshold() -> float:
    """Return the share of the memory in use above which Ray ends processes, in (0, 1]."""
    return float(os.environ.get(THRESHOLD_VARIABLE) or 0.95)


def used_share() -> float:
    """Return the share of the memory that is in use, in [0, 1]: of the machine, or of the container around this
    process where that has less left."""
    machine = psutil.virtual_memory()
    return max(1.0 - machine.available / machine.total, _used_share_of_container(Path("/sys/fs/cgroup")))


def _used_share_of_container(folder: Path) -> float:
    """Return the share in use of what a control group (version 2) may have; 0 where it has no limit."""
    try:
        limit = (folder / "memory.max").read_text().strip()
        used = int((folder / "memory.current").read_text())
        files = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return 0.0
    if limit == "max":
        return 0.0
    # Pages of files that nobody has used lately are given back when they are asked for.
    return (used - int(files.get("inactive_file", 0))) / max(1, int(limit))


def is_short() -> bool:
    """Tell whether Ray would end a process that trains."""
    return used_share() > threshold()


def holders_text(count: int = 3) -> str:
    """Describe who holds the most memory of this machine: name, number and GiB of so many processes."""
    found = []
    for process in psutil.process_iter(["name", "memory_info"]):
        if process.info["memory_info"] is not None:  # another user's, on some systems
            found.append((process.info["memory_info"].rss, process.pid, process.info["name"]))
    most = sorted(found, reverse=True)[:count]
    return ", ".join(f"{name} (process {number}) {size / GIB:.1f} GiB" for size, number, name in most)


class MemoryPatience:
    """Holds runs back while memory is short, and says so once. say: takes the line. The rest is for tests."""

    def __init__(
        self,
        say: Callable[[str], None],
        short: Callable[[], bool] = is_short,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._say, self._short, self._clock = say, short, clock
        self._since: float | None = None

    def holds_back(self) -> bool:
        """Tell whether the next run should wait. After WAIT seconds it need not: then it is tried as it is."""
        if not self._short():
            self._since = None
            return False
        if self._since is None:
            self._since = self._clock()
            self._say(
                f"memory is short: {used_share():.0%} in use, most of it by {holders_text()}; no run is started before "
                f"it is below {threshold():.0%}, for up to {WAIT / 60:.0f} minutes"
            )
        return self._clock() - self._since < WAIT
