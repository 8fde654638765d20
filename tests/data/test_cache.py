from __future__ import annotations

import errno
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from preparing import LENGTH, Bytes, contents, shelf, write_shelf

import data
from data.base import DataError
from data.prepared.cache import Watcher, prepare, standing
from data.prepared.folder import CacheError, CacheFolder, size
from data.prepared.pool import pooled

ROOT = Path(data.__file__).parents[1]
CHILD = """
import resource, sys
from preparing import shelf
from data.prepared.cache import Watcher, prepare
class Told(Watcher):
    def advance(self, samples):
        print(samples, flush=True)
root, pause, limit = sys.argv[1:]
if int(limit):
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
prepare(shelf(root, pause=float(pause)), watcher=Told())
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_shelf(tmp_path / "shelf")


@pytest.fixture(autouse=True)
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SWEEP_CACHE", str(tmp_path / "caches"))
    return tmp_path / "caches"


def child(root: Path, cache: Path, pause: float = 0.0, limit: int = 0) -> subprocess.Popen[str]:
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    environment = {**os.environ, "SWEEP_CACHE": str(cache), "PYTHONPATH": path}
    command = [sys.executable, "-c", CHILD, str(root), str(pause), str(limit)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


class Counter(Watcher):
    expected = done = 0

    def expect(self, samples: int) -> None:
        self.expected += samples

    def advance(self, samples: int) -> None:
        self.done += samples


def test_every_sample_is_stored_with_its_label_and_id(root: Path, caches: Path) -> None:
    work, told = shelf(root), Counter()
    meta = prepare(work, watcher=told)
    assert (told.expected, told.done) == (52, 52)
    assert meta.samples == {"train": 40, "validation": 6, "test": 6}
    assert work.folder.path == caches / f"shelf-short-{work.key}"
    samples, arrays = work.folder.samples("train"), work.folder.arrays("train")["bytes"]
    assert samples.ids[3] == "train/003_1"
    assert samples.labels.tolist() == [0, 1] * 20
    assert samples.rows.tolist() == list(range(40))
    content = (root / "train/003_1.bin").read_bytes()
    assert bytes(arrays["bytes"][3].numpy()) == content + bytes(LENGTH - len(content))  # a hole is zero
    assert arrays["count"].tolist() == [LENGTH - number % 7 for number in range(40)]
    assert {v.dtype for v in arrays.values()} == {torch.uint8, torch.int64}


def test_a_complete_cache_is_used_as_it_is(root: Path) -> None:
    work = shelf(root)
    prepare(work)
    before = contents(work.folder.path)
    told = Counter()
    assert prepare(shelf(root), watcher=told).samples == {"train": 40, "validation": 6, "test": 6}
    assert told.done == 0
    assert contents(work.folder.path) == before


def test_arrays_are_maps_that_processes_share_and_none_can_write(root: Path) -> None:
    folder = shelf(root).folder
    prepare(shelf(root))
    arrays = folder.arrays("train")["bytes"]
    maps = [line.split() for line in Path("/proc/self/maps").read_text().splitlines() if str(folder.path) in line]
    assert [words[1] for words in maps] == ["r--s"] * len(arrays)


def test_killed_in_the_middle_it_goes_on_and_ends_with_the_same_bytes(root: Path, caches: Path, tmp_path: Path) -> None:
    work = shelf(root, pause=0.02)
    process = child(root, tmp_path / "other", pause=0.02)
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.wait()
    shutil.move(tmp_path / "other", caches)
    assert work.folder.meta() is None
    markers, pending = standing(work.folder, work.shards)
    assert markers
    assert pending
    told = Counter()
    prepare(work, watcher=told)
    assert told.done == sum(len(shard.items) for shard in pending) < 52
    resumed = {name: content for name, content in contents(work.folder.path).items() if "/." not in f"/{name}"}
    shutil.rmtree(caches)
    prepare(work)
    assert contents(work.folder.path) == resumed


def test_two_processes_at_once_share_the_work(root: Path, caches: Path) -> None:
    processes = [child(root, caches, pause=0.005) for _ in range(2)]
    ends = [process.communicate() for process in processes]
    assert [(process.returncode, err) for process, (_, err) in zip(processes, ends, strict=True)] == [(0, "")] * 2
    both = contents(shelf(root, pause=0.005).folder.path)
    shutil.rmtree(caches)
    prepare(shelf(root, pause=0.005))
    assert contents(shelf(root, pause=0.005).folder.path) == both


def test_several_processes_write_the_same_bytes_as_one(root: Path, caches: Path) -> None:
    work, told = shelf(root), Counter()
    prepare(work, pooled(2), told)
    assert told.done == 52
    several = contents(work.folder.path)
    shutil.rmtree(caches)
    prepare(work)
    assert contents(work.folder.path) == several


def test_a_decoder_that_crashes_is_an_error_that_names_samples(root: Path) -> None:
    (root / "validation/002_0.bin").write_bytes(b"crash")
    with pytest.raises(DataError, match=r"a decoder crashed it, .*validation/000_0 to validation/005_1.*run again"):
        prepare(shelf(root), pooled(2))


# No room -----------------------------------------------------------------------------------------------------------


def test_a_full_disk_leaves_an_error_and_a_cache_that_goes_on(root: Path, caches: Path) -> None:
    process = child(root, caches, limit=2000)  # the training arrays are larger, the others are not
    _, err = process.communicate()
    assert process.returncode == 1
    folder = shelf(root).folder.path
    assert f"{folder}: no room for the next 1.1 KiB (File too large), " in err
    assert "are free: make room, or set SWEEP_CACHE" in err
    prepare(shelf(root))
    after = contents(folder)
    shutil.rmtree(caches)
    prepare(shelf(root))
    assert contents(folder) == after


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


# Files that cannot be used -----------------------------------------------------------------------------------------


def test_corrupt_files_are_listed_with_their_reason_and_refused_past_the_share(root: Path) -> None:
    for number in (3, 5):
        (root / f"train/00{number}_1.bin").write_bytes(b"")
    with pytest.raises(
        DataError,
        match=r"2 of 52 .* 3.8 % where allowed_missing is 0 %: train/003_1 \(.*the file is empty\); train/005_1",
    ):
        prepare(shelf(root))
    with pytest.raises(DataError, match=r"allowed_missing is 2 %"):
        prepare(shelf(root, allowed_missing=0.02))
    work = shelf(root, allowed_missing=0.04)
    meta = prepare(work)
    assert [(s.split, s.row, s.id) for s in meta.skipped] == [("train", 3, "train/003_1"), ("train", 5, "train/005_1")]
    assert meta.samples["train"] == 38
    samples = work.folder.samples("train")
    assert len(samples.ids) == 40
    assert samples.rows.tolist() == [n for n in range(40) if n not in (3, 5)]
    assert samples.labels.tolist() == [n % 2 for n in range(40) if n not in (3, 5)]
    with pytest.raises(DataError, match="2 of 52"):  # the cache is there, but may not be used so
        prepare(shelf(root))


def test_a_refused_file_is_tried_again_when_it_may_have_been_mended(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked = root / "test/000_0.bin"
    read = Path.read_bytes
    with monkeypatch.context() as patch:
        patch.setattr(
            Path, "read_bytes", lambda path: (_ for _ in ()).throw(PermissionError(13, "Permission denied", str(path)))
            if path == locked else read(path)
        )  # fmt: skip
        with pytest.raises(DataError, match=r"test/000_0 \(.*Permission denied.*000_0.bin"):
            prepare(shelf(root))
    told = Counter()
    assert prepare(shelf(root), watcher=told).skipped == ()
    assert told.done == 6


def test_a_split_without_any_usable_sample_is_refused(root: Path) -> None:
    for path in (root / "validation").iterdir():
        path.write_bytes(b"")
    with pytest.raises(DataError, match="the validation split has no sample"):
        prepare(shelf(root, allowed_missing=0.5))


def test_a_form_that_breaks_its_declaration_is_found(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = np.zeros(LENGTH, np.int16)
    monkeypatch.setattr(Bytes, "decode", lambda self, medium, split: {"bytes": wrong})
    with pytest.raises(TypeError, match=r"train.bytes.bytes was decoded to int16 \(64,\), its form declares .*uint8"):
        prepare(shelf(root))


def test_an_error_that_nobody_foresaw_names_its_sample(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def decode(form: Bytes, medium: Path, split: str) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Bytes, "decode", decode)
    with pytest.raises(ZeroDivisionError) as found:
        prepare(shelf(root))
    assert found.value.__notes__ == [f"while train/000_0 was decoded for {shelf(root).folder.path}"]


# Which cache -------------------------------------------------------------------------------------------------------


def test_a_changed_manifest_medium_profile_or_version_is_another_cache(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = shelf(root)
    moved = shutil.copytree(root, tmp_path / "moved")
    assert shelf(moved).key == first.key
    os.utime(moved / "train/000_0.bin", (0, 0))
    assert shelf(moved).key == first.key

    (moved / "train/000_0.bin").rename(moved / "train/000_1.bin")
    assert first.content.changes(shelf(moved).content) == ["manifest", "media"]
    (moved / "train/000_1.bin").rename(moved / "train/000_0.bin")
    (moved / "train/000_0.bin").write_bytes(b"longer or shorter")
    assert first.content.changes(shelf(moved).content) == ["media"]
    assert first.content.changes(shelf(root, profile="long").content) == ["forms"]
    monkeypatch.setattr(Bytes, "version", 2)
    assert first.content.changes(shelf(root).content) == ["forms"]
    assert len({shelf(root).key, shelf(moved).key, shelf(root, profile="long").key, first.key}) == 4


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


# Damage and rights -------------------------------------------------------------------------------------------------


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
