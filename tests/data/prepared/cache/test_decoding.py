"""Every medium is decoded once, whatever kills the work."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from support.binary_files_dataset import LENGTH, Bytes, CountingWatcher, contents, decoded, shelf
from support.forked_programs import Program

from data.base import DataError
from data.prepared.cache.decoding import prepare, run_here
from data.prepared.cache.folder import CacheError
from data.prepared.cache.records import Marker, Skipped
from data.prepared.cache.store import SampleStore
from data.prepared.forms import Arrays
from data.prepared.lists.items import SplitName
from data.prepared.source import open_dataset

CHILD = """
import resource, sys
from support.binary_files_dataset import Bytes, shelf
from data.prepared.cache.decoding import Watcher, prepare
decode = Bytes.decode
def told(self, medium, split):
    print("decoded", medium, flush=True)
    return decode(self, medium, split)
Bytes.decode = told
class Told(Watcher):
    def advance(self, samples):
        print(samples, flush=True)
root, pause, limit = sys.argv[1:]
if int(limit):
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
prepare(shelf(root, pause=float(pause)), watcher=Told())
"""


def child(root: Path, cache: Path, pause: float = 0.0, limit: int = 0) -> Program:
    return Program(CHILD, str(root), str(pause), str(limit), environment={"SWEEP_CACHE": str(cache)})


def test_every_sample_is_stored(root: Path, caches: Path) -> None:
    work, told = shelf(root), CountingWatcher()
    meta = prepare(work, watcher=told)
    assert (told.expected, told.done) == (52, 52)
    assert meta.samples == {"train": 40, "validation": 6, "test": 6}
    assert work.folder.path == caches / f"shelf-short-{work.key}"
    arrays = decoded(work, "train")
    assert meta.bytes == 52 * (LENGTH + 8)
    content = (root / "train/003_1.bin").read_bytes()
    assert bytes(arrays["bytes"][3].numpy()) == content + bytes(LENGTH - len(content))  # a hole is zero
    assert arrays["count"].tolist() == [LENGTH - number % 7 for number in range(40)]
    assert {v.dtype for v in arrays.values()} == {torch.uint8, torch.int64}


def test_a_complete_cache_is_used_as_it_is(root: Path, caches: Path) -> None:
    work = shelf(root)
    prepare(work)
    before = contents(caches)
    told = CountingWatcher()
    assert prepare(shelf(root), watcher=told).samples == {"train": 40, "validation": 6, "test": 6}
    assert told.done == 0
    assert contents(caches) == before


def decoded_files(root: Path, monkeypatch: pytest.MonkeyPatch, **options: Any) -> list[str]:
    """Prepare, and name the files that were decoded for it."""
    files, decode = list[str](), Bytes.decode

    def told(form: Bytes, medium: Path, split: SplitName) -> Arrays:
        files.append(medium.relative_to(root).as_posix())
        return decode(form, medium, split)

    with monkeypatch.context() as patch:
        patch.setattr(Bytes, "decode", told)
        prepare(shelf(root, **options))
    return files


def test_an_edit_decodes_what_is_new_and_nothing_else(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(decoded_files(root, monkeypatch)) == 52
    (root / "train/040_0.bin").write_bytes(b"a new one")
    assert decoded_files(root, monkeypatch) == ["train/040_0.bin"]
    (root / "train/003_1.bin").rename(root / "train/003_0.bin")  # another label
    (root / "train/004_0.bin").rename(root / "test/004_1.bin")  # another split, of a form that decodes all alike
    (root / "train/005_1.bin").unlink()
    assert decoded_files(root, monkeypatch) == []
    (root / "train/006_0.bin").write_bytes((root / "train/006_0.bin").read_bytes()[::-1])  # of the same size
    assert decoded_files(root, monkeypatch) == ["train/006_0.bin"]
    work = shelf(root)
    for split in ("train", "validation", "test"):
        for item, row in zip(work.listing.splits[split], decoded(work, split)["bytes"], strict=True):  # type: ignore[index, arg-type]
            content = Path(str(item.media["bytes"])).read_bytes()
            assert bytes(row.numpy()) == content + bytes(LENGTH - len(content))


def test_equal_files_are_decoded_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("train/041_1.bin", "train/042_0.bin", "test/041_1.bin"):
        shutil.copy(root / "train/000_0.bin", root / name)
    assert len(decoded_files(root, monkeypatch)) == 52


def test_samples_that_are_gone_from_their_store_are_decoded_again(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded_files(root, monkeypatch)
    store = SampleStore.of(shelf(root).forms["bytes"], "train").folder.path
    shutil.rmtree(store)
    work = shelf(root)
    meta = work.ending([])
    with pytest.raises(DataError, match="samples of the train split are gone; run again"):
        open_dataset(work, meta)
    assert len(decoded_files(root, monkeypatch)) == 52


def test_a_file_that_changes_while_it_is_decoded_is_not_taken_for_what_it_was(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work, file = shelf(root), root / "train/003_1.bin"
    assert len(work.keys["train"]["bytes"]) == 40
    file.write_bytes(b"another one")
    with pytest.raises(DataError, match=r"train/003_1 \(.*003_1.bin: changed while it was prepared; run again\)"):
        prepare(work)
    assert decoded_files(root, monkeypatch) == ["train/003_1.bin", *decoded_rest(root)]


def decoded_rest(root: Path) -> list[str]:
    """The files behind the first shard, at which the preparation above stopped."""
    train = sorted(path.relative_to(root).as_posix() for path in (root / "train").iterdir())[16:]
    return train + [f"{s}/{p.name}" for s in ("validation", "test") for p in sorted((root / s).iterdir())]


def test_rows_lie_in_the_order_of_the_lists_whichever_shard_is_decoded_first(root: Path, caches: Path) -> None:
    prepare(shelf(root))
    expected = contents(caches)
    shutil.rmtree(caches)
    prepare(shelf(root), lambda shards, advance: run_here(list(reversed(shards)), advance))
    assert contents(caches) == expected


def test_a_shard_that_another_process_has_is_waited_for_after_all_others() -> None:
    asked, advanced = list[tuple[int, bool]](), list[int]()

    class Busy:
        def __init__(self, number: int) -> None:
            self.number, self.items = number, range(number)

        def run(self, wait: bool) -> Marker | None:
            asked.append((self.number, wait))
            return None if self.number == 2 and not wait else Marker()

    shards: Any = [Busy(number) for number in (1, 2, 3)]
    assert list(run_here(shards, advanced.append)) == [Marker()] * 3
    assert asked == [(1, False), (2, False), (3, False), (2, True)]
    assert advanced == [1, 3, 2]


def test_killed_in_the_middle_it_goes_on_and_ends_with_the_same_bytes(root: Path, caches: Path, tmp_path: Path) -> None:
    work = shelf(root, pause=0.02)
    process = child(root, tmp_path / "other", pause=0.02)
    while process.stdout.readline().startswith("decoded"):
        """The first shard is not there yet."""
    process.kill()
    shutil.move(tmp_path / "other", caches)
    assert work.folder.meta() is None
    told = CountingWatcher()
    prepare(work, watcher=told)
    assert 0 < told.done < 52
    resumed = {name: content for name, content in contents(caches).items() if "/." not in f"/{name}"}
    shutil.rmtree(caches)
    prepare(work)
    assert contents(caches) == resumed


def test_two_processes_at_once_share_the_work(root: Path, caches: Path) -> None:
    processes = [child(root, caches, pause=0.005) for _ in range(2)]
    ends = [process.communicate() for process in processes]
    assert [(process.returncode, err) for process, (_, err) in zip(processes, ends, strict=True)] == [(0, "")] * 2
    decoded = [line for out, _ in ends for line in out.splitlines() if line.startswith("decoded")]
    assert sorted(decoded) == sorted(f"decoded {path}" for path in root.rglob("*.bin"))
    both = contents(caches)
    shutil.rmtree(caches)
    prepare(shelf(root, pause=0.005))
    assert contents(caches) == both


def test_a_full_disk_leaves_an_error_and_a_cache_that_goes_on(root: Path, caches: Path) -> None:
    process = child(root, caches, limit=2000)  # the array is larger
    _, err = process.communicate()
    assert process.returncode == 1
    folder = shelf(root).folder.path
    assert f"{folder}: no room for the next 1.1 KiB (File too large), " in err
    assert "are free: make room, or set SWEEP_CACHE" in err
    prepare(shelf(root))
    after = contents(caches)
    shutil.rmtree(caches)
    prepare(shelf(root))
    assert contents(caches) == after


def test_corrupt_files_are_listed_with_their_reason_and_refused_past_the_share(root: Path) -> None:
    for number in (3, 5):
        (root / f"train/00{number}_1.bin").write_bytes(b"")
    with pytest.raises(
        DataError,
        match=r"2 of 52 .* 3.85 % where allowed_missing is 0 %: train/003_1 \(.*the file is empty\); train/005_1",
    ):
        prepare(shelf(root))
    with pytest.raises(DataError, match=r"allowed_missing is 2 %"):
        prepare(shelf(root, allowed_missing=0.02))
    work = shelf(root, allowed_missing=0.04)
    meta = prepare(work)
    assert [(s.split, s.row, s.id) for s in meta.skipped] == [("train", 3, "train/003_1"), ("train", 5, "train/005_1")]
    assert meta.samples["train"] == 38
    assert open_dataset(work, meta).train.labels.tolist() == [n % 2 for n in range(40) if n not in (3, 5)]
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
    told = CountingWatcher()
    assert prepare(shelf(root), watcher=told).skipped == ()
    assert told.done == 1


def test_a_cache_is_not_completed_where_more_was_skipped_than_may_be(root: Path) -> None:
    work = shelf(root, allowed_missing=0.02)  # one of 52
    lost = [Skipped(split="train", row=row, id=f"train/00{row}", reason="empty") for row in (3, 5)]
    with pytest.raises(DataError, match=r"2 of 52 .* allowed_missing is 2 %: train/003 \(empty\); train/005 \(empty\)"):
        prepare(work, lambda shards, advance: iter([Marker(skipped=(skip,)) for skip in lost]))
    assert work.folder.meta() is None
    meta = prepare(work, lambda shards, advance: iter([Marker(skipped=(lost[0],)), Marker()]))
    assert meta == work.folder.meta()
    assert meta.samples == {"train": 39, "validation": 6, "test": 6}


def test_a_cache_that_cannot_be_completed_says_what_to_do(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, target: Path) -> Path:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(
        CacheError, match=r"cannot be written \(Read-only file system\); change its permissions, or set"
    ):
        prepare(shelf(root))


def test_what_has_no_room_is_refused_before_anything_is_decoded(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work, told = shelf(root), CountingWatcher()
    work.shards[0].run()
    needed = sum(shard.bytes for shard in work.shards[1:])
    assert needed == (52 - 16) * (LENGTH + 8)
    for free in (needed - 1, needed):
        monkeypatch.setattr(shutil, "disk_usage", lambda path, free=free: shutil._ntuple_diskusage(10**6, 0, free))  # type: ignore[attr-defined]
        if free < needed:
            with pytest.raises(CacheError, match="no room for up to"):
                prepare(work, watcher=told)
            assert told.done == 0
    assert prepare(work, watcher=told).samples["train"] == 40
    assert told.done == 52 - 16
