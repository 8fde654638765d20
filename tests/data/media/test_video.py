"""Frames of videos."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from support.media_files import STUB, shaded, tone, write_video

from data.media import MediaError, video
from data.media.video import read_frames, read_window


def numbers(frames: Iterable[NDArray[np.uint8]], step: int = 5) -> list[int]:
    """Which of ``shaded`` frames these are."""
    return [round((float(frame.mean()) - 16) / step) for frame in frames]


@pytest.mark.parametrize("suffix", [".flv", ".mp4", ".avi"])
def test_one_frame_a_second_counts_by_the_frame_rate_rounded_down(tmp_path: Path, suffix: str) -> None:
    path = write_video(tmp_path / f"a{suffix}", shaded(65, step=3), Fraction(30000, 1001))
    frames = list(read_frames(path))
    assert numbers(frames, 3) == [0, 29, 58]
    assert frames[0].shape == (48, 64, 3)
    assert frames[0].dtype == np.uint8


def test_other_numbers_of_frames_a_second(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", shaded(21, step=5), 10)
    assert numbers(read_frames(path, 2)) == [0, 5, 10, 15, 20]
    assert numbers(read_frames(path, 0.5)) == [0, 20]
    assert numbers(read_frames(path, 100)) == list(range(21))


def test_a_window_is_exact_far_from_a_key_frame(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.avi", shaded(40, step=5))
    assert numbers(read_window(path, 17, 25)) == list(range(17, 25))
    assert numbers(read_window(path, 0, 40)) == list(range(40))


def test_a_window_beyond_the_end_is_refused(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.avi", shaded(10))
    with pytest.raises(MediaError, match=r"a\.avi: 10 frames, too few for the window from 4 to 12"):
        read_window(path, 4, 12)


def test_files_without_frames_are_refused_with_the_reason(tmp_path: Path) -> None:
    for name, content, reason in [
        ("zero.flv", b"", "the file is empty"),
        ("stub.avi", STUB, "a Git LFS pointer, not the file itself; run `git lfs pull`"),
        ("text.mp4", b"no video, but a line of text", "damaged or of an unknown kind (Invalid data"),
    ]:
        (tmp_path / name).write_bytes(content)
        for read in (read_frames, lambda path: read_window(path, 0, 4)):
            with pytest.raises(MediaError) as caught:
                list(read(tmp_path / name))
            assert caught.value.reason.startswith(reason)
    empty = write_video(tmp_path / "empty.avi", shaded(0))
    for frames in (lambda: list(read_frames(empty)), lambda: read_window(empty, 0, 4)):
        with pytest.raises(MediaError, match=r"empty\.avi: no frames; copy it again or remove it"):
            frames()
    with pytest.raises(MediaError, match=r"sound\.mp4: no video stream"):
        list(read_frames(write_video(tmp_path / "sound.mp4", None, sound=tone(22050, 0.2))))


@pytest.mark.parametrize("suffix", [".flv", ".mp4"])
@pytest.mark.parametrize("share", [0.05, 0.4])
def test_a_broken_off_download_is_refused(tmp_path: Path, suffix: str, share: float) -> None:
    grain = np.random.default_rng(0).integers(0, 256, (90, 48, 64, 3), np.uint8)
    path = write_video(tmp_path / f"a{suffix}", grain)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(MediaError, match=r"a\.\w+: (truncated, |damaged or of an unknown kind)"):
        list(read_frames(path))


def test_what_was_decoded_is_counted_in_seconds_of_the_streams_rate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = list[float]()
    monkeypatch.setattr(video, "require_whole", lambda path, container, stream, seconds: told.append(seconds))
    assert len(list(read_frames(write_video(tmp_path / "a.avi", shaded(50), 5)))) == 10
    assert told == [10.0]
