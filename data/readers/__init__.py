"""Readers of the files that one dataset has, or a few of them share: recordings of spoken digits, MNIST's IDX files,
WAV files, IEMOCAP's lists and transcripts, tweets with an image. A folder of the user's comes in; rows, arrays or
the profiles of a dataset go out, and a DataError where a file is not as it should be. The datasets call them by
module."""

from __future__ import annotations

from data.readers import (
    fsdd,
    iemocap,
    mnist,
    tweets,
    wav,
)

__all__ = [
    "fsdd",
    "iemocap",
    "mnist",
    "tweets",
    "wav",
]
