"""The index of a sweep: the file that says which runs belong to it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pydantic import ValidationError

from sweep.runs.records import IndexEntry, is_run_name
from sweep.storage.files import append_line, guarded, write_atomic


class Index:
    """The list of a sweep's runs: index.jsonl, appended while it runs, cut to what belongs to it at the end. What a
    crash tore is repaired at once: the plan names every run again.

    earlier: which of the lines that are there belong to the sweep as it is configured now; None: all."""

    def __init__(self, path: Path, earlier: Iterable[IndexEntry] | None = None) -> None:
        self._path = path
        with guarded("read", path):
            content = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
        known = None if earlier is None else {entry.model_dump_json() for entry in earlier}
        lines = [line for line in content.splitlines() if _is_entry(line) and (known is None or line in known)]
        repaired = "".join(line + "\n" for line in lines)
        if content != repaired:
            write_atomic(path, repaired.encode())
        self._present = set(lines)
        self._belonging: dict[str, None] = {}

    def add(self, entry: IndexEntry) -> None:
        line = entry.model_dump_json()
        self._belonging[line] = None
        if line not in self._present:
            self._present.add(line)
            append_line(self._path, line)

    def close(self) -> None:
        """Forget the runs of an earlier configuration of the sweep, which is complete."""
        write_atomic(self._path, "".join(line + "\n" for line in self._belonging).encode(), durable=True)


def _is_entry(line: str) -> bool:
    try:
        return is_run_name(IndexEntry.model_validate_json(line).hash)
    except ValidationError:
        return False
