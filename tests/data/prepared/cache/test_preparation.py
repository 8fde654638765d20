"""What is to be decoded has a key, and forms keep their word."""

from __future__ import annotations

import errno
import os
import shutil
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.binary_files_dataset import LENGTH, Bytes, shelf

from data.base import DataError
from data.prepared.cache import preparation
from data.prepared.cache.decoding import prepare
from data.prepared.cache.folder import CacheError, CacheFolder
from data.prepared.cache.preparation import Preparation
from data.prepared.cache.records import Skipped
from data.prepared.lists.items import Item, Listing


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


def test_a_changed_manifest_medium_profile_or_version_is_another_cache(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = shelf(root)
    moved = shutil.copytree(root, tmp_path / "moved")
    assert shelf(moved).key == first.key
    os.utime(moved / "train/000_0.bin", (0, 0))
    assert shelf(moved).key == first.key

    (moved / "train/000_0.bin").rename(moved / "train/000_1.bin")
    assert first.content.changes(shelf(moved).content) == ["manifest"]
    (moved / "train/000_1.bin").rename(moved / "train/000_0.bin")
    (moved / "train/000_0.bin").write_bytes(b"longer or shorter")
    assert first.content.changes(shelf(moved).content) == ["media"]
    assert first.content.changes(shelf(root, profile="long").content) == ["forms"]
    monkeypatch.setattr(Bytes, "version", 2)
    assert first.content.changes(shelf(root).content) == ["forms"]
    assert len({shelf(root).key, shelf(moved).key, shelf(root, profile="long").key, first.key}) == 4


def test_media_count_by_what_they_hold_wherever_they_lie(tmp_path: Path) -> None:
    def key(medium: str, content: bytes) -> str:
        path = tmp_path / medium
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        splits = {split: (Item(split, 0, {"sound": path}),) for split in ("train", "validation", "test")}
        return Preparation("d", "p", tmp_path / "data", Listing(("a",), splits, ()), {"sound": Bytes()}).key  # type: ignore[arg-type]

    assert key("near/x.wav", b"x") == key("data/y.wav", b"x") != key("data/y.wav", b"z")


def test_a_cache_of_an_earlier_layout_is_another_one(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = shelf(root)
    key = now.key
    monkeypatch.setattr(preparation, "LAYOUT", "1")
    before = shelf(root)
    assert (before.key != key, before.content.changes(now.content)) == (True, ["layout"])


def listed(train: int, missing: tuple[tuple[str, str], ...] = (), allowed: float = 0.0) -> Preparation:
    """A dataset of so many samples to train on and one to validate and test with, without any medium."""
    splits = {
        split: tuple(Item(f"{split}-{n}", 0, {}) for n in range(count))
        for split, count in (("train", train), ("validation", 1), ("test", 1))
    }
    return Preparation("d", "p", Path("/data"), Listing(("a",), splits, missing), {}, allowed)  # type: ignore[arg-type]


@pytest.mark.parametrize(("train", "step"), [(4, 4), (5, 4), (4 * 8 - 2, 4), (4 * 8 - 1, 5), (100, 13)])
def test_shards_hold_every_sample_once_and_are_few_however_many_there_are(
    monkeypatch: pytest.MonkeyPatch, train: int, step: int
) -> None:
    monkeypatch.setattr(preparation, "SMALLEST_SHARD", 4)
    monkeypatch.setattr(preparation, "MOST_SHARDS", 8)
    work = listed(train)
    own = [shard for shard in work.shards if shard.split == "train"]
    assert [item for shard in own for item in shard.items] == list(work.listing.splits["train"])
    assert [shard.positions for shard in own] == [tuple(range(k, min(k + step, train))) for k in range(0, train, step)]
    assert {len(shard.items) for shard in own[:-1]} <= {step}
    assert [shard.number for shard in work.shards] == list(range(len(own) + 2))
    assert len(own) <= 8


def test_what_is_pending_are_the_shards_with_what_is_missing_alone(root: Path) -> None:
    work = shelf(root)
    assert work.pending() == list(work.shards)
    work.shards[1].run()
    work.shards[0].only([0, 2]).run()
    first, third, *_ = work.pending([Skipped(split="train", row=35, id="", reason="")])
    assert first.positions == (1, *range(3, 16))
    assert [item.id for item in first.items][:2] == ["train/001_1", "train/003_1"]
    assert first.keys["bytes"] == tuple(work.keys["train"]["bytes"][position] for position in first.positions)
    assert third.positions == (32, 33, 34, 36, 37, 38, 39)
    assert (first.number, third.number) == (0, 2)


def test_nothing_may_be_missing_unless_it_is_said() -> None:
    work = listed(30, (("m", "no file"),))
    with pytest.raises(DataError, match=r"1 of 33 samples cannot be used, 3.03 % where allowed_missing is 0 %"):
        Preparation(work.dataset, work.profile, work.root, work.listing, work.forms).check()


def test_a_shard_waits_for_another_process_unless_told_not_to(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waits, locked = list[bool](), CacheFolder.locked

    def asked(folder: CacheFolder, number: int, wait: bool) -> AbstractContextManager[bool]:
        if folder.name.startswith("shelf"):
            waits.append(wait)
        return locked(folder, number, wait)

    monkeypatch.setattr(CacheFolder, "locked", asked)
    shard = shelf(root).shards[0]
    shard.run()
    shard.run(wait=False)
    assert waits == [True, False]


def test_the_ending_of_a_cache_counts_and_lists_what_can_be_used() -> None:
    lost = [Skipped(split="train", row=row, id=f"train-{row}", reason="empty") for row in (2, 0)]
    work = listed(4, allowed=0.5)
    meta = work.ending(lost)
    assert (meta.dataset, meta.profile, meta.key, meta.content) == ("d", "p", work.key, work.content)
    assert meta.samples == {"train": 2, "validation": 1, "test": 1}
    assert [skip.row for skip in meta.skipped] == [0, 2]


def test_as_many_samples_as_allowed_may_be_missing_and_the_first_of_too_many_are_named() -> None:
    missing = tuple((f"m{n}", "no file") for n in range(8))
    listed(30, missing, allowed=0.2).check()  # 8 of 40
    with pytest.raises(DataError, match=r"d: 8 of 40 .* 20 % where allowed_missing is 19 %: m0 \(no file\); .*; m4 "
                       r"\(no file\); and 3 more; complete"):  # fmt: skip
        listed(30, missing, allowed=0.19).check()
    with pytest.raises(DataError, match=r"398 of 400 samples cannot be used, 99.5 % where"):
        listed(0, tuple((f"m{n}", "no file") for n in range(398))).check()
    with pytest.raises(DataError, match=r"m4 \(no file\); complete"):
        listed(30, missing[:5]).check()
    lost = [Skipped(split="train", row=n, id=f"train-{n}", reason="empty") for n in range(2)]
    with pytest.raises(DataError, match=r"3 of 33 .*: m0 \(no file\); train-0 \(empty\); train-1 \(empty\); complete"):
        listed(30, missing[:1]).check(lost)
    with pytest.raises(DataError, match="the test split has no sample that can be used"):
        listed(30, allowed=0.5).check([Skipped(split="test", row=0, id="test-0", reason="empty")])


def test_a_list_that_contradicts_itself_is_refused() -> None:
    work = listed(3)
    work.check_listing()
    twice = replace(work.listing, splits={**work.listing.splits, "test": work.listing.splits["train"][:1]})
    with pytest.raises(DataError, match="d: the sample train-0 stands twice in the lists"):
        replace(work, listing=twice).check_listing()
    for label in (-1, 1):
        wrong = replace(work.listing, splits={**work.listing.splits, "test": (Item("x", label, {}),)})
        with pytest.raises(DataError, match=f"sample x has the label {label}; there are classes 0 to 0"):
            replace(work, listing=wrong).check_listing()
    with pytest.raises(DataError, match="1 of 6 samples cannot be used"):
        listed(3, (("m", "no file"),)).check_listing()


def test_a_sample_may_be_shorter_than_its_array_but_not_empty_longer_or_of_another_type(
    root: Path, caches: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for length, fits in ((LENGTH, True), (1, True), (0, False), (LENGTH + 1, False)):
        values = {"bytes": np.zeros(length, np.uint8), "count": np.array(length, np.int64)}
        monkeypatch.setattr(Bytes, "decode", lambda self, medium, split, values=values: values)
        shutil.rmtree(caches, ignore_errors=True)
        if fits:
            assert shelf(root).shards[0].run() is not None
        else:
            with pytest.raises(TypeError, match=rf"train.bytes.bytes was decoded to uint8 \({length},\)"):
                shelf(root).shards[0].run()


def test_a_shard_of_the_largest_datasets_has_more_than_the_least_samples() -> None:
    for train, step in ((16 * 2048 - 2, 16), (16 * 2048 - 1, 17)):
        work = listed(train)
        assert {len(shard.items) for shard in work.shards[: train // step]} == {step}
        assert sum(shard.split == "train" for shard in work.shards) == -(-train // step) <= 2048


def test_a_shard_that_finds_no_room_says_how_much_it_takes(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shard = shelf(root).shards[1]

    def refuse(handle: int, content: object, offset: int) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", refuse)
    assert shard.bytes == 16 * (LENGTH + 8)
    with pytest.raises(CacheError, match=r"no room for the next 1.1 KiB \(No space left on device\), .* are free"):
        shard.run()
