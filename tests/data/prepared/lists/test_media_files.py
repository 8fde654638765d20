"""Media of samples, and what is missing of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from data.base import DataError
from data.prepared.lists.folders import (
    files_by_stem,
    folders_by_name,
)
from data.prepared.lists.media_files import AbsentError, Files, FrameFolders, find_media
from data.prepared.lists.rows import Row


def touch(*paths: Path, content: bytes = b"x") -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def test_missing_media_are_listed_up_to_the_allowed_share(tmp_path: Path) -> None:
    touch(*(tmp_path / f"s{i}.wav" for i in range(8)))
    sounds = Files(files_by_stem(tmp_path, {".wav"}), "wav file")
    splits = {"train": [Row(f"s{i}", i % 2, "") for i in range(10)], "test": []}

    def find(allowed: float) -> tuple[int, tuple[tuple[str, str], ...]]:
        items, missing = find_media({"train": splits["train"]}, lambda row: {"audio": sounds[row.id]}, allowed)
        return len(items["train"]), missing

    assert find(0.2) == (8, (("s8", "no wav file"), ("s9", "no wav file")))
    with pytest.raises(DataError) as caught:
        find(0.19)
    assert str(caught.value) == (
        "train: 2 of 10 samples cannot be used, 20.0% where `allowed_missing` is 19.0% (s8: no wav file; s9: no wav "
        "file). Complete the data, or raise `allowed_missing`"
    )
    with pytest.raises(DataError, match="test: 0 of 0 samples"):
        find_media({"test": []}, lambda row: {}, 1.0)


def test_the_share_is_that_of_each_split() -> None:
    present = Files({"a": Path("a"), "b": Path("b")}, "wav file")
    many = [Row("a", 0, ""), Row("b", 0, "")]
    with pytest.raises(DataError, match=r"test: 2 of 2 samples cannot be used, 100\.0%"):
        find_media(
            {"train": many, "test": [Row("c", 0, ""), Row("d", 0, "")]}, lambda row: {"audio": present[row.id]}, 0.5
        )


def test_folders_with_too_few_frames_are_missing(tmp_path: Path) -> None:
    touch(*(tmp_path / "long" / f"{i}.jpg" for i in range(4)), tmp_path / "short" / "0.jpg")
    (tmp_path / "empty").mkdir()
    frames = FrameFolders(folders_by_name(tmp_path), ["long", "short", "empty", "gone"], "frames", 4)
    assert [path.name for path in frames["long"]] == ["0.jpg", "1.jpg", "2.jpg", "3.jpg"]
    for key, reason in [
        ("short", "1 frame of frames, fewer than 4"),
        ("empty", "0 frames of frames, fewer than 4"),
        ("gone", "no folder of frames"),
    ]:
        with pytest.raises(AbsentError, match=f"^{reason}$"):
            frames[key]
