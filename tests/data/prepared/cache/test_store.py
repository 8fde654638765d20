"""Decoded samples are found by what they were decoded from, and never move."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.binary_files_dataset import Bytes

from data.base import DataError
from data.prepared.cache.folder import CacheError
from data.prepared.cache.store import SampleStore
from data.prepared.forms import FilterBank, Image, Spectrogram

STORED = {"bytes": np.array([1, 2, 3], np.uint8), "count": np.array(3, np.int64)}


def key(number: int) -> bytes:
    return number.to_bytes(16)


@pytest.fixture
def store() -> SampleStore:
    return SampleStore.of(Bytes(length=4), "train")


def test_samples_get_rows_in_their_order_and_keep_them(store: SampleStore) -> None:
    assert [part.tolist() for part in store.find([key(1)])] == [[-1], [False]]
    store.allocate([key(5), key(1), key(5)])
    store.allocate([key(1), key(9)])
    rows, written = store.find([key(9), key(5), key(7), key(1)])
    assert (rows.tolist(), written.tolist()) == ([2, 0, -1, 1], [False] * 4)
    assert sorted(path.name for path in store.folder.path.glob("keys-*")) == ["keys-000000.bin", "keys-000001.bin"]


def test_what_is_put_is_marked_and_the_rest_is_not(store: SampleStore) -> None:
    store.allocate([key(0), key(1), key(2)])
    with store.writer() as writer:
        writer.put(1, STORED)
    assert store.find([key(0), key(1), key(2)])[1].tolist() == [False, True, False]
    arrays = store.arrays(2)
    assert arrays["bytes"][1].tolist() == [1, 2, 3, 0]  # a hole, up to the end of the row
    assert arrays["count"][1].item() == 3
    assert (store.folder.path / "bytes.bin").stat().st_size == 2 * 4


def test_a_row_is_written_whole_and_no_byte_beside_it(store: SampleStore) -> None:
    store.allocate([key(0), key(1), key(2)])
    full = {"bytes": np.array([251, 252, 253, 254], np.uint8), "count": np.array(-1, np.int64)}
    with store.writer() as writer:
        for row in (2, 0, 1):  # in any order
            writer.put(row, full if row != 1 else STORED)
        assert writer.rows == [2, 0, 1]
    arrays = store.arrays(3)
    assert arrays["bytes"].tolist() == [[251, 252, 253, 254], [1, 2, 3, 0], [251, 252, 253, 254]]
    assert arrays["count"].tolist() == [-1, 3, -1]
    assert (store.folder.path / "written.bin").read_bytes() == b"\1\1\1"
    assert (store.folder.path / "keys-000000.bin").read_bytes() == key(0) + key(1) + key(2)


def test_a_writer_that_has_put_nothing_marks_nothing(store: SampleStore) -> None:
    store.allocate([key(0)])
    with store.writer():
        pass
    assert not (store.folder.path / "written.bin").exists()


def test_a_write_that_fails_marks_nothing(store: SampleStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store.allocate([key(0)])

    def refuse(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def write() -> None:
        with store.writer() as writer:
            writer.put(0, STORED)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", refuse)
        with pytest.raises(OSError, match="No space"):
            write()
    assert not store.find([key(0)])[1].any()


def test_a_process_that_came_first_is_not_written_over(store: SampleStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the file system has no locks."""
    link, rivals = os.link, [key(3)]

    def late(source: Any, target: Any) -> None:
        if rivals:
            Path(target).write_bytes(rivals.pop())
        link(source, target)

    monkeypatch.setattr(os, "link", late)
    store.allocate([key(1), key(3)])
    assert store.find([key(3), key(1)])[0].tolist() == [0, 1]


def test_where_there_are_no_links_a_file_is_renamed(store: SampleStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(source: Any, target: Any) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refuse)
    store.allocate([key(1)])
    store.allocate([key(1), key(2)])
    assert store.find([key(1), key(2)])[0].tolist() == [0, 1]


def test_keys_that_begin_alike_are_told_apart(store: SampleStore) -> None:
    first, second = bytes(8) + b"12345678", bytes(8) + b"87654321"
    store.allocate([first])
    assert store.find([second, first])[0].tolist() == [-1, 0]


@given(batches=st.lists(st.lists(st.integers(0, 12), max_size=6), max_size=5))
def test_every_sample_has_one_row_whatever_lists_it_stood_in(
    tmp_path_factory: pytest.TempPathFactory, batches: list[list[int]]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SWEEP_CACHE", str(tmp_path_factory.mktemp("caches")))
        store, before = SampleStore.of(Bytes(length=4), "train"), dict[int, int]()
        for count, batch in enumerate(batches, start=1):
            store.allocate([key(number) for number in batch])
            known = sorted({number for found in batches[:count] for number in found})
            rows = dict(zip(known, store.find([key(number) for number in known])[0].tolist(), strict=True))
            assert sorted(rows.values()) == list(range(len(rows)))
            assert before.items() <= rows.items()
            before = rows


def test_splits_of_the_same_arrays_share_a_store_and_other_forms_do_not() -> None:
    sound, photo = Spectrogram(rate=8000, seconds=1, n_fft=64, hop=80), Image(size=8, stored_size=8)
    assert SampleStore.of(sound, "train").name == SampleStore.of(sound, "test").name
    assert SampleStore.of(photo, "validation").name == SampleStore.of(photo, "test").name
    names = {SampleStore.of(photo, "train").name, SampleStore.of(photo, "test").name}
    assert len(names | {SampleStore.of(Image(size=9), "test").name, SampleStore.of(sound, "test").name}) == 4
    assert SampleStore.of(Bytes(length=4), "train").row_bytes == 4 + 8


def test_what_changes_only_how_samples_are_served_shares_a_store() -> None:
    photo = Image(size=8, stored_size=9)
    for other in (replace(photo, flip=False, normalise=None), replace(photo, crop_scale=None, randaugment=True)):
        assert SampleStore.of(other, "train").name == SampleStore.of(photo, "train").name
    assert SampleStore.of(replace(photo, size=7), "train").name == SampleStore.of(photo, "train").name
    assert SampleStore.of(replace(photo, size=7), "test").name != SampleStore.of(photo, "test").name
    assert SampleStore.of(replace(photo, grey_if_unreadable=True), "train").name != SampleStore.of(photo, "train").name
    bank = FilterBank(frames=20)
    assert SampleStore.of(replace(bank, mean=1.0, mask_bands=3), "train").name == SampleStore.of(bank, "train").name
    assert SampleStore.of(replace(bank, rate=8000), "train").name != SampleStore.of(bank, "train").name


def test_a_store_that_others_may_write_is_not_read(store: SampleStore) -> None:
    store.allocate([key(1)])
    store.folder.path.chmod(0o777)
    with pytest.raises(CacheError, match=r"every user may write in .* not to be trusted"):
        store.find([key(1)])


def test_arrays_that_are_gone_are_an_error_with_a_remedy(store: SampleStore) -> None:
    store.allocate([key(1)])
    with pytest.raises(DataError, match=r"bytes.bin: cannot be read .*; remove the folder .*, it is made again"):
        store.arrays(1)
