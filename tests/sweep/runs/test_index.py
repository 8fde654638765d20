"""The index of a sweep: appended while it runs, repaired after a crash, cut to what belongs at the end."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweep.runs.index import Index
from sweep.runs.records import IndexEntry
from sweep.storage.files import StoreError


def entry(run_hash: str) -> IndexEntry:
    return IndexEntry(
        hash=run_hash,
        method="joint",
        label="joint",
        dataset="digits",
        role="sweep",
        values={},
        configuration="c",
        seed=0,
    )


def hashes(path: Path) -> list[str]:
    return [IndexEntry.model_validate_json(line).hash for line in path.read_text().splitlines()]


def test_a_line_whose_hash_is_a_path_is_no_entry(tmp_path: Path) -> None:
    path = tmp_path / "index.jsonl"
    path.write_text("".join(entry(name).model_dump_json() + "\n" for name in ("../../x", "a", "/etc", "")))
    Index(path)
    assert hashes(path) == ["a"]


def test_an_entry_is_appended_once(tmp_path: Path) -> None:
    index = Index(tmp_path / "index.jsonl")
    for run_hash in ("a", "b", "a"):
        index.add(entry(run_hash))
    assert hashes(tmp_path / "index.jsonl") == ["a", "b"]
    again = Index(tmp_path / "index.jsonl")
    again.add(entry("b"))
    assert hashes(tmp_path / "index.jsonl") == ["a", "b"]


def test_closing_forgets_what_no_longer_belongs(tmp_path: Path) -> None:
    first = Index(tmp_path / "index.jsonl")
    for run_hash in ("a", "b"):
        first.add(entry(run_hash))
    second = Index(tmp_path / "index.jsonl")
    second.add(entry("c"))
    second.add(entry("b"))
    assert hashes(tmp_path / "index.jsonl") == ["a", "b", "c"]
    second.close()
    assert hashes(tmp_path / "index.jsonl") == ["c", "b"]


def test_of_earlier_lines_those_stay_that_are_named(tmp_path: Path) -> None:
    path = tmp_path / "index.jsonl"
    for run_hash in ("a", "b", "c"):
        Index(path).add(entry(run_hash))
    Index(path, earlier=[entry("d"), entry("c"), entry("a").model_copy(update={"seed": 1})])
    assert hashes(path) == ["c"]


def test_torn_lines_are_repaired_at_once(tmp_path: Path) -> None:
    path = tmp_path / "index.jsonl"
    line = entry("a").model_dump_json()
    path.write_bytes(f"\0\0\n{line}\n".encode() + b'{"hash": "b", \xff')
    Index(path)
    assert path.read_text() == line + "\n"


def test_an_index_that_cannot_be_read_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = tmp_path / "index.jsonl"
    path.mkdir()
    with pytest.raises(StoreError, match=r"index\.jsonl"):
        Index(path)


def test_a_sound_index_is_not_written_anew(tmp_path: Path) -> None:
    path = tmp_path / "index.jsonl"
    Index(path).add(entry("a"))
    before = path.stat().st_ino  # a file that is replaced is another one
    Index(path)
    assert path.stat().st_ino == before
    Index(tmp_path / "other.jsonl")
    assert not (tmp_path / "other.jsonl").exists()
