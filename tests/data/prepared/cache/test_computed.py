"""Arrays that are computed as a whole are computed once."""

from __future__ import annotations

import errno
import os
import shutil
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from data.base import Split
from data.prepared.cache.computed import Computed, ComputedSplit, cached_splits
from data.prepared.cache.folder import CacheError, CacheFolder


@pytest.fixture(autouse=True)
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWEEP_CACHE", str(tmp_path / "caches"))


class Computation:
    """Counts how often it is made."""

    calls = 0
    threads = 0

    def __call__(self) -> Computed:
        self.calls += 1
        self.threads = torch.get_num_threads()
        values = np.arange(6, dtype=np.float32).reshape(3, 2)
        labels = np.array([1, 0, 1])
        return Computed(
            {"train": ComputedSplit({"left": values}, labels), "test": ComputedSplit({"left": values[:1]}, labels[:1])},
            ("x",),
        )


def shown(split: Split) -> tuple[object, object]:
    values = split.inputs["left"]
    assert isinstance(values, torch.Tensor)
    return values.tolist(), split.labels.tolist()


def test_the_second_time_comes_from_the_cache() -> None:
    compute = Computation()
    first, notes = cached_splits("sums", "a", compute)
    again, noted = cached_splits("sums", "a", compute)
    assert compute.calls == 1
    assert notes == noted == ("x",)
    assert {name: shown(split) for name, split in first.items()} == {
        name: shown(split) for name, split in again.items()
    }
    assert shown(again["train"]) == ([[0, 1], [2, 3], [4, 5]], [1, 0, 1])


def test_numbers_are_computed_in_one_thread_whoever_computes_them() -> None:
    compute, before = Computation(), torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        cached_splits("sums", "a", compute)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    assert compute.threads == 1


def test_another_content_or_dataset_is_computed_anew() -> None:
    compute = Computation()
    for dataset, content in (("sums", "a"), ("sums", "b"), ("others", "a")):
        cached_splits(dataset, content, compute)
    assert compute.calls == 3


@pytest.mark.parametrize("name", ["meta.json", "test.left.values.npy"])
def test_a_disk_that_fills_up_is_an_error_with_a_remedy_whenever_it_does(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    sync = os.fsync

    def fsync(handle: int) -> None:
        if name in os.readlink(f"/proc/self/fd/{handle}"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(handle)

    compute = Computation()
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        with pytest.raises(CacheError, match="no room for the next"):
            cached_splits("sums", "a", compute)
    assert shown(cached_splits("sums", "a", compute)[0]["test"]) == ([[0, 1]], [1])
    assert compute.calls == 2


def test_caches_that_cannot_be_made_are_an_error_with_a_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make = Path.mkdir

    def mkdir(self: Path, *given: Any, **named: Any) -> None:
        if self.is_relative_to(tmp_path / "caches"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        make(self, *given, **named)

    compute = Computation()
    monkeypatch.setattr(Path, "mkdir", mkdir)
    with pytest.raises(CacheError, match=r"cannot be written \(Permission denied\); change its permissions, or set"):
        cached_splits("sums", "a", compute)
    assert compute.calls == 0


def test_what_has_no_room_is_refused_before_anything_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    needed = 3 * 2 * 4  # three samples of two float32 numbers to train on
    compute, folders = Computation(), list[Path]()
    check_room = CacheFolder.check_room

    def look(folder: CacheFolder, needed: int) -> None:
        folders.append(folder.path)
        check_room(folder, needed)

    monkeypatch.setattr(CacheFolder, "check_room", look)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(100, 99, needed - 1))  # type: ignore[attr-defined]
        with pytest.raises(CacheError, match=rf"no room for up to {needed} bytes, {needed - 1} bytes are free"):
            cached_splits("sums", "a", compute)
    assert not list(folders[0].glob("*.npy"))
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(100, 99, needed))  # type: ignore[attr-defined]
        assert shown(cached_splits("sums", "a", compute)[0]["test"]) == ([[0, 1]], [1])


def test_what_another_process_computed_meanwhile_is_not_computed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    compute, other, locked = Computation(), Computation(), CacheFolder.locked
    comes = [True]

    def late(self: CacheFolder, number: int, wait: bool) -> AbstractContextManager[bool]:
        if comes and comes.pop():  # the other one has the lock first
            cached_splits("sums", "a", other)
        return locked(self, number, wait)

    monkeypatch.setattr(CacheFolder, "locked", late)
    splits, notes = cached_splits("sums", "a", compute)
    assert (other.calls, compute.calls, notes) == (1, 0, ("x",))
    assert shown(splits["test"]) == ([[0, 1]], [1])
