"""The bytes of a cache's files."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from data.base import DataError
from data.prepared.cache.disk import array_header, read_if_there, row_bytes, write_at, write_atomic
from data.prepared.forms.base import Stored

if TYPE_CHECKING:
    from support.recorded_disk import RecordedDisk

pytest_plugins = ["support.recorded_disk"]


def test_header_and_rows_make_an_array_of_numpy(tmp_path: Path) -> None:
    stored, values = Stored("float32", (2, 3)), np.arange(24, dtype=np.float32).reshape(4, 2, 3)
    content = array_header(stored, 4) + values.tobytes()
    assert np.array_equal(np.load(io.BytesIO(content)), values)
    assert row_bytes(stored) == values[0].nbytes
    assert row_bytes(Stored("int32", ())) == 4


def test_a_short_write_goes_on_where_it_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda handle, content, offset: whole(handle, content[:3], offset))
    handle = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    write_at(handle, b"0123456789", 2)
    os.close(handle)
    assert (tmp_path / "file").read_bytes() == b"\0\x000123456789"


def test_a_file_is_replaced_as_a_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "meta.json"
    write_atomic(path, b"one")
    write_atomic(path, b"two")

    def refuse(handle: int) -> None:
        raise OSError("no room")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match="no room"):
        write_atomic(path, b"three")
    assert path.read_bytes() == b"two"
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_not_there_is_none_and_what_cannot_be_read_an_error(tmp_path: Path) -> None:
    assert read_if_there(tmp_path / "nothing") is None
    (tmp_path / "file").write_bytes(b"x")
    assert read_if_there(tmp_path / "file" / "below") is None
    assert read_if_there(tmp_path / "file") == b"x"
    with pytest.raises(DataError, match="cannot be read"):
        read_if_there(tmp_path)


def test_a_file_is_on_the_disk_before_its_rename_and_the_rename_before_anything_else(
    tmp_path: Path, disk: RecordedDisk
) -> None:
    write_atomic(tmp_path / "meta.json", b"one")
    assert [(what, size) for what, _, size in disk.events] == [("synced", 3), ("renamed", 3), ("synced", 0)]
    assert disk.synced()[-1] == tmp_path


def test_no_file_stays_open_whether_the_write_succeeds_or_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(handle: int) -> None:
        raise OSError("no room")

    before = len(os.listdir("/proc/self/fd"))
    write_atomic(tmp_path / "meta.json", b"one")
    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match="no room"):
        write_atomic(tmp_path / "meta.json", b"two")
    assert len(os.listdir("/proc/self/fd")) == before
