"""Sound as a waveform: mono float32 in [-1, 1], from WAV files and from the sound track of any container."""

from __future__ import annotations

import math
import struct
import warnings
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from data.media import MediaError
from data.media._container import open_stream, require_whole
from data.media._files import require_file

HIGHEST_RATE = 192_000
"""Hz; what is beyond is a damaged header."""


def read_audio(path: Path, rate: int) -> Tensor:
    """Read the waveform [n] at ``rate`` Hz, mean over channels, clipped to [-1, 1].

    WAV by scipy, anything else (mp3, flv, mp4, ...) by PyAV. Raises MediaError for a file that is missing, empty, a
    Git LFS pointer, damaged, truncated, without an audio stream, without samples or with infinite ones."""
    samples, found = _read_wav(path) if path.suffix.lower() == ".wav" else _read_container(path)
    if not samples.size:
        raise MediaError(path, "no samples; copy it again or remove it")
    mono = samples.mean(0, dtype=np.float32)
    if not np.isfinite(mono).all():
        raise MediaError(path, "samples that are not finite; convert it again")
    if not 0 < found <= HIGHEST_RATE:
        raise MediaError(path, f"a sample rate of {found} Hz; convert it again")
    return resample(torch.from_numpy(mono), found, rate).clamp_(-1, 1)


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
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", wavfile.WavFileWarning)  # chunks beside the sound
            warnings.filterwarnings("error", "Reached EOF prematurely", wavfile.WavFileWarning)
            rate, samples = wavfile.read(path)
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
