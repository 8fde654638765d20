"""The folder of one run: its records, checkpoint and weights, written so that a kill spoils nothing."""

from __future__ import annotations

import io
import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import from_json

from sweep.runs.predictions import PREDICTIONS, SamplePredictions
from sweep.runs.records import EnvironmentRecord, FinalRecord, Run, TestRecord
from sweep.storage.files import (
    PARTIAL,
    append_line,
    guarded,
    make_folder,
    read_file,
    write_atomic,
)
from sweep.training.epoch_record import EpochRecord
from sweep.training.numerics import NUMERICS

R = TypeVar("R", bound=BaseModel)


TEST_BYTES = "test_bytes"
"""Key of final.json: the size of test.json, which tells a damaged one without opening it."""


@dataclass(frozen=True)
class DamagedEnd:
    """An end that does not count: the run is trained again. record: the first file that is missing or cannot be read
    of those without which none does."""

    record: str


class RunFolder:
    """The records, checkpoint and weights of one run. Whatever cannot be written raises StoreError."""

    def __init__(self, path: Path) -> None:
        self.path = path

    # While it runs ---------------------------------------------------------------------------------------------

    def open(self, run: Run, environment: EnvironmentRecord) -> None:
        """Make the folder and say what runs here, and where; clear away what an interrupted write left, and an end that
        does not count as its records are damaged (log.txt then says so)."""
        make_folder(self.path)
        with guarded("clean", self.path):
            for partial in self.path.glob(PARTIAL):
                partial.unlink(missing_ok=True)
        if (end := self.end()) is not None:
            self._remove("final.json")
            if isinstance(end, DamagedEnd):
                self.log(
                    f"{end.record} is missing or cannot be read, so the run does not count as ended: trained again"
                )
        self._write_record("config.json", run)
        self._write_record("environment.json", environment)

    def append(self, record: EpochRecord) -> None:
        """Append one more epoch. Its checkpoint is saved after it: a line without a checkpoint is cut on resuming."""
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
        """Append a line to log.txt."""
        self._append("log.txt", message.rstrip("\n"))

    def save_checkpoint(self, state: dict[str, Any]) -> None:
        """Replace the checkpoint, atomically."""
        import torch  # here as below: whoever only reads records does without

        buffer = io.BytesIO()
        torch.save({**state, "run": self.path.name, "numerics": NUMERICS}, buffer)
        self._write("checkpoint.pt", buffer.getvalue())

    def load_checkpoint(self) -> dict[str, Any] | None:
        """Load the last checkpoint on the CPU; None where there is none. One that cannot be read, or belongs to another
        run (a copied folder), is set aside as checkpoint.unreadable and said so in log.txt."""
        content = self._read("checkpoint.pt")
        if content is None:
            return None
        import torch

        try:
            state: dict[str, Any] = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
            owner, numerics = state.pop("run"), state.pop("numerics", None)
        except Exception as error:  # torch.load raises whatever the damaged bytes lead to
            self._set_aside(f"cannot be read ({str(error).splitlines()[0] if str(error) else type(error).__name__})")
            return None
        if owner != self.path.name:
            self._set_aside(f"belongs to run {owner}")
            return None
        if numerics != NUMERICS:
            self._set_aside("was written by a version of the code whose training gives other numbers")
            return None
        return state

    def _set_aside(self, why: str) -> None:
        if self._rename("checkpoint.pt", "checkpoint.unreadable"):
            self.log(f"checkpoint.pt {why}; kept as checkpoint.unreadable, training starts again")

    def commit(
        self,
        final: FinalRecord,
        test: TestRecord | None = None,
        weights: dict[str, Any] | None = None,
        predictions: SamplePredictions | None = None,
    ) -> None:
        """End the run: test.json, weights and predictions first, final.json last; the checkpoint goes unless the run
        failed. One that is done always has a test.json, empty where nothing was tested: without it the end does not
        count."""
        record = final.model_dump(mode="json")
        if test is not None or final.status == "done":
            tested = _content(test or TestRecord(metrics={}))
            self._write("test.json", tested)
            record[TEST_BYTES] = len(tested)
        if weights is not None:
            self._write_weights(weights)
        if predictions is not None:
            self._write(PREDICTIONS, predictions.to_bytes())
        self._secure()
        self._write("final.json", (json.dumps(record, indent=2) + "\n").encode(), durable=True)
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
        """Note that training is started once more, from nothing or from a checkpoint."""
        self._note({"started": datetime.now(UTC).isoformat(timespec="seconds")})

    def attempts(self) -> int:
        """Count how often training was started, those included that a kill ended."""
        return sum("started" in note for note in self._notes())

    def failures(self) -> list[str]:
        """List the reasons of the attempts that failed and were taken back, the oldest first."""
        return [note["failed"] for note in self._notes() if "failed" in note]

    def _notes(self) -> list[dict[str, str]]:
        return [note for line in (self._read("attempts.jsonl") or b"").splitlines() if (note := _parse_note(line))]

    def _note(self, note: dict[str, str]) -> None:
        lines = [json.dumps(line) + "\n" for line in [*self._notes(), note]]
        self._write("attempts.jsonl", "".join(lines).encode())

    def drop_weights(self) -> None:
        self._remove("weights.safetensors")

    def _write_record(self, name: str, record: BaseModel, durable: bool = False) -> None:
        self._write(name, _content(record), durable)

    def _write_weights(self, weights: dict[str, Any]) -> None:
        import torch
        from safetensors.torch import save

        tensors = {name: value.contiguous().clone() for name, value in weights.items() if torch.is_tensor(value)}
        self._write("weights.safetensors", save(tensors))

    # Reading ---------------------------------------------------------------------------------------------------

    def epochs(self) -> list[EpochRecord]:
        """Read every whole line of metrics.jsonl; what a crash tore is left out."""
        content = self._read("metrics.jsonl") or b""
        return [record for line in content.splitlines() if (record := _parse_record(EpochRecord, line)) is not None]

    def final(self) -> FinalRecord | None:
        """Read how the run ended; None while it has not. Where a record that belongs to the end is missing or cannot be
        read it has not: the run is trained again. Fields that a later version has added are left out."""
        end = self.end()
        return end if isinstance(end, FinalRecord) else None

    def end(self) -> FinalRecord | DamagedEnd | None:
        """Read how the run ended, as :meth:`final`, but tell an end that does not count from none."""
        content = self._read("final.json")
        if content is None:
            return None
        final, test_bytes = _parse_final(content)
        if final is None:
            return DamagedEnd("final.json")
        damaged = self._damaged_record(final, test_bytes)
        return final if damaged is None else DamagedEnd(damaged)

    def _damaged_record(self, final: FinalRecord, test_bytes: Any) -> str | None:
        """Name the first record without which an end does not count; None where all are there. A failure needs none: it
        is tried again. test_bytes: as the end has it."""
        if final.status != "failed" and not _is_record(Run, self._read("config.json")):
            return "config.json"
        return "test.json" if final.status == "done" and not self._test_is_whole(test_bytes) else None

    def _test_is_whole(self, written: Any) -> bool:
        """Tell whether test.json is as long as it was written. What decides about training never opens it."""
        try:
            state = os.stat(f"{self.path}/test.json")
        except OSError:
            return _is_record(TestRecord, self._read("test.json"))
        return state.st_size == written if written is not None else state.st_size > 0

    def config(self) -> Run | None:
        return self._record("config.json", Run)

    def environment(self) -> EnvironmentRecord | None:
        return self._record("environment.json", EnvironmentRecord)

    def file(self, name: str) -> Path | None:
        """Find the path of a file of the run, for instance ``weights.safetensors``; None where there is none."""
        path = self.path / name
        return path if path.exists() else None

    def _record(self, name: str, kind: type[R]) -> R | None:
        content = self._read(name)
        return None if content is None else _parse_record(kind, content)

    # Files -----------------------------------------------------------------------------------------------------

    def _read(self, name: str) -> bytes | None:
        path = f"{self.path}/{name}"
        with guarded("read", path):
            return read_file(path)

    def _write(self, name: str, content: bytes, durable: bool = False) -> None:
        write_atomic(self.path / name, content, durable)

    def _append(self, name: str, line: str) -> None:
        append_line(self.path / name, line)

    def _remove(self, name: str) -> None:
        with guarded("remove", self.path / name):
            (self.path / name).unlink(missing_ok=True)

    def _rename(self, name: str, to: str) -> bool:
        """Rename a file, or return False where there is none: of several workers of a run one is the first."""
        with guarded("rename", self.path / name):
            try:
                (self.path / name).replace(self.path / to)
            except FileNotFoundError:
                return False
        return True

    def _secure(self) -> None:
        """Bring whatever the run has left to where it belongs, before the commit says so."""


def _parse_note(line: bytes) -> dict[str, str]:
    """Parse a line of JSON; {} where it is damaged."""
    try:
        note = json.loads(line)
    except ValueError:
        return {}
    if not isinstance(note, dict) or not all(isinstance(value, str) for value in note.values()):
        return {}
    return note


def _parse_record(kind: type[R], content: bytes) -> R | None:
    try:
        return kind.model_validate_json(content)
    except ValidationError:
        return None


def _is_record(kind: type[BaseModel], content: bytes | None) -> bool:
    """Tell whether a record is whole: it has every field, of the right type. Later versions may have added some."""
    try:
        return content is not None and bool(kind.model_validate_json(content, extra="ignore"))
    except ValidationError:
        return False


def _content(record: BaseModel) -> bytes:
    """Give the content of a record's file."""
    return (record.model_dump_json(indent=2) + "\n").encode()


def _parse_final(content: bytes) -> tuple[FinalRecord | None, Any]:
    """Parse how a run ended, without what a later version has added, beside the size of its test.json; None where
    either cannot be read."""
    try:
        found = from_json(content)
        return FinalRecord.model_validate(found, extra="ignore"), found.get(TEST_BYTES)
    except ValueError:
        return None, None
