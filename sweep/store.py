"""The run folders: the truth about what has been run. One folder a run, shared by all sweeps::

results/runs/HASH/  config.json  environment.json  metrics.jsonl  test.json  log.txt  checkpoint.pt  weights.safetensors
                    final.json       its rename into place is the commit: a run with it has ended
results/NAME/       sweep.yaml  index.jsonl  study.journal    runs.parquet  epochs.parquet  report/   (rebuildable)

Results named by a URI (``s3://bucket/results``) lie there; every machine works in a folder that mirrors them
(:mod:`sweep.mirror`).
"""

from __future__ import annotations

import errno
import io
import json
import os
import socket
import uuid
from datetime import UTC, datetime
from functools import cache, cached_property
from pathlib import Path
from typing import Any, TypeVar

import torch
from filelock import FileLock, Timeout
from pydantic import BaseModel, ValidationError

from sweep.files import (
    PARTIAL,
    LockedError,
    StoreError,
    append_line,
    guarded,
    make_folder,
    write_atomic,
)
from sweep.leases import BEAT, MISSED, Hold, Holder, Leases
from sweep.records import EnvironmentRecord, EpochRecord, FinalRecord, Run, TestRecord
from sweep.storage import Storage, is_uri

__all__ = ["Hold", "LockedError", "RunFolder", "Store", "StoreError", "write_atomic"]

R = TypeVar("R", bound=BaseModel)

NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP)
"""How a file system says that it knows no locks."""

MARK = ".store-"


class RunFolder:
    """The records, checkpoint and weights of one run. Whatever cannot be written raises StoreError."""

    def __init__(self, path: Path) -> None:
        self.path = path

    # While it runs ---------------------------------------------------------------------------------------------

    def open(self, run: Run, environment: EnvironmentRecord) -> None:
        """Make the folder and say what runs here, and where; clear away what an interrupted write left."""
        make_folder(self.path)
        with guarded("clean", self.path):
            for partial in self.path.glob(PARTIAL):
                partial.unlink(missing_ok=True)
        self._write_record("config.json", run)
        self._write_record("environment.json", environment)

    def append(self, record: EpochRecord) -> None:
        """One more epoch. Its checkpoint is saved after it: a line without a checkpoint is cut on resuming."""
        self._append("metrics.jsonl", record.model_dump_json())

    def rewind(self, epoch: int) -> None:
        """Forget the epochs after ``epoch`` and whatever an interrupted write left of them. What cannot be gone on
        from, or has been lost, is said in log.txt."""
        found = self.epochs()
        kept = [record for record in found if record.epoch <= epoch]
        self._write("metrics.jsonl", "".join(record.model_dump_json() + "\n" for record in kept).encode())
        if epoch == 0 and found:
            self.log(
                f"there is no checkpoint to go on from: training starts again (epoch {found[-1].epoch} was reached)"
            )
        lost = set(range(1, epoch + 1)) - {record.epoch for record in kept}
        if lost:
            self.log(f"metrics.jsonl was damaged: what it said of epochs {', '.join(map(str, sorted(lost)))} is lost")

    def log(self, message: str) -> None:
        """One more line of log.txt."""
        self._append("log.txt", message.rstrip("\n"))

    def save_checkpoint(self, state: dict[str, Any]) -> None:
        """Replace the checkpoint, atomically."""
        buffer = io.BytesIO()
        torch.save({**state, "run": self.path.name}, buffer)
        self._write("checkpoint.pt", buffer.getvalue())

    def load_checkpoint(self) -> dict[str, Any] | None:
        """The last checkpoint on the CPU; None where there is none. One that cannot be read, or belongs to another run
        (a copied folder), is set aside as checkpoint.unreadable and said so in log.txt."""
        content = self._read("checkpoint.pt")
        if content is None:
            return None
        try:
            state: dict[str, Any] = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
            owner = state.pop("run")
        except Exception as error:  # torch.load raises whatever the damaged bytes lead to
            self._set_aside(f"cannot be read ({str(error).splitlines()[0] if str(error) else type(error).__name__})")
            return None
        if owner != self.path.name:
            self._set_aside(f"belongs to run {owner}")
            return None
        return state

    def _set_aside(self, why: str) -> None:
        if self._rename("checkpoint.pt", "checkpoint.unreadable"):
            self.log(f"checkpoint.pt {why}; kept as checkpoint.unreadable, training starts again")

    def commit(self, final: FinalRecord, test: TestRecord | None = None, weights: dict[str, Any] | None = None) -> None:
        """End the run: test.json and weights first, final.json last; the checkpoint goes unless the run failed."""
        if test is not None:
            self._write_record("test.json", test)
        if weights is not None:
            self._write_weights(weights)
        self._secure()
        self._write_record("final.json", final, durable=True)
        if final.status != "failed":
            self._remove("checkpoint.pt")

    def reopen(self) -> None:
        """Take the commit back, so that the run is trained (or, with its checkpoint, trained on). Why it failed stays
        on record."""
        final = self.final()
        if final is not None and final.status == "failed":
            self._note({"failed": final.reason or ""})
        self._remove("final.json")

    def forget(self) -> None:
        """Take the commit, the checkpoint and the memory of attempts back: the run starts from nothing."""
        for name in ("final.json", "checkpoint.pt", "attempts.jsonl"):
            self._remove(name)

    # Attempts --------------------------------------------------------------------------------------------------

    def note_start(self) -> None:
        """Training is started once more, from nothing or from a checkpoint."""
        self._note({"started": datetime.now(UTC).isoformat(timespec="seconds")})

    def attempts(self) -> int:
        """How often training was started, those included that a kill ended."""
        return sum("started" in note for note in self._notes())

    def failures(self) -> list[str]:
        """Reasons of the attempts that failed and were taken back, the oldest first."""
        return [note["failed"] for note in self._notes() if "failed" in note]

    def _notes(self) -> list[dict[str, str]]:
        return [note for line in (self._read("attempts.jsonl") or b"").splitlines() if (note := _whole(line))]

    def _note(self, note: dict[str, str]) -> None:
        lines = [json.dumps(line) + "\n" for line in [*self._notes(), note]]
        self._write("attempts.jsonl", "".join(lines).encode())

    def drop_weights(self) -> None:
        self._remove("weights.safetensors")

    def _write_record(self, name: str, record: BaseModel, durable: bool = False) -> None:
        self._write(name, (record.model_dump_json(indent=2) + "\n").encode(), durable)

    def _write_weights(self, weights: dict[str, Any]) -> None:
        from safetensors.torch import save

        tensors = {name: value.contiguous().clone() for name, value in weights.items() if torch.is_tensor(value)}
        self._write("weights.safetensors", save(tensors))

    # Reading ---------------------------------------------------------------------------------------------------

    def epochs(self) -> list[EpochRecord]:
        """Every whole line of metrics.jsonl; what a crash tore is left out."""
        content = self._read("metrics.jsonl") or b""
        return [record for line in content.splitlines() if (record := _parsed(EpochRecord, line)) is not None]

    def final(self) -> FinalRecord | None:
        """How the run ended; None while it has not. With a record that a power cut or a damaged disk has spoilt it has
        not: the run is trained again."""
        final = self._record("final.json", FinalRecord)
        return None if final is None or any(map(self._spoilt, ("config.json", "test.json"))) else final

    def config(self) -> Run | None:
        return self._record("config.json", Run)

    def environment(self) -> EnvironmentRecord | None:
        return self._record("environment.json", EnvironmentRecord)

    def file(self, name: str) -> Path | None:
        """The path of a file of the run, for instance ``weights.safetensors``; None where there is none."""
        path = self.path / name
        return path if path.exists() else None

    def _record(self, name: str, kind: type[R]) -> R | None:
        content = self._read(name)
        return None if content is None else _parsed(kind, content)

    # Files -----------------------------------------------------------------------------------------------------

    def _read(self, name: str) -> bytes | None:
        with guarded("read", self.path / name):
            try:
                return (self.path / name).read_bytes()
            except FileNotFoundError:
                return None

    def _write(self, name: str, content: bytes, durable: bool = False) -> None:
        write_atomic(self.path / name, content, durable)

    def _append(self, name: str, line: str) -> None:
        append_line(self.path / name, line)

    def _remove(self, name: str) -> None:
        with guarded("remove", self.path / name):
            (self.path / name).unlink(missing_ok=True)

    def _rename(self, name: str, to: str) -> bool:
        """Whether there was such a file: of several workers of a run one is the first."""
        with guarded("rename", self.path / name):
            try:
                (self.path / name).replace(self.path / to)
            except FileNotFoundError:
                return False
        return True

    def _secure(self) -> None:
        """Whatever the run has left is where it belongs before the commit says so."""

    def _spoilt(self, name: str) -> bool:
        """Whether a power cut emptied a file written shortly before. Only the commit is made to survive one at once:
        that takes milliseconds a file."""
        try:
            return (self.path / name).stat().st_size == 0
        except FileNotFoundError:
            return False


def _whole(line: bytes) -> dict[str, str]:
    """A line of JSON; {} where a power cut spoilt it."""
    try:
        note: dict[str, str] = json.loads(line)
    except ValueError:
        return {}
    return note


def _parsed(kind: type[R], content: bytes) -> R | None:
    try:
        return kind.model_validate_json(content)
    except ValidationError:
        return None


class Store:
    """All runs and sweeps under one results folder. ``Store(path)`` is a local one, :meth:`open` takes a URI too."""

    def __init__(self, results: Path) -> None:
        self.results = results
        """A folder of this machine: the results themselves, or their mirror."""

    @staticmethod
    def open(results: str | Path) -> Store:
        """The store at a path or URI. Raises StoreError where the URI is none that pyarrow or fsspec knows."""
        if not is_uri(results):
            return Store(Path(results))
        from sweep.mirror import MirroredStore

        return MirroredStore(Storage.at(str(results)))

    @staticmethod
    @cache
    def join(address: str, mark: str) -> Store:
        """The driver's store, as another process or node sees it: ``address`` and :meth:`mark` are the driver's.
        Raises StoreError where this node does not see the driver's folder."""
        store = Store.open(address)
        if not store._marked(mark):
            raise StoreError(
                f"{socket.gethostname()} does not see the results folder of the driver, {address}: give --results a "
                "folder that all nodes share, or a URI such as s3://bucket/results"
            )
        return store

    def __str__(self) -> str:
        """As the user named it."""
        return str(self.results)

    @property
    def address(self) -> str:
        """What another process of any node opens: an absolute path or a URI."""
        return str(self.results.resolve())

    def mark(self) -> str:
        """A random name that lies in the results, for :meth:`join`; made where there is none."""
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
        """The folder of a sweep, made where it is missing."""
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

    def _marked(self, mark: str) -> bool:
        return (self.results / f"{MARK}{mark}").exists()

    def _write_mark(self, name: str) -> None:
        write_atomic(self.results / name, b"")
