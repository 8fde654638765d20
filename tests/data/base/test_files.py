"""Files are read whole and digested by content."""

from __future__ import annotations

from pathlib import Path

import pytest

from data.base import DataError
from data.base.files import digest, read_bytes

STUB = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 4820\n"


def test_digest_knows_names_contents_and_their_borders() -> None:
    files = [("a", b"xy"), ("b", b"z")]
    assert digest(files) == digest(iter(files))
    assert len(digest(files)) == 16
    others = [
        [("a", b"x"), ("b", b"yz")],
        [("a", b"xy"), ("c", b"z")],
        [("a", b"xy")],
        [("b", b"z"), ("a", b"xy")],
        [("ax", b"y"), ("b", b"z")],
    ]
    assert len({digest(files), *map(digest, others)}) == 6


def test_a_file_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.wav: cannot be read \(No such file"):
        read_bytes(tmp_path / "gone.wav")
    (tmp_path / "empty.wav").touch()
    with pytest.raises(DataError, match=r"empty\.wav: the file is empty"):
        read_bytes(tmp_path / "empty.wav")
    (tmp_path / "stub.wav").write_bytes(STUB)
    with pytest.raises(DataError, match=r"stub\.wav: a Git LFS pointer.*git lfs pull"):
        read_bytes(tmp_path / "stub.wav")
