"""Sound as a waveform: mono float32 in [-1, 1], from WAV files and from the sound track of any container."""

from __future__ import annotations

import io
import math
import struct
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from data.media import MediaError
from data.media._container import open_stream, require_whole
from data.media._files import require_file

LOWEST_RATE, HIGHEST_RATE = 100, 192_000
"""Hz; what is beyond is a damaged header, and a few bytes at 1 Hz would be resampled to gigabytes."""

_UNKNOWN_SIZES = {0, 0x7FFFFFFF, 0xFFFFFFFF}
"""What programs write for the size of the samples of a stream, before they know it."""
_PLAIN_CODINGS = {1, 3, 0xFFFE}
"""Whole numbers, floating-point numbers, and either of them in an extensible header: what scipy reads."""
_OVERSHOOT = 8.0
"""Peaks of floating-point samples up to here are loud sound; beyond, the samples are in the range of whole numbers."""


@dataclass(frozen=True)
class Sound:
    """wave: mono float32 [n] in [-1, 1]. beyond: floating-point samples were beyond full scale, and were clipped or
    scaled."""

    wave: Tensor
    beyond: bool = False


def read_audio(path: Path, rate: int) -> Tensor:
    """Read the waveform [n] at ``rate`` Hz: see :func:`read_sound`."""
    return read_sound(path, rate).wave


def read_sound(path: Path, rate: int) -> Sound:
    """Read a sound at ``rate`` Hz, mean over channels, clipped to [-1, 1]; floating-point samples in the range of whole
    numbers are shares of the full scale of 16, 24 or 32 bits.

    Plain WAV by scipy, anything else (mu-law, A-law, mp3, flv, mp4, ...) by PyAV; a WAV file whose header leaves its
    size open is read to its end. Raises MediaError for a file that is missing, empty, a Git LFS pointer, damaged,
    truncated, without an audio stream, without samples or with infinite ones, or of a rate below 100 Hz or above
    192 kHz."""
    samples, found = _read_wav(path) if path.suffix.lower() == ".wav" else _read_container(path)
    if not samples.size:
        raise MediaError(path, "no samples; copy it again or remove it")
    if not np.isfinite(samples).all():
        raise MediaError(path, "samples that are not finite; convert it again")
    if not LOWEST_RATE <= found <= HIGHEST_RATE:
        limits = f"between {LOWEST_RATE} and {HIGHEST_RATE:,} Hz"
        raise MediaError(path, f"a sample rate of {found} Hz; convert it to one {limits}")
    peak = float(np.abs(samples).max())
    if peak > _OVERSHOOT:
        samples = samples / np.float32(_full_scale(peak))
    mono = samples.mean(0, dtype=np.float32)
    return Sound(resample(torch.from_numpy(mono), found, rate).clamp_(-1, 1), beyond=peak > 1)


def _full_scale(peak: float) -> float:
    """Give the full scale of the narrowest whole numbers that reach the peak; the peak itself where none do."""
    return next((float(2**bits) for bits in (15, 23, 31) if peak <= 2**bits), peak)


def resample(wave: Tensor, found: int, rate: int) -> Tensor:
    """Resample ``wave`` [n] of ``found`` Hz at ``rate`` Hz: [ceil(n rate / found)], by a windowed sinc.

    Polyphase filtering by scipy: torchaudio's kernel would take gigabytes where the rates have no common divisor."""
    from scipy.signal import resample_poly

    if found == rate:
        return wave
    common = math.gcd(found, rate)
    up, down = rate // common, found // common
    return torch.from_numpy(resample_poly(wave.numpy(), up, down, window=_low_pass(max(up, down))))


@lru_cache(maxsize=16)
def _low_pass(factor: int) -> NDArray[np.float32]:
    """64 zero crossings to each side: librosa's `kaiser_best`, its default when the papers' loaders were written."""
    from scipy.signal import firwin

    taps = firwin(128 * factor + 1, 0.9475937167399596 / factor, window=("kaiser", 14.769656459379492))
    return taps.astype(np.float32)


def _read_wav(path: Path) -> tuple[NDArray[np.float32], int]:
    """Read samples [channels, n] as shares of full scale, and their rate."""
    from scipy.io import wavfile

    require_file(path)
    content = _with_size(path.read_bytes())
    if _coding(content) not in _PLAIN_CODINGS:
        return _read_container(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", wavfile.WavFileWarning)  # chunks beside the sound
            warnings.filterwarnings("error", "Reached EOF prematurely", wavfile.WavFileWarning)
            rate, samples = wavfile.read(io.BytesIO(content))
    except wavfile.WavFileWarning as warning:
        raise MediaError(path, "truncated, it ends before its header says; copy or download it again") from warning
    except (UnboundLocalError, ZeroDivisionError) as error:  # what scipy raises where such a chunk is missing or null
        raise MediaError(path, "a WAV file without format or samples; copy or convert it again") from error
    except (ValueError, EOFError, OSError, struct.error) as error:
        raise MediaError(path, f"not a WAV file that can be read ({error}); copy or convert it again") from error
    if samples.dtype == np.uint8:
        shares = samples.astype(np.float32) / 128 - 1
    elif samples.dtype.kind == "i":
        shares = samples.astype(np.float32) / -float(np.iinfo(samples.dtype).min)
    else:
        shares = samples.astype(np.float32)
    return np.atleast_2d(shares.T), rate


def _chunks(content: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield name, place and announced size of each chunk of a RIFF file, up to its samples."""
    at = 12
    while content[:4] == b"RIFF" and content[8:12] == b"WAVE" and at + 8 <= len(content):
        name, size = content[at : at + 4], int.from_bytes(content[at + 4 : at + 8], "little")
        yield name, at + 8, size
        if name == b"data":
            return
        at += 8 + size + size % 2


def _coding(content: bytes) -> int:
    """Read how samples are coded off the format chunk; 1 where there is none."""
    for name, at, size in _chunks(content):
        if name == b"fmt " and size >= 2:
            coding = int.from_bytes(content[at : at + 2], "little")
            # An extensible header has the coding at the start of a longer name.
            return int.from_bytes(content[at + 24 : at + 26], "little") if coding == 0xFFFE and size >= 40 else coding
    return 1


def _with_size(content: bytes) -> bytes:
    """Write the size of the samples into a header that leaves it open: they reach to the end of the file."""
    block = 1
    for name, at, size in _chunks(content):
        if name == b"fmt ":
            block = max(1, int.from_bytes(content[at + 12 : at + 14], "little"))
        if name == b"data" and size in _UNKNOWN_SIZES and not _is_chunk(content[at:]):
            there = (len(content) - at) // block * block
            riff = (at + there - 8).to_bytes(4, "little")
            return content[:4] + riff + content[8 : at - 4] + there.to_bytes(4, "little") + content[at : at + there]
    return content


def _is_chunk(content: bytes) -> bool:
    """Tell whether bytes are a chunk that ends where they do, as behind samples of size 0."""
    return content[:4].isalnum() and int.from_bytes(content[4:8], "little") in (len(content) - 8, len(content) - 9)


def _read_container(path: Path) -> tuple[NDArray[np.float32], int]:
    """Read samples [channels, n] of the first audio stream, and their rate."""
    with open_stream(path, "audio") as (container, stream):
        from av import AudioResampler

        planar = AudioResampler(format="fltp")
        parts = [part.to_ndarray() for frame in container.decode(stream) for part in planar.resample(frame)]
        rate = stream.rate
        samples: NDArray[np.float32] = np.concatenate(parts, 1) if parts else np.empty((1, 0), np.float32)
        require_whole(path, container, stream, samples.shape[1] / rate)
    return samples, rate
