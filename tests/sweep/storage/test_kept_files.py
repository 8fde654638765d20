"""Kept files: read again as long as neither the question nor the file has changed."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from sweep.storage.kept_files import read_kept, write_kept


@given(content=st.binary(), byte=st.integers(0))
def test_what_is_kept_is_read_until_a_byte_has_changed(tmp_path_factory, content: bytes, byte: int) -> None:
    path = tmp_path_factory.getbasetemp() / "kept"
    write_kept(path, "q", content)
    assert read_kept(path, "q") == content
    assert read_kept(path, "other") is None
    written = bytearray(path.read_bytes())
    written[byte % len(written)] ^= 1
    path.write_bytes(written)
    assert read_kept(path, "q") is None


def test_without_a_file_or_a_folder_nothing_is_kept(tmp_path: Path) -> None:
    assert read_kept(tmp_path / "kept", "q") is None
    assert read_kept(tmp_path, "q") is None
    write_kept(tmp_path / "none" / "kept", "q", b"")
    assert list(tmp_path.iterdir()) == []
