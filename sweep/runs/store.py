"""The run folders: the truth about what has been run. One folder a run, shared by all sweeps::

results/runs/HASH/  config.json  environment.json  metrics.jsonl  test.json  predictions.npz  log.txt  checkpoint.pt
                    weights.safetensors
                    final.json       its rename into place is the commit: a run with it has ended
results/NAME/       sweep.yaml  index.jsonl  study.journal    runs.parquet  epochs.parquet  report/   (rebuildable)
                    .outline  .ended-runs  .report    what commands found out, while nothing has changed

Results named by a URI (``s3://bucket/results``) lie there; every machine works in a folder that mirrors them
(:mod:`sweep.runs.mirror`).
"""

from __future__ import annotations

import errno
import os
import uuid
from functools import cached_property
from pathlib import Path

from filelock import FileLock, Timeout

from sweep.runs.records import is_sweep_name
from sweep.runs.run_folder import RunFolder
from sweep.storage.files import (
    LockedError,
    StoreError,
    guarded,
    make_folder,
    write_atomic,
)
from sweep.storage.leases import BEAT, MISSED, Hold, Holder, Leases
from sweep.storage.remote import Storage

NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP)
"""How a file system says that it knows no locks."""

MARK = ".store-"


class Store:
    """All runs and sweeps under one results folder. ``Store(path)`` is a local one, ``open_store`` takes a URI too."""

    def __init__(self, results: Path) -> None:
        self.results = results
        """A folder of this machine: the results themselves, or their mirror."""

    def __str__(self) -> str:
        """As the user named it."""
        return str(self.results)

    @property
    def address(self) -> str:
        """Name what another process of any node opens: an absolute path or a URI."""
        return str(self.results.resolve())

    def mark(self) -> str:
        """Return a random name that lies in the results, for ``join_store``; made where there is none."""
        return self._mark

    @cached_property
    def _mark(self) -> str:
        found = sorted(name for name in self._names() if name.startswith(MARK))
        if not found:
            found = [f"{MARK}{uuid.uuid4().hex}"]
            self._write_mark(found[0])
        return found[0].removeprefix(MARK)

    def run(self, run_hash: str) -> RunFolder:
        return RunFolder(self.results / "runs" / run_hash)

    def sweep(self, name: str) -> Path:
        """Return the folder of a sweep, made where it is missing. Raises StoreError for what names no sweep."""
        if not is_sweep_name(name):
            raise StoreError(f"{name!r} names no sweep: use letters, digits, - and _")
        path = self.results / name
        make_folder(path)
        return path

    def lock(self, name: str) -> Hold:
        """Hold a sweep for this driver; the lock ends with the process. Raises LockedError where another one lives."""
        self.sweep(name)
        held = self._hold(f"{name}/.lock", attempts=4)
        if held is None or isinstance(held, Holder):
            whose = f" ({held.describe()})" if held else ""
            dead = f"; a dead one is forgotten after {BEAT * MISSED:.0f} s" if held else ""
            raise LockedError(
                f"sweep {name} is being run by another process{whose} on {self.address}; wait for it or stop it{dead}"
            )
        return held

    def claim(self, run_hash: str) -> Hold | None:
        """Hold a run for this driver, or None while another live driver trains it."""
        make_folder(self.results / "runs" / run_hash)
        held = self._hold(f"runs/{run_hash}/.claim")
        return None if isinstance(held, Holder) else held

    def check_held(self) -> None:
        """Check that all that was claimed or locked is still held. Raises LockedError where another driver may hold it
        by now, since this one was stopped for too long or its claims are gone."""
        if "_leases" in self.__dict__:
            self._leases.check()

    def pull(self, *names: str, events: bool = False) -> None:
        """Bring what has been written elsewhere of these sweeps (none: of all) and their runs to :attr:`results`;
        events: TensorBoard's files too. Nothing to do where the results lie on this machine."""

    def push(self, name: str) -> None:
        """Send what the driver keeps of a sweep (configuration, index, study) to where the results lie."""

    def publish(self, name: str) -> None:
        """Send the tables and the report of a sweep to where the results lie."""

    def _hold(self, key: str, attempts: int = 1) -> Hold | Holder | None:
        """Hold a key of the results for this process; else who does, or None where that is not known. attempts: as in
        ``Leases.acquire``."""
        if (self.results / key).is_dir():  # a claim of drivers that came by a URI, which no file lock sees
            raise StoreError(
                f"{self.results} has been used as file://{self.results.absolute()}, under which drivers hold claims of "
                "another kind; name it so again, or copy it"
            )
        lock = FileLock(self.results / key, fallback_to_soft=False)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            return None
        except OSError as error:
            if error.errno in NO_LOCKS:
                return self._leases.acquire(f"{key}s", attempts)
            with guarded("lock", self.results / key):
                raise
        return lock

    @cached_property
    def _leases(self) -> Leases:
        return Leases(Storage.of_folder(self.results))

    def _names(self) -> list[str]:
        with guarded("read", self.results):
            return os.listdir(self.results)

    def is_marked(self, mark: str) -> bool:
        return (self.results / f"{MARK}{mark}").exists()

    def _write_mark(self, name: str) -> None:
        write_atomic(self.results / name, b"")
