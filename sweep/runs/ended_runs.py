"""How runs ended and what of the code has changed since. Beside the index of a sweep it is kept with stamps of the
records that it was read from: of thousands of runs only those are read again whose records have changed."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from pydantic import TypeAdapter, ValidationError

from sweep.runs.code_changes import changed_since
from sweep.runs.code_texts import code_digest
from sweep.runs.program import has_plug_ins
from sweep.runs.records import FinalRecord
from sweep.runs.run_folder import RunFolder
from sweep.runs.store import Store
from sweep.storage.kept_files import read_kept, write_kept
from sweep.storage.stamps import stamp_files
from sweep.training.epoch_record import Record

FILE = ".ended-runs"
"""In the folder of a sweep."""
RECORDS = ("final.json", "config.json", "test.json", "environment.json")
"""Of them an end is read, with what has changed since."""


class EndedRun(Record):
    """final: its end, without its numbers. changed: what of the code has changed since it was trained."""

    final: FinalRecord
    changed: tuple[str, ...] = ()


_Kept = dict[str, tuple[str, EndedRun]]
"""Hash -> stamp of the records, and what they said."""
_KEPT = TypeAdapter(_Kept)


def ended_runs(store: Store, name: str, hashes: Iterable[str], planned: Collection[str]) -> dict[str, EndedRun]:
    """Map those of ``hashes`` that have ended to their ends, of which those of the sweep ``name`` are kept. planned:
    those whose hash today's code gives, and so the code that belongs to their identity."""
    path, code = store.results / name / FILE, code_digest()
    before = _parse_kept(read_kept(path, code))
    found, kept = dict[str, EndedRun](), _Kept()
    for run_hash in hashes:
        stamps = stamp_files(f"{store.results}/runs/{run_hash}/{record}" for record in RECORDS)
        stamp, ended = before.get(run_hash, ("", None))
        if stamp != stamps.digest:
            ended = _read_end(store.run(run_hash), run_hash in planned)
        if ended is not None:
            found[run_hash] = ended
            if stamps.settled:
                kept[run_hash] = stamps.digest, ended
    if kept != before and not has_plug_ins():
        write_kept(path, code, _KEPT.dump_json(kept, exclude_defaults=True))
    return found


def _read_end(folder: RunFolder, is_planned: bool) -> EndedRun | None:
    final = folder.final()
    if final is None:
        return None
    said = final.model_dump(include={"status", "reason", "cause", "repeats", "failures", "attempts"})
    return EndedRun(final=FinalRecord(**said), changed=changed_since(folder, is_planned))


def _parse_kept(content: bytes | None) -> _Kept:
    try:
        return {} if content is None else _KEPT.validate_json(content)
    except ValidationError:
        return {}
