"""The folder of a cache: maps, room, damage, other users."""

from __future__ import annotations

import errno
import fcntl
import os
import pwd
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from support.binary_files_dataset import LENGTH, CountingWatcher, decoded, shelf, write_shelf

from data.base import DataError
from data.prepared.cache.decoding import prepare
from data.prepared.cache.folder import CacheError, CacheFolder, size
from data.prepared.cache.records import Content, Marker, Meta
from data.prepared.cache.store import SampleStore
from data.prepared.forms.base import Stored

if TYPE_CHECKING:
    from support.recorded_disk import RecordedDisk

pytest_plugins = ["support.recorded_disk"]


def test_arrays_are_maps_that_processes_share_and_none_can_write(root: Path) -> None:
    prepare(shelf(root))
    store = SampleStore.of(shelf(root).forms["bytes"], "train")
    arrays = store.arrays(52)
    maps = [line.split() for line in Path("/proc/self/maps").read_text().splitlines() if str(store.folder.path) in line]
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
    told = CountingWatcher()
    prepare(shelf(root), watcher=told)
    assert told.done < 52


def test_room_is_looked_for_before_anything_is_decoded(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(100, 90, 10))  # type: ignore[attr-defined]
    told = CountingWatcher()
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
        folder.labels("train")
    store = SampleStore.of(shelf(root).forms["bytes"], "train")
    (store.folder.path / "count.bin").write_bytes(b"cut")
    with pytest.raises(
        DataError, match=rf"count.bin: cannot be read .*remove the folder {store.folder.path}, it is made"
    ):
        store.arrays(52)
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
            assert len(decoded(shelf(root), "test")["bytes"]) == 6
        os.chmod(shelf(root).folder.path, 0o700)
        with another_user(), pytest.raises(DataError, match=r"Permission denied|cannot be read"):
            prepare(shelf(root))


def test_sizes_in_words() -> None:
    assert [size(n) for n in (0, 1023, 1024, 1536, 3 * 2**30, 2**41)] == [
        "0 bytes",
        "1023 bytes",
        "1.0 KiB",
        "1.5 KiB",
        "3.0 GiB",
        "2.0 TiB",
    ]


# Crash safety -----------------------------------------------------------------------------------------------------


def test_a_row_is_marked_only_when_its_arrays_are_on_the_disk(root: Path, disk: RecordedDisk) -> None:
    assert shelf(root).shards[0].run() == Marker()
    assert disk.renamed() == []
    order = [path.name for path in disk.synced()]
    assert order[-3:] == ["bytes.bin", "count.bin", "written.bin"]
    assert order[0].startswith(".keys-000000.bin")


def test_a_cache_says_that_it_is_complete_last_of_all(root: Path, disk: RecordedDisk) -> None:
    prepare(shelf(root))
    assert disk.renamed()[-1] == "meta.json"
    assert "written.bin" in {path.name for path in disk.synced(before="meta.json")}


def test_no_file_stays_open_after_a_preparation(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = len(os.listdir("/proc/self/fd"))
    prepare(shelf(root))
    assert len(os.listdir("/proc/self/fd")) == before

    def refuse(handle: int, content: Any, offset: int) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", refuse)
    with pytest.raises(CacheError, match="no room"):
        prepare(shelf(root, profile="long"))
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_shard_can_be_decoded_where_nothing_has_been_made_before(root: Path, caches: Path) -> None:
    assert not caches.exists()
    shard = shelf(root).shards[1]
    assert shard.run(wait=False) == Marker()
    assert shard not in shelf(root).pending()


def test_a_disk_that_is_full_at_the_very_end_is_an_error_with_a_remedy(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = Path.replace

    def replace(self: Path, target: Path) -> Path:
        if Path(target).name == "meta.json":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", replace)
        with pytest.raises(CacheError, match=r"no room for the next .*make room, or set SWEEP_CACHE"):
            prepare(shelf(root))
    told = CountingWatcher()
    assert prepare(shelf(root), watcher=told).samples["train"] == 40
    assert told.expected == 0


# Locks ------------------------------------------------------------------------------------------------------------


class Holder:
    """Another process that holds a shard of a cache until it is told to let go."""

    def __init__(self, folder: CacheFolder, number: int) -> None:
        held, here = os.pipe()
        self._told, self._tell = os.pipe()
        self._child = os.fork()
        if self._child == 0:
            os.close(self._tell)
            with folder.locked(number, wait=True):
                os.write(here, b"x")
                os.read(self._told, 1)
            os._exit(0)
        os.close(here)
        assert os.read(held, 1) == b"x"
        os.close(held)

    def let_go(self) -> None:
        os.close(self._tell)

    def wait(self) -> None:
        os.close(self._told)
        os.waitpid(self._child, 0)


def test_a_shard_belongs_to_one_process_at_a_time(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = shelf(root).shards[:2]
    folder = shelf(root).folder
    folder.path.mkdir(parents=True)
    other = Holder(folder, first.number)
    assert first.run(wait=False) is None
    assert first in shelf(root).pending()
    assert second.run(wait=False) == Marker()
    lock, waits = fcntl.lockf, list[bool]()

    def lockf(file: Any, flags: int, length: int, start: int) -> None:
        if Path(file.name).parent == folder.path:  # not a lock of a store
            waits.append(not flags & fcntl.LOCK_NB)
            if waits[-1]:
                other.let_go()
        lock(file, flags, length, start)

    monkeypatch.setattr(fcntl, "lockf", lockf)
    marker = first.run(wait=True)
    if not any(waits):
        other.let_go()
    other.wait()
    assert (marker, waits) == (Marker(), [True])


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL])
def test_where_the_file_system_has_no_locks_everything_is_everybodys(
    root: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refuse(file: Any, flags: int, length: int, start: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "lockf", refuse)
    assert shelf(root).shards[0].run(wait=False) == Marker()


def test_a_lock_that_fails_otherwise_is_an_error(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(file: Any, flags: int, length: int, start: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(fcntl, "lockf", refuse)
    with pytest.raises(CacheError, match=r"cannot be written \(Input/output error\)"):
        shelf(root).shards[0].run(wait=False)


# Arrays of rows ---------------------------------------------------------------------------------------------------

ROWS = {"train.left.values": Stored("int32", (2,)), "train.right.values": Stored("float32", ())}


def test_blocks_of_rows_go_where_they_belong_and_stay_when_the_files_are_opened_again(caches: Path) -> None:
    folder = CacheFolder("sums")
    folder.path.mkdir(parents=True)
    with folder.writer(ROWS, 4) as writer:
        writer.put("train.left.values", 2, np.array([[5, 6], [7, 8]], np.int32))
        writer.put("train.right.values", 0, np.arange(4, dtype=np.float32))
    with folder.writer(ROWS, 4) as writer:
        writer.put("train.left.values", 0, np.array([[1, 2], [3, 4]], np.int32)[:, ::-1])
        writer.put("train.left.values", 2, np.array([9], np.int32))  # ends before its row is full
    found = folder.arrays("train")
    assert list(found) == ["left", "right"]
    assert found["left"]["values"].tolist() == [[2, 1], [4, 3], [9, 6], [7, 8]]
    assert found["right"]["values"].tolist() == [0, 1, 2, 3]
    assert folder.arrays("test") == {}


def test_an_array_of_another_size_is_made_anew(caches: Path) -> None:
    folder = CacheFolder("sums")
    folder.path.mkdir(parents=True)
    for rows in (4, 2, 3):
        with folder.writer(ROWS, rows) as writer:
            writer.put("train.left.values", rows - 1, np.array([[rows, rows]], np.int32))
        left = folder.arrays("train")["left"]["values"]
        assert left.shape == (rows, 2)
        assert left[-1].tolist() == [rows, rows]


def test_a_link_in_the_place_of_a_file_is_not_written_through(caches: Path) -> None:
    folder, elsewhere = CacheFolder("sums"), caches / "elsewhere"
    folder.path.mkdir(parents=True)
    elsewhere.write_bytes(b"of somebody else")
    (folder.path / "train.left.values.npy").symlink_to(elsewhere)
    with pytest.raises(OSError, match="symbolic links"), folder.writer(ROWS, 1):
        pass
    assert elsewhere.read_bytes() == b"of somebody else"


def test_who_may_read_and_write_a_file_is_left_to_the_user(caches: Path) -> None:
    folder = CacheFolder("sums")
    folder.path.mkdir(parents=True)
    before = os.umask(0o027)
    try:
        with folder.writer(ROWS, 1):
            pass
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in folder.path.glob("*.npy")} == {0o640}


def test_what_a_writer_has_put_is_on_the_disk_when_it_has_ended(caches: Path, disk: RecordedDisk) -> None:
    folder = CacheFolder("sums")
    folder.path.mkdir(parents=True)
    with folder.writer(ROWS, 1) as writer:
        writer.put("train.left.values", 0, np.zeros((1, 2), np.int32))
        assert disk.synced() == []
    assert {path.name for path in disk.synced()} == {f"{name}.npy" for name in ROWS}


def test_a_finished_folder_has_its_labels_before_it_says_so(caches: Path, disk: RecordedDisk) -> None:
    folder = CacheFolder("sums")
    content = Content(manifest="a", media="b", forms="c")
    meta = Meta(dataset="sums", profile="p", key="k", content=content, samples={"train": 2}, bytes=7)
    assert folder.finish(meta, {"train": np.array([1, 0]), "test": np.array([1])}) == meta == folder.meta()
    assert disk.renamed() == ["train.labels.npy", "test.labels.npy", "meta.json"]
    assert folder.labels("train").tolist() == [1, 0]
    assert (folder.path / "meta.json").read_text() == meta.model_dump_json(indent=2) + "\n"


# What is there ----------------------------------------------------------------------------------------------------


def test_of_several_caches_beside_it_the_latest_comes_first(root: Path) -> None:
    keys = list[str]()
    for number in range(3):
        (root / "train/000_0.bin").write_bytes(b"new" * (number + 1))
        work = shelf(root)
        prepare(work)
        os.utime(work.folder.path / "meta.json", (number, number))
        keys.append(work.key)
    (root / "train/000_0.bin").write_bytes(b"newest of all")
    assert [near.key for near in shelf(root).folder.siblings("shelf", "short")] == keys[::-1]
