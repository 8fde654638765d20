"""What ``report`` said of a sweep, kept beside its index and said again as long as nothing has changed: neither the
sweep, the records of its runs and the code, nor the files that were written."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from sweep.commands.answer_origins import digest_of, file_digests, is_local_sweep
from sweep.commands.console import Said
from sweep.runs.program import program_digest
from sweep.storage.kept_files import read_kept, write_kept
from sweep.storage.stamps import Stamps, stamp_files
from sweep.training.epoch_record import Record

FILE = ".report"
"""In the folder of a sweep."""
RECORDS = ("final.json", "config.json", "test.json", "environment.json", "metrics.jsonl")
TABLES = ("runs.parquet", "runs.csv", "epochs.parquet")
_HASH = re.compile(rb'"hash": ?"([0-9a-zA-Z]{1,64})"')


class _KeptReport(Record):
    """records: stamps of what was read of the runs. files, written: those of the report, and their stamps."""

    records: str
    files: list[str]
    written: str
    said: Said


@dataclass(frozen=True)
class ReportKeeper:
    """Keeps what was said of the report of one sweep, written below ``to`` or into the results. To be made before
    anything is read.

    question: a digest of all that it came from, but for records and written files; None where nothing is kept."""

    folder: Path
    question: str | None
    records: Stamps

    @classmethod
    def of(cls, results: str, name: str, to: Path | None = None) -> ReportKeeper:
        """Ask for the report of a sweep, in the state that its files are in now."""
        folder = Path(results) / name
        try:
            if not is_local_sweep(results, name):
                raise FileNotFoundError(folder)
            runs = sorted({found.decode() for found in _HASH.findall((folder / "index.jsonl").read_bytes())})
            read = [folder / file for file in sorted(os.listdir(folder)) if file[0] != "." and file not in TABLES]
        except OSError:
            return cls(folder, None, Stamps("", False))
        files = file_digests(path for path in read if path.is_file())
        question = digest_of(name, str(to), files, program_digest())
        return cls(folder, question, _stamp_records(folder, runs))

    def known(self) -> Said | None:
        """Return what was said; None where nothing is kept, or anything has changed."""
        content = None if self.question is None else read_kept(self.folder / FILE, self.question)
        try:
            kept = None if content is None else _KeptReport.model_validate_json(content)
        except ValidationError:
            return None
        if kept is None or kept.records != self.records.digest:
            return None
        return kept.said if stamp_files(kept.files).digest == kept.written else None

    def keep(self, said: Said, files: Sequence[str]) -> None:
        """Keep what was said, with the files that were written."""
        if self.question is not None and self.records.settled:
            written = stamp_files(files).digest
            kept = _KeptReport(records=self.records.digest, files=list(files), written=written, said=said)
            write_kept(self.folder / FILE, self.question, kept.model_dump_json().encode())


def _stamp_records(folder: Path, runs: Iterable[str]) -> Stamps:
    root = f"{folder.parent}/runs"
    return stamp_files(f"{root}/{run}/{record}" for run in runs for record in RECORDS)
