"""Frames of video files: uint8 [H, W, 3] RGB, always decoded from the start (seeking in H.264 can miss by frames)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data.media import MediaError
from data.media._container import open_stream, require_whole

Frame = NDArray[np.uint8]


def read_frames(path: Path, per_second: float = 1.0) -> Iterator[Frame]:
    """Yield about ``per_second`` frames of each second, by the rule of OGM-GE: the frame rate is rounded down, so that
    one frame a second of 29.97 means frames 0, 29, 58, ... The first frame always is among them.

    Raises MediaError for a file that is missing, empty, a Git LFS pointer, damaged or truncated, and for one without
    a video stream, a frame rate or a frame."""
    decoded = 0
    with open_stream(path, "video") as (container, stream):
        rate = stream.guessed_rate or stream.average_rate
        if not rate:
            raise MediaError(path, "no frame rate in its header; convert it again")
        step = max(1, int(int(rate) / per_second))
        for frame in container.decode(stream):
            if decoded % step == 0:
                yield frame.to_ndarray(format="rgb24")
            decoded += 1
        if not decoded:
            raise MediaError(path, "no frames; copy it again or remove it")
        require_whole(path, container, stream, decoded / float(rate))


def read_window(path: Path, start: int, end: int) -> list[Frame]:
    """Read frames ``start`` (included) to ``end`` (excluded).

    Raises MediaError as ``read_frames`` does, and where the file ends before the window."""
    frames: list[Frame] = []
    decoded = 0
    with open_stream(path, "video") as (container, stream):
        for frame in container.decode(stream):
            if decoded >= start:
                frames.append(frame.to_ndarray(format="rgb24"))
            decoded += 1
            if decoded == end:
                break
    if not decoded:
        raise MediaError(path, "no frames; copy it again or remove it")
    if decoded < end:
        raise MediaError(path, f"{decoded} frames, too few for the window from {start} to {end}")
    return frames
