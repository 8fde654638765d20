"""Any container of sound or pictures, through PyAV (FFmpeg)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from data.media import MediaError
from data.media._files import require_file, require_package

_ANNOUNCING = {"mp4", "avi", "flv", "matroska"}
"""Kinds of containers whose headers say how long they are."""


@contextmanager
def open_stream(path: Path, kind: Literal["audio", "video"]) -> Iterator[tuple[Any, Any]]:
    """Open the container and its first stream of ``kind``; what fails to decode inside the block becomes a MediaError.

    Raises MediaError for no such stream too, and DataError where PyAV is not installed."""
    av = require_package("av", "av", f"reading {kind} from {path.suffix or 'this file'}")
    require_file(path)
    try:
        # Titles and comments may be in any encoding; nobody reads them here.
        with av.open(str(path), metadata_errors="ignore") as container:
            streams = getattr(container.streams, kind)
            if not streams:
                raise MediaError(path, f"no {kind} stream")
            streams[0].thread_count = 1  # the cores belong to the processes beside this one
            yield container, streams[0]
    except MediaError:
        raise
    except (av.FFmpegError, ValueError) as error:  # ValueError: a stream that changes its form midway
        why = getattr(error, "strerror", None) or error
        raise MediaError(path, f"damaged or of an unknown kind ({why}); copy or convert it again") from error


def require_whole(path: Path, container: Any, stream: Any, seconds: float) -> None:
    """Check that a file is whole: raises MediaError where much less was decoded than the file's header announces: a
    broken-off download.

    Headers are rounded and codecs pad, hence the tolerance: a tenth and half a second. Of other kinds of files (mp3)
    FFmpeg only guesses the duration."""
    if not _ANNOUNCING & set(container.format.name.split(",")):
        return
    # In units of the stream's own, or else of microseconds.
    announced = float(stream.duration * stream.time_base) if stream.duration else (container.duration or 0) / 1e6
    if seconds < 0.9 * announced - 0.5:
        raise MediaError(path, f"truncated, {seconds:.1f} of {announced:.1f} seconds; copy or download it again")
