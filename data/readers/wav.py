"""Sound from WAV files, without a codec library."""

from __future__ import annotations

import io
import wave
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data.base import DataError
from data.base.files import read_bytes


def read_wav(path: Path, rate: int) -> NDArray[np.float32]:
    """Read the samples [n] of a mono 16-bit PCM file of ``rate`` Hz, in [-1, 1).

    Raises DataError for any other file, a truncated one, and one without samples."""
    content = read_bytes(path)
    try:
        with wave.open(io.BytesIO(content)) as sound:
            channels, width, found_rate, frames = sound.getparams()[:4]
            samples = sound.readframes(frames)
    except (wave.Error, EOFError) as error:
        reason = str(error) or "it ends within its header"
        raise DataError(f"{path}: not a PCM WAV file ({reason}); copy or convert it again") from error
    wanted = f"convert it to mono, 16 bit, {rate} Hz"
    if channels != 1:
        raise DataError(f"{path}: {channels} channels, expected 1; {wanted}")
    if width != 2:
        raise DataError(f"{path}: {8 * width} bit, expected 16; {wanted}")
    if found_rate != rate:
        raise DataError(f"{path}: {found_rate} Hz, expected {rate}; {wanted}")
    if frames == 0:
        raise DataError(f"{path}: no samples; copy it again or remove it")
    if len(samples) != width * frames:
        raise DataError(f"{path}: truncated, {len(samples) // width} of {frames} samples; copy it again")
    return np.frombuffer(samples, "<i2").astype(np.float32) / np.float32(2**15)
