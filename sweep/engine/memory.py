"""The memory of this machine, as Ray's monitor judges it: above a share in use it ends processes that train. Nothing
here needs Ray."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

THRESHOLD_VARIABLE = "RAY_memory_usage_threshold"
WAIT = 300.0
"""Seconds to wait at most, at a time, until memory is free."""
GIB = 2.0**30


@dataclass(frozen=True)
class _ControlGroup:
    """Names of the files in which one version of Linux's control groups tells of memory, and of the pages that it gives
    back."""

    folder: str
    limit: str
    used: str
    given_back: str


CONTROL_GROUPS = (
    _ControlGroup("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    _ControlGroup("", "memory.max", "memory.current", "inactive_file"),
)
"""Version 1, version 2. A machine may have both, with memory in either."""
UNLIMITED = 2**60
"""Bytes: version 1 writes the largest number of whole pages where there is no limit, version 2 "max"."""


def threshold() -> float:
    """Return the share of the memory in use above which Ray ends processes, in (0, 1]."""
    return float(os.environ.get(THRESHOLD_VARIABLE) or 0.95)


def used_share() -> float:
    """Return the share of the memory that is in use, in [0, 1]: of the machine, or of the container around this
    process where that has less left."""
    machine = psutil.virtual_memory()
    return max(1.0 - machine.available / machine.total, _used_share_of_container(Path("/sys/fs/cgroup")))


def _used_share_of_container(folder: Path) -> float:
    """Return the share in use of what the control group in a folder may have; 0 where it has no limit."""
    return max(_used_share_of_group(folder / group.folder, group) for group in CONTROL_GROUPS)


def _used_share_of_group(folder: Path, group: _ControlGroup) -> float:
    try:
        limit = (folder / group.limit).read_text().strip()
        used = int((folder / group.used).read_text())
        pages = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        unlimited = limit == "max" or int(limit) >= UNLIMITED
        # Pages of files that nobody has used lately are given back when they are asked for.
        return 0.0 if unlimited else (used - int(pages.get(group.given_back, 0))) / max(1, int(limit))
    except (OSError, ValueError):
        return 0.0


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
