"""The run folders: the truth about what has been run. One folder a run, shared by all sweeps::

results/runs/HASH/  config.json  environment.json  metrics.jsonl  test.json  log.txt  checkpoint.pt  weights.safetensors
                    final.json       its rename into place is the commit: a run with it has ended
results/NAME/       sweep.yaml  index.jsonl  study.journal    runs.parquet  epochs.parquet  report/   (rebuildable)
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
from filelock import FileLock, Timeout
from pydantic import BaseModel, ValidationError

from sweep.records import EnvironmentRecord, EpochRecord, FinalRecord, Run, TestRecord

T = TypeVar("T")


class StoreError(RuntimeError):
    """The results folder cannot be used; the message names the path and the remedy."""


class LockedError(StoreError):
    """Another live driver works on this sweep."""


def write_atomic(path: Path, content: bytes, durable: bool = False) -> None:
    """Write under a temporary name, then rename, so that a killed process leaves the old file or the new one.
    durable: survive a power cut too. Raises StoreError naming the path where that fails."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise StoreError(f"cannot write {path}: {error.strerror or error}; free space or change permissions") from error


class RunFolder:
    """The records, checkpoint and weights of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    # While it runs ---------------------------------------------------------------------------------------------

    def open(self, run: Run, environment: EnvironmentRecord) -> None:
        """Make the folder and say what runs here, and where. Raises StoreError where it cannot be written."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"cannot make {self.path}: {error.strerror or error}") from error
        self._write_record("config.json", run)
        self._write_record("environment.json", environment)

    def append(self, record: EpochRecord) -> None:
        """One more epoch. Its checkpoint is saved after it: a line without a checkpoint is cut on resuming."""
        with (self.path / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(record.model_dump_json() + "\n")

    def rewind(self, epoch: int) -> None:
        """Forget the epochs after ``epoch`` and whatever an interrupted write left of them."""
        kept = [record for record in self.epochs() if record.epoch <= epoch]
        write_atomic(self.path / "metrics.jsonl", "".join(record.model_dump_json() + "\n" for record in kept).encode())

    def log(self, message: str) -> None:
        """One more line of log.txt."""
        with (self.path / "log.txt").open("a", encoding="utf-8") as file:
            file.write(message.rstrip("\n") + "\n")

    def save_checkpoint(self, state: dict[str, Any]) -> None:
        """Replace the checkpoint, atomically."""
        buffer = io.BytesIO()
        torch.save(state, buffer)
        write_atomic(self.path / "checkpoint.pt", buffer.getvalue())

    def load_checkpoint(self) -> dict[str, Any] | None:
        """The last checkpoint on the CPU; None where there is none. An unreadable one is set aside and said so."""
        path = self.path / "checkpoint.pt"
        if not path.exists():
            return None
        try:
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
            return state
        except Exception as error:  # torch.load raises whatever the damaged bytes lead to
            path.replace(path.with_name("checkpoint.unreadable"))
            self.log(f"checkpoint.pt cannot be read ({error}); kept as checkpoint.unreadable, starting again")
            return None

    def commit(self, final: FinalRecord, test: TestRecord | None = None, weights: dict[str, Any] | None = None) -> None:
        """End the run: test.json and weights first, final.json last; the checkpoint goes unless the run was pruned."""
        if test is not None:
            self._write_record("test.json", test)
        if weights is not None:
            self._write_weights(weights)
        self._write_record("final.json", final, durable=True)
        if final.status in ("done", "diverged"):
            (self.path / "checkpoint.pt").unlink(missing_ok=True)

    def reopen(self) -> None:
        """Take the commit back, so that the run is trained (or, with its checkpoint, trained on)."""
        (self.path / "final.json").unlink(missing_ok=True)

    def forget(self) -> None:
        """Take the commit and the checkpoint back: the run starts from nothing."""
        self.reopen()
        (self.path / "checkpoint.pt").unlink(missing_ok=True)

    def drop_weights(self) -> None:
        (self.path / "weights.safetensors").unlink(missing_ok=True)

    def _write_record(self, name: str, record: BaseModel, durable: bool = False) -> None:
        write_atomic(self.path / name, (record.model_dump_json(indent=2) + "\n").encode(), durable)

    def _write_weights(self, weights: dict[str, Any]) -> None:
        from safetensors.torch import save

        tensors = {name: value.contiguous().clone() for name, value in weights.items() if torch.is_tensor(value)}
        write_atomic(self.path / "weights.safetensors", save(tensors))

    # Reading ---------------------------------------------------------------------------------------------------

    def epochs(self) -> list[EpochRecord]:
        """Every whole line of metrics.jsonl; a torn last line is left out."""
        path = self.path / "metrics.jsonl"
        if not path.exists():
            return []
        records = []
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                records.append(EpochRecord.model_validate_json(line))
            except ValidationError:
                break
        return records

    def final(self) -> FinalRecord | None:
        """How the run ended; None while it has not."""
        return self._read("final.json", FinalRecord.model_validate_json)

    def config(self) -> Run | None:
        return self._read("config.json", Run.model_validate_json)

    def environment(self) -> EnvironmentRecord | None:
        return self._read("environment.json", EnvironmentRecord.model_validate_json)

    def _read(self, name: str, parse: Callable[[bytes], T]) -> T | None:
        try:
            return parse((self.path / name).read_bytes())
        except FileNotFoundError:
            return None
        except ValidationError as error:
            # Only a damaged disk leaves such a file: what it said is lost, and the run is trained again.
            self.log(f"{name} cannot be read: {error.errors()[0]['msg']}")
            return None


class Store:
    """All runs and sweeps under one results folder."""

    def __init__(self, results: Path) -> None:
        self.results = results

    def run(self, run_hash: str) -> RunFolder:
        return RunFolder(self.results / "runs" / run_hash)

    def sweep(self, name: str) -> Path:
        """The folder of a sweep, made where it is missing. Raises StoreError where it cannot be."""
        path = self.results / name
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"cannot make {path}: {error.strerror or error}; choose another --results") from error
        return path

    def lock(self, name: str) -> FileLock:
        """Hold a sweep for this driver; the lock ends with the process. Raises LockedError where another one lives."""
        lock = FileLock(self.sweep(name) / ".lock")
        try:
            lock.acquire(blocking=False)
        except Timeout:
            raise LockedError(
                f"sweep {name} is being run by another process on {self.results}; wait for it or stop it"
            ) from None
        except OSError as error:
            raise StoreError(f"cannot lock {self.sweep(name)}: {error.strerror or error}") from error
        return lock

    def claim(self, run_hash: str) -> FileLock | None:
        """Hold a run for this driver, or None while another live driver trains it."""
        folder = self.run(run_hash).path
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".claim")
        try:
            lock.acquire(blocking=False)
        except Timeout:
            return None
        return lock
