"""Clips of videos by name and by tree."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from data.base import DataError
from data.prepared.lists.youtube import ClipTree, clip_row, parse_key


def touch(*paths: Path, content: bytes = b"x") -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


@pytest.mark.parametrize(
    ("stem", "key"),
    [
        ("AbCdEfGhIjK_000012_000022", ("AbCdEfGhIjK", 12)),
        ("AbCdEfGhIjK_12", ("AbCdEfGhIjK", 12)),
        ("-_-a_1_22-__7", ("-_-a_1_22-_", 7)),
        ("__________1_000000_000010", ("__________1", 0)),
        ("AbCdEfGhIjK_30.mp4", ("AbCdEfGhIjK", 30)),
        ("AbCdEfGhIjK", None),
        ("short_12", None),
        ("AbCdEfGhIjK_12_frames", None),
    ],
)
def test_clips_by_the_first_eleven_characters_and_the_start(stem: str, key: tuple[str, int] | None) -> None:
    assert parse_key(stem) == key


def test_a_clip_has_one_id_however_its_list_pads() -> None:
    padded, plain = clip_row("-b_dEfGhIjK_000012_000022", 3, "x"), clip_row("-b_dEfGhIjK_12", 3, "x")
    assert padded == plain
    assert (padded.id, padded.group) == ("-b_dEfGhIjK_000012", "-b_dEfGhIjK")
    with pytest.raises(DataError, match="here: 'abc_1' is not of the form <YouTube id, 11 characters>_<start>"):
        clip_row("abc_1", 0, "here")


def test_clips_come_from_extracted_files_or_from_videos(tmp_path: Path) -> None:
    tree = ClipTree(sounds=("wav",), frames=("img",), videos=("k400/train", "k400/val"))
    key = ("AbCdEfGhIjK", 7)
    with pytest.raises(
        DataError, match=r"no clips; expected videos in k400/train or k400/val, or extracted ones in wav"
    ):
        tree.media(tmp_path, [key], 1)
    video = tmp_path / "k400" / "val" / "tickling" / "AbCdEfGhIjK_000007_000017.mp4"
    touch(video)
    audio, frames = tree.media(tmp_path, [key], 1)
    assert audio[key] == frames[key] == video
    sound = tmp_path / "wav" / "AbCdEfGhIjK_7.wav"
    touch(sound)
    audio, frames = tree.media(tmp_path, [key], 1)
    assert (audio[key], frames[key]) == (sound, video)
    touch(tmp_path / "img" / "AbCdEfGhIjK_7.mp4" / "00000.jpg")
    audio, frames = tree.media(tmp_path, [key], 1)
    assert frames[key] == (tmp_path / "img" / "AbCdEfGhIjK_7.mp4" / "00000.jpg",)
    shutil.rmtree(tmp_path / "k400")
    assert tree.media(tmp_path, [key], 1)[0][key] == sound
