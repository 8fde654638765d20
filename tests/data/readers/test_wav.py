"""WAV files of one form, and no others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.base import DataError
from data.readers.wav import read_wav


def test_wav_samples_are_shares_of_full_scale(tmp_path: Path, wav: Any) -> None:
    path = wav(tmp_path / "a.wav", [0, 16384, -32768, 32767])
    samples = read_wav(path, 8000)
    assert samples.dtype == np.float32
    assert samples.tolist() == [0, 0.5, -1, 32767 / 32768]


@pytest.mark.parametrize(
    ("form", "message"),
    [
        ({"channels": 2}, "2 channels, expected 1; convert it to mono, 16 bit, 8000 Hz"),
        ({"rate": 16000}, "16000 Hz, expected 8000"),
        ({"width": 1}, "8 bit, expected 16"),
        ({"width": 4}, "32 bit, expected 16"),
    ],
)
def test_wav_of_another_form_is_refused(tmp_path: Path, wav: Any, form: dict[str, int], message: str) -> None:
    path = wav(tmp_path / "a.wav", [1, 2, 3, 4], **form)
    with pytest.raises(DataError, match=rf"a\.wav: {message}"):
        read_wav(path, 8000)


def test_wav_without_samples_is_refused(tmp_path: Path, wav: Any) -> None:
    with pytest.raises(DataError, match=r"a\.wav: no samples"):
        read_wav(wav(tmp_path / "a.wav", []), 8000)


def test_damaged_wav_is_refused(tmp_path: Path, wav: Any) -> None:
    path = wav(tmp_path / "a.wav", range(10))
    whole = path.read_bytes()
    path.write_bytes(whole[:-6])
    with pytest.raises(DataError, match=r"a\.wav: truncated, 7 of 10 samples"):
        read_wav(path, 8000)
    for damaged in (whole[:20], whole[:3], b"ID3 not a wav file at all, but an mp3 one"):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=r"a\.wav: not a PCM WAV file"):
            read_wav(path, 8000)
