"""The folder of a cache: maps, room, damage, other users."""

from __future__ import annotations

import errno
import os
import pwd
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.binary_files_dataset import LENGTH, shelf, write_shelf

from data.base import DataError
from data.prepared.cache.decoding import Watcher, prepare
from data.prepared.cache.folder import CacheError, CacheFolder, size


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_shelf(tmp_path / "shelf")


@pytest.fixture(autouse=True)
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SWEEP_CACHE", str(tmp_path / "caches"))
    return tmp_path / "caches"


class Counter(Watcher):
    expected = done = 0

    def expect(self, samples: int) -> None:
        self.expected += samples

    def advance(self, samples: int) -> None:
        self.done += samples


def test_arrays_are_maps_that_processes_share_and_none_can_write(root: Path) -> None:
    folder = shelf(root).folder
    prepare(shelf(root))
    arrays = folder.arrays("train")["bytes"]
    maps = [line.split() for line in Path("/proc/self/maps").read_text().splitlines() if str(folder.path) in line]
    assert [words[1] for words in maps] == ["r--s"] * len(arrays)


def test_a_disk_that_fills_up_is_found_at_the_write(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write, left = os.pwrite, [3000]

    def pwrite(handle: int, content: Any, offset: int) -> int:
        left[0] -= len(content)
        if left[0] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(handle, content, offset)

    monkeypatch.setattr(os, "pwrite", pwrite)
    with pytest.raises(CacheError, match=r"no room for the next .* \(No space left on device\), .* are free"):
        prepare(shelf(root))
    left[0] = 10**9
    told = Counter()
    prepare(shelf(root), watcher=told)
    assert told.done < 52


def test_room_is_looked_for_before_anything_is_decoded(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(100, 90, 10))  # type: ignore[attr-defined]
    told = Counter()
    with pytest.raises(CacheError, match=rf"no room for up to {52 * (LENGTH + 8) / 1024:.1f} KiB, 10 bytes are free"):
        prepare(shelf(root), watcher=told)
    assert told.done == 0


def test_the_caches_beside_it_tell_what_changed(root: Path) -> None:
    first = shelf(root)
    prepare(first)
    (root / "train/000_0.bin").write_bytes(b"new")
    second = shelf(root)
    (near,) = second.folder.siblings("shelf", "short")
    assert near.key == first.key
    assert near.content.changes(second.content) == ["media"]
    assert list(first.folder.siblings("shelf", "long")) == []


def test_the_folder_of_caches(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("SWEEP_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert CacheFolder("x").path == tmp_path / "balanced-sweep/x"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert CacheFolder("x").path == tmp_path / "home/.cache/balanced-sweep/x"
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(pwd, "getpwuid", {}.__getitem__)
    with pytest.raises(CacheError, match="no home folder to keep prepared data in; set SWEEP_CACHE to a folder"):
        CacheFolder("x").path  # noqa: B018


def test_damage_is_an_error_with_a_remedy(root: Path) -> None:
    folder = shelf(root).folder
    prepare(shelf(root))
    (folder.path / "train.labels.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(DataError, match=r"train.labels.npy: cannot be read .*remove the folder"):
        folder.samples("train")
    (folder.path / "meta.json").write_text("{")
    with pytest.raises(DataError, match=r"meta.json: damaged; remove the folder"):
        folder.meta()


@contextmanager
def another_user() -> Iterator[None]:
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
def test_another_user_reads_a_complete_cache_and_is_told_of_an_incomplete_one(monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as shared:  # TMPDIR may be a folder of this user alone
        os.chmod(shared, 0o755)
        monkeypatch.setenv("SWEEP_CACHE", f"{shared}/caches")
        root = write_shelf(Path(shared, "shelf"))
        # What is imported on the way may lie where the other user cannot read.
        prepare(shelf(write_shelf(Path(shared, "other"))))
        shutil.rmtree(f"{shared}/caches")
        with another_user(), pytest.raises(CacheError, match=r"cannot be written \(Permission denied\).*SWEEP_CACHE"):
            prepare(shelf(root))
        meta = prepare(shelf(root))
        with another_user():
            assert prepare(shelf(root)) == meta
            assert len(shelf(root).folder.arrays("test")["bytes"]["bytes"]) == 6
        os.chmod(shelf(root).folder.path, 0o700)
        with another_user(), pytest.raises(DataError, match=r"Permission denied|cannot be read"):
            prepare(shelf(root))


def test_sizes_in_words() -> None:
    assert [size(n) for n in (0, 1023, 1536, 3 * 2**30, 2**41)] == [
        "0 bytes",
        "1023 bytes",
        "1.5 KiB",
        "3.0 GiB",
        "2.0 TiB",
    ]
