"""Results on object storage: the storage holds the truth, a folder of this machine mirrors what is needed of it.

A run is trained in a working folder and sent at each checkpoint (records first, the checkpoint last); at its end goes
everything else, and the single write of final.json, which comes last, is the commit. Whoever takes a run up on another
machine fetches records and checkpoint before. The driver keeps the files of its sweep in its mirror and sends them as
they grow; readers bring the records of runs to theirs."""

from __future__ import annotations

import hashlib
import itertools
import os
import shutil
from collections.abc import Iterable
from fnmatch import fnmatch
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from pydantic_core import from_json

from sweep.runs.predictions import PREDICTIONS, SamplePredictions
from sweep.runs.records import EnvironmentRecord, FinalRecord, Run, TestRecord, is_run_name
from sweep.runs.run_folder import RunFolder
from sweep.runs.store import MARK, Store
from sweep.storage.files import guarded, make_folder, write_atomic
from sweep.storage.leases import Hold, Holder, Lease, Leases, is_running, machine_id
from sweep.storage.remote import Storage, make_mirror

RECORDS = ("config.json", "environment.json", "metrics.jsonl", "test.json", PREDICTIONS, "log.txt")
"""What there is to read of a run, besides final.json, which makes it complete."""

EVENTS = "events.out.tfevents.*"
TABLES = ("runs.parquet", "runs.csv", "epochs.parquet")
KEPT = ("sweep.yaml", "index.jsonl", "study.journal", "race.jsonl")
"""What a driver keeps of its sweep."""

WORKING = ".working"

GROWING = ("index.jsonl", "study.journal", "race.jsonl")
"""Files of a sweep that only grow: of two versions the longer one is the newer, where it begins with the other."""


class MirroredRun(RunFolder):
    """A run on storage. What this process writes of it is written in a working folder of its own, ``path``, and sent;
    what it only reads comes from storage, or from ``mirror`` where that holds the records of a run that is done. Of a
    run that storage is known to hold nothing of, it is not asked."""

    def __init__(self, store: MirroredStore, run_hash: str) -> None:
        super().__init__(store.results / WORKING / f"{_process_name()}.{next(_numbers)}" / run_hash)
        self._store, self._storage, self._mirror = store, store.storage, store.results / "runs" / run_hash
        self._taken: set[str] = set()
        """Files whose newest version lies in the working folder."""
        self._unsent: set[str] = set()

    def open(self, run: Run, environment: EnvironmentRecord) -> None:
        _clear(self.path.parent)
        super().open(run, environment)
        self._send()

    def commit(
        self,
        final: FinalRecord,
        test: TestRecord | None = None,
        weights: dict[str, Any] | None = None,
        predictions: SamplePredictions | None = None,
    ) -> None:
        super().commit(final, test, weights, predictions)
        self._taken.clear()
        shutil.rmtree(self.path.parent, ignore_errors=True)  # left-overs cost disk space alone, and are cleared later

    def file(self, name: str) -> Path | None:
        path = self._mirror / name
        content = self._read(name)
        if content is None:
            return None
        make_folder(self._mirror)
        write_atomic(path, content)
        return path

    @cached_property
    def _done(self) -> bool:
        """Tell whether the mirror holds a run that is done or diverged: none takes such a one up again."""
        final = RunFolder(self._mirror).final()
        return final is not None and final.status in ("done", "diverged")

    def _read(self, name: str) -> bytes | None:
        if name in self._taken:
            return super()._read(name)
        if not self._store.may_hold(self.path.name):
            return None
        if self._done and (self._mirror / name).exists():
            return RunFolder(self._mirror)._read(name)
        return self._storage.read(self._key(name))

    def _write(self, name: str, content: bytes, durable: bool = False) -> None:
        if name == "final.json":
            self._storage.write(self._key(name), content)
            self._store.learn_of(self.path.name)
            return
        make_folder(self.path)
        super()._write(name, content)
        self._taken.add(name)
        self._unsent.add(name)
        if name in ("checkpoint.pt", "attempts.jsonl"):
            self._send()

    def _append(self, name: str, line: str) -> None:
        if name not in self._taken:
            make_folder(self.path)
            if (content := self._read(name)) is not None:
                super()._write(name, content)
            self._taken.add(name)
        super()._append(name, line)
        self._unsent.add(name)

    def _remove(self, name: str) -> None:
        super()._remove(name)
        self._taken.discard(name)
        self._unsent.discard(name)
        if self._store.may_hold(self.path.name):
            self._storage.remove(self._key(name))
        with guarded("remove", self._mirror / name):
            (self._mirror / name).unlink(missing_ok=True)
        self.__dict__.pop("_done", None)

    def _rename(self, name: str, to: str) -> bool:
        content = self._read(name)
        if content is None:
            return False
        self._storage.write(self._key(to), content)
        self._remove(name)
        return True

    def _secure(self) -> None:
        self._unsent |= {path.name for path in self.path.glob(EVENTS)}
        self._send()

    def _send(self) -> None:
        """Send everything that has changed; the checkpoint last, for it says that the rest is there."""
        for name in sorted(self._unsent, key=lambda name: (name == "checkpoint.pt", name)):
            content = super()._read(name)
            if content is not None:
                self._storage.write(self._key(name), content)
        self._unsent.clear()
        self._store.learn_of(self.path.name)

    def _key(self, name: str) -> str:
        return f"runs/{self.path.name}/{name}"


@cache
def _process_name() -> str:
    """Name this process among those of every machine that may share the mirror."""
    return f"{hashlib.sha256(machine_id().encode()).hexdigest()[:8]}.{os.getpid()}"


_numbers = itertools.count()


def _clear(mine: Path) -> None:
    """Remove working folders of processes of this machine that have ended, and what this process worked in before: a
    process trains one run at a time."""
    if not mine.parent.exists():
        return
    for folder in mine.parent.iterdir():
        here, process, _ = folder.name.split(".")
        same = f"{here}.{process}" == _process_name()
        if folder != mine and (same or (_process_name().startswith(f"{here}.") and not is_running(int(process)))):
            shutil.rmtree(folder, ignore_errors=True)


class MirroredStore(Store):
    """A store on object storage."""

    def __init__(self, storage: Storage) -> None:
        super().__init__(make_mirror(storage.uri))
        self.storage = storage
        self._sent: dict[str, bytes] = {}
        self._known: set[str] | None = None
        """Runs of which the storage holds something; None where it has not been asked."""

    def __str__(self) -> str:
        return self.storage.uri

    @property
    def address(self) -> str:
        return self.storage.uri

    def run(self, run_hash: str) -> RunFolder:
        return MirroredRun(self, run_hash)

    def may_hold(self, run_hash: str) -> bool:
        """Tell whether the storage may hold something of a run, as far as it was asked."""
        return self._known is None or run_hash in self._known

    def learn_of(self, run_hash: str) -> None:
        """Take note that the storage holds something of a run, or that another driver may have written it."""
        if self._known is not None:
            self._known.add(run_hash)

    def claim(self, run_hash: str) -> Hold | None:
        # What storage held when it was listed says nothing of a run that another driver has held since.
        self.learn_of(run_hash)
        held = self._hold(f"runs/{run_hash}/.claim")
        return held if isinstance(held, Lease) else None

    def pull(self, *names: str, events: bool = False) -> None:
        self._known = set(self.storage.names("runs"))
        for name in names or self._sweeps():
            self._pull_sweep(name)
            hashes = [run_hash for run_hash in _hashes(self.results / name / "index.jsonl") if run_hash in self._known]
            self._pull_runs(hashes)
            if events:
                self._pull_events(hashes)

    def push(self, name: str) -> None:
        self.check_held()
        self._push(name, (self.results / name / file for file in KEPT))

    def publish(self, name: str) -> None:
        folder = self.results / name
        self._push(name, [folder / table for table in TABLES])
        self._push(name, (folder / "report").rglob("*"))

    def _push(self, name: str, paths: Iterable[Path]) -> None:
        for path in paths:
            if not path.is_file():
                continue
            key = path.relative_to(self.results).as_posix()
            with guarded("read", path):
                content = path.read_bytes()
            stamp = hashlib.sha256(content).digest()
            if self._sent.get(key) != stamp:
                self.storage.write(key, content)
                self._sent[key] = stamp

    def _sweeps(self) -> list[str]:
        found = [name for name in self.storage.names() if name != "runs" and not name.startswith(".")]
        return [key.partition("/")[0] for key in self.storage.sizes(f"{name}/index.jsonl" for name in found)]

    def _pull_sweep(self, name: str) -> None:
        for file in KEPT:
            path, content = self.results / name / file, self.storage.read(f"{name}/{file}")
            ahead = file in GROWING and content is not None and path.exists() and path.read_bytes().startswith(content)
            if content is None:
                path.unlink(missing_ok=True)
            elif not ahead:
                make_folder(path.parent)
                write_atomic(path, content)

    def _pull_runs(self, hashes: list[str]) -> None:
        """Bring the records of runs, as far as the mirror does not hold their end; final.json last, for it says that
        the rest is there."""
        finals = {run_hash: f"runs/{run_hash}/final.json" for run_hash in hashes}
        sizes = self.storage.sizes(finals.values())
        stale = []
        for run_hash, key in finals.items():
            path = self.results / key
            if RunFolder(path.parent).final() is None or path.stat().st_size != sizes.get(key):
                path.unlink(missing_ok=True)
                stale.append(run_hash)
        for names in (RECORDS, ("final.json",)):
            self.storage.fetch((f"runs/{run_hash}/{name}" for run_hash in stale for name in names), self.results)

    def _pull_events(self, hashes: list[str]) -> None:
        for run_hash in hashes:
            found = [name for name in self.storage.names(f"runs/{run_hash}") if fnmatch(name, EVENTS)]
            self.storage.fetch((f"runs/{run_hash}/{name}" for name in found), self.results)

    def _hold(self, key: str, attempts: int = 1) -> Hold | Holder | None:
        return self._leases.acquire(key, attempts)

    @cached_property
    def _leases(self) -> Leases:
        return Leases(self.storage)

    def _names(self) -> list[str]:
        return self.storage.names()

    def is_marked(self, mark: str) -> bool:
        return self.storage.read(f"{MARK}{mark}") is not None

    def _write_mark(self, name: str) -> None:
        self.storage.write(name, b"")


def _hashes(index: Path) -> list[str]:
    """List the runs that an index names, each once."""
    if not index.exists():
        return []
    found: dict[str, None] = {}
    for line in index.read_bytes().splitlines():
        try:
            entry = from_json(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and is_run_name(entry.get("hash")):
            found[entry["hash"]] = None
    return list(found)
