"""Failures of runs, each in one word and one sentence with a remedy, as their records hold them."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import data
from data.base import DataError
from models.encoders import ShapeError
from sweep.runs.records import Cause, Repeats, Run


class OvertimeError(TimeoutError):
    """A run took longer than the sweep's timeout."""


class ProcessDiedError(RuntimeError):
    """The process that trained a run ended before the run did."""


class ProcessMemoryError(MemoryError):
    """The process that trained a run was ended because its machine ran out of memory."""


@dataclass(frozen=True)
class Failure:
    """status: diverged for a loss that is not finite, else failed. cause, repeats: of a failure, as a record names
    them."""

    status: Literal["failed", "diverged"]
    cause: Cause | None
    reason: str
    repeats: Repeats | None = None


LOST_DATA = {errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE, errno.ENODEV}
"""What the system says of files that cannot be read: gone, forbidden, or on a medium or server that is gone."""
NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}
"""What the system says where nothing more can be written: a matter of the disk, not of the run."""
CPU_MEMORY = re.compile(
    r"DefaultCPUAllocator|Cannot allocate memory|not enough memory|std::bad_alloc|bytes of shared m"
)
GPU_MEMORY = re.compile(r"(CUDA|HIP|XPU|MPS)\b.*out of memory|ALLOC_FAILED|cudaErrorMemoryAllocation", re.DOTALL)
NODE_MEMORY = re.compile(r"memory pressure|running low on memory|OutOfMemoryError")
"""In Ray's account of a worker that its memory monitor ended."""

HINTS: Mapping[str, str] = {
    "gpu": "lower train.batch_size, or raise resources.gpus so that fewer runs share a GPU",
    "cpu": "lower train.batch_size, or raise resources.cpus so that fewer runs share the memory",
    "timeout": "raise timeout, or lower epochs",
}


def classify(error: BaseException, run: Run | None = None) -> Failure:
    """Tell what ``error`` means for ``run``, which it ended. Of an error and what caused it (``raise ... from``), the
    first that is more than an exception like any other decides; the reason names the error itself and, where one helps,
    the key to change."""
    from methods.base import DivergedError

    if isinstance(error, DivergedError):
        return Failure("diverged", None, str(error))
    cause, hint = next((found for link in _chain(error) if (found := _cause_and_hint(link, run))), ("error", None))
    said = f"{type(error).__name__}: {_first_sentences(str(error)) if cause == 'memory' else error}".rstrip(": ")
    return Failure("failed", cause, f"{said}; {hint}" if hint else said, _repeats(error) if cause == "data" else None)


def _repeats(error: BaseException) -> Repeats | None:
    if any(isinstance(link, ShapeError) for link in _chain(error)):
        return "run"
    return "dataset" if is_lasting(error) else None


def is_lasting(error: BaseException) -> bool:
    """Tell whether an error says of the data's content that it cannot be used, rather than of where it lies."""
    links = list(_chain(error))
    lost = any(isinstance(link, OSError) or (isinstance(link, DataError) and not link.lasting) for link in links)
    return not lost and any(isinstance(link, DataError) for link in links)


def _chain(error: BaseException) -> Iterator[BaseException]:
    link: BaseException | None = error
    while link is not None:
        yield link
        link = link.__cause__


def _cause_and_hint(error: BaseException, run: Run | None) -> tuple[Cause, str | None] | None:
    text = str(error)
    if GPU_MEMORY.search(text):
        return "memory", HINTS["gpu"]
    # torch and Ray each have an OutOfMemoryError of their own; torch's is a GPU's.
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or CPU_MEMORY.search(text):
        return "memory", HINTS["gpu" if type(error).__module__.startswith("torch") else "cpu"]
    if isinstance(error, OvertimeError):
        return "timeout", HINTS["timeout"]
    if isinstance(error, DataError) or (isinstance(error, OSError) and error.errno in LOST_DATA):
        return "data", _data_location(run)
    if isinstance(error, ShapeError):
        return "data", None
    if isinstance(error, SystemExit):
        return "process", "the run's own code called exit()"
    if isinstance(error, ProcessDiedError):
        return "process", None
    return None


def _data_location(run: Run | None) -> str | None:
    """Name the keys of the sweep that say where the run's data lies."""
    if run is None:
        return None
    keys = sorted(data.get(run.dataset).paths)
    return ", ".join(f"data.{run.dataset}.{key} is {run.data[key]}" for key in keys if run.data.get(key)) or None


def _first_sentences(text: str) -> str:
    """Cut a text to its first line, without the advice on allocators that follows its second sentence."""
    return " ".join(re.split(r"(?<=\.)\s+", text.strip().partition("\n")[0])[:2])


def error_of_lost_process(account: str, oom_kills: int = 0) -> ProcessDiedError | ProcessMemoryError:
    """Make the error that stands for a worker process that is gone.

    account: what Ray says of its end. oom_kills: how many processes the kernel's out-of-memory killer has ended on
    that machine since the run began, as far as that is known."""
    if raised := re.search(r"creation task", account):
        last = [line.strip() for line in account[raised.end() :].splitlines() if line.strip()][-1]
        return ProcessDiedError(f"the worker cannot start: {last}")
    # Ray's memory monitor ends several at a time, in one account.
    who = set(re.findall(r"pid[:=] ?(\d+)", account))
    where = re.search(r"ip[:=] ?([\d.]+\d)", account)
    process = "its process" + (f" {who.pop()}" if len(who) == 1 else "") + (f" on {where[1]}" if where else "")
    if NODE_MEMORY.search(account):
        return ProcessMemoryError(f"{process} was ended by Ray, its machine was running out of memory")
    if oom_kills:
        return ProcessMemoryError(f"{process} was ended when the machine ran out of memory")
    if re.search(r"node (was|has) (terminated|died)|node failure|its node has died", account, re.IGNORECASE):
        return ProcessDiedError(f"{process} is gone with its machine")
    return ProcessDiedError(f"{process} was killed, or crashed; Ray's log of that worker may say more")


def oom_kills() -> int:
    """Count the processes that the kernel's out-of-memory killer has ended on this machine since it was started."""
    try:
        lines = Path("/proc/vmstat").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)
