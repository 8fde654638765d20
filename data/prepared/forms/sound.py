"""Sound as spectrograms."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from data.augment.draws import draw_integers
from data.augment.masks import draw_spans, mask
from data.base import SampleType
from data.base.placement import moved
from data.media import MediaError
from data.media.audio import read_sound
from data.prepared.forms.base import Arrays, Form, Stored
from data.prepared.forms.columns import ArrayColumn, Device, assembled, on_host, sent
from data.prepared.lists.items import Medium, SplitName

FloatName = Literal["float16", "float32"]
_BEYOND = {"beyond": Stored("bool", (1,))}
_REMARK = "have floating-point samples beyond full scale, which were clipped or scaled"


def log_stft(wave: Tensor, n_fft: int, hop: int) -> Tensor:
    """ln(|STFT| + 1e-7) [n_fft / 2 + 1, 1 + n // hop] of a waveform [n]: Hann window, centred frames, zeros beyond
    both ends (librosa's definition)."""
    window = torch.hann_window(n_fft, dtype=wave.dtype)
    spectrum = torch.stft(wave, n_fft, hop, window=window, center=True, pad_mode="constant", return_complex=True)
    return (spectrum.abs() + 1e-7).log()


def fill_up(wave: Tensor, samples: int, fill: Literal["tile", "zero"]) -> Tensor:
    """Make the waveform [n] [samples] long at least: repeated end to end (and cut there), or with zeros behind it."""
    if len(wave) >= samples:
        return wave
    if fill == "zero":
        return torch.nn.functional.pad(wave, (0, samples - len(wave)))
    return wave.repeat(-(-samples // len(wave)))[:samples]


@dataclass(frozen=True, kw_only=True)
class Spectrogram(Form):
    """Log-magnitude STFT of a sound file, served as float32 [1, n_fft / 2 + 1, 1 + rate seconds // hop].

    fill: what a shorter sound is made long by. crop: which ``seconds`` of a longer one; "random" takes them from the
    first ``source_seconds`` (null: twice ``seconds``), to which it is filled up, anew for each training batch and from
    the middle in evaluation. A random crop begins at a multiple of ``hop`` and sees the sound beyond its ends, where a
    cut waveform would see zeros. dtype: of what is stored. mask_bands, mask_frames: widest span of SpecAugment along
    each axis, one each (0: off)."""

    rate: int
    seconds: float
    n_fft: int
    hop: int
    fill: Literal["tile", "zero"] = "tile"
    crop: Literal["start", "centre", "random"] = "start"
    source_seconds: float | None = None
    dtype: FloatName = "float16"
    mask_bands: int = 0
    mask_frames: int = 0
    version: ClassVar[int] = 2
    served: ClassVar[frozenset[str]] = frozenset({"mask_bands", "mask_frames"})

    @property
    def bands(self) -> int:
        return self.n_fft // 2 + 1

    @property
    def frames(self) -> int:
        """Count the frames of one served sample."""
        return 1 + round(self.rate * self.seconds) // self.hop

    def source_samples(self) -> int:
        return round(self.rate * (self.source_seconds or 2 * self.seconds))

    def sample(self) -> SampleType:
        return SampleType((1, self.bands, self.frames))

    def stored(self, split: SplitName) -> Mapping[str, Stored]:
        frames = self.frames
        if self.crop == "random" and split == "train":
            frames = 1 + self.source_samples() // self.hop
        return {"spectrogram": Stored(self.dtype, (self.bands, frames)), **_BEYOND}

    def decode(self, medium: Medium, split: SplitName) -> Arrays:
        assert isinstance(medium, Path)
        sound = read_sound(medium, self.rate)
        wave = sound.wave
        if len(wave) < self.n_fft:
            raise MediaError(
                medium, f"{len(wave) / self.rate:.3f} s of sound, less than one window of {self.n_fft} samples"
            )
        samples = round(self.rate * self.seconds)
        if self.crop == "random":
            wave = fill_up(wave, self.source_samples(), self.fill)[: self.source_samples()]
            samples = len(wave) if split == "train" else samples
        wave = fill_up(wave, samples, self.fill)
        start = 0 if self.crop == "start" else (len(wave) - samples) // 2
        spectrogram = log_stft(wave[start : start + samples], self.n_fft, self.hop)
        return {"spectrogram": _as(spectrogram, self.dtype), "beyond": np.array([sound.beyond])}

    def remarks(self, arrays: Mapping[str, Tensor], rows: Tensor) -> Iterator[tuple[int, str]]:
        yield int(arrays["beyond"][rows].sum()), _REMARK

    def column(self, arrays: Mapping[str, Tensor], rows: Tensor, split: SplitName) -> SpectrogramColumn:
        return SpectrogramColumn(self, arrays, rows, split == "train", self.sample().shape)


@dataclass(frozen=True, eq=False)
class SpectrogramColumn(ArrayColumn[Spectrogram]):
    """Serves :class:`Spectrogram`."""

    @property
    def _last(self) -> int:
        """Give the frame at which the last crop starts."""
        return self.arrays["spectrogram"].shape[2] - self.form.frames

    def gather(self, index: Tensor, device: Device) -> Tensor:
        return self._cut(index, torch.full_like(index, self._last // 2), device)

    def draw(self, index: Tensor, device: Device, generator: Generator, part: slice = slice(None)) -> Tensor:
        if not self.training:
            return self.gather(index[part], device)
        starts = draw_integers(len(index), self._last, generator)[part]
        return _masked(self._cut(index[part], starts, device), self.form, len(index), generator, part)

    def _cut(self, index: Tensor, starts: Tensor, device: Device) -> Tensor:
        stored, frames = self.arrays["spectrogram"], self.form.frames
        if on_host(stored):
            places = zip(self.located(index).tolist(), starts.tolist(), strict=True)
            cut = (stored[row, :, start : start + frames] for row, start in places)
            if on_host(stored, device):
                return assembled((len(index), *self.shape), cut)
            return sent((len(index), *self.shape[1:]), stored.dtype, cut, device).float().unsqueeze(1)
        # A view of every crop there is: one gather reads those that are wanted, and no more.
        crops = stored.unfold(2, frames, 1)
        rows, starts = self.located(index, stored.device), moved(starts, stored.device)
        return crops[rows, :, starts].float().unsqueeze(1)


@dataclass(frozen=True, kw_only=True)
class FilterBank(Form):
    """Kaldi's log-mel filter bank of a sound file (25 ms Hann windows every 10 ms, no dither, mean of the waveform
    taken off), zero-padded or cut to ``frames``, then (x - mean) / deviation: float32 [1, frames, mels].

    dtype: of what is stored, which is not normalised. mask_bands, mask_frames: as in :class:`Spectrogram`."""

    rate: int = 16000
    mels: int = 128
    frames: int = 1024
    mean: float = 0.0
    deviation: float = 1.0
    dtype: FloatName = "float16"
    mask_bands: int = 0
    mask_frames: int = 0
    version: ClassVar[int] = 2
    served: ClassVar[frozenset[str]] = frozenset({"mean", "deviation", "mask_bands", "mask_frames"})

    def sample(self) -> SampleType:
        return SampleType((1, self.frames, self.mels))

    def stored(self, split: SplitName) -> Mapping[str, Stored]:
        return {"bank": Stored(self.dtype, (self.frames, self.mels)), **_BEYOND}

    def decode(self, medium: Medium, split: SplitName) -> Arrays:
        from torchaudio.compliance.kaldi import fbank

        assert isinstance(medium, Path)
        sound = read_sound(medium, self.rate)
        wave = sound.wave
        if len(wave) < round(0.025 * self.rate):
            raise MediaError(medium, f"{len(wave) / self.rate:.3f} s of sound, less than one window of 0.025 s")
        bank = fbank(
            (wave - wave.mean()).unsqueeze(0),
            htk_compat=True,
            sample_frequency=self.rate,
            use_energy=False,
            window_type="hanning",
            num_mel_bins=self.mels,
            dither=0.0,
            frame_shift=10,
        )[: self.frames]
        bank = torch.nn.functional.pad(bank, (0, 0, 0, self.frames - len(bank)))
        return {"bank": _as(bank, self.dtype), "beyond": np.array([sound.beyond])}

    def remarks(self, arrays: Mapping[str, Tensor], rows: Tensor) -> Iterator[tuple[int, str]]:
        yield int(arrays["beyond"][rows].sum()), _REMARK

    def column(self, arrays: Mapping[str, Tensor], rows: Tensor, split: SplitName) -> FilterBankColumn:
        return FilterBankColumn(self, arrays, rows, split == "train", self.sample().shape)


@dataclass(frozen=True, eq=False)
class FilterBankColumn(ArrayColumn[FilterBank]):
    """Serves :class:`FilterBank`."""

    def gather(self, index: Tensor, device: Device) -> Tensor:
        stored = self.arrays["bank"]
        if on_host(stored, device):
            banks = (stored[row] for row in self.located(index).tolist())
            return assembled((len(index), *self.shape), banks, self._finish)
        return self._finish(self.take("bank", device, index).float().unsqueeze(1))

    def draw(self, index: Tensor, device: Device, generator: Generator, part: slice = slice(None)) -> Tensor:
        bank = self.gather(index[part], device)
        if not self.training:
            return bank
        return _masked(bank.transpose(2, 3), self.form, len(index), generator, part).transpose(2, 3)

    def _finish(self, banks: Tensor) -> Tensor:
        return banks.sub_(self.form.mean).div_(self.form.deviation)


def _masked(values: Tensor, form: Spectrogram | FilterBank, count: int, generator: Generator, part: slice) -> Tensor:
    """Mask ``values`` [b, 1, bands, frames], the ``part`` of ``count`` samples, by SpecAugment as the form says."""
    for axis, widest in ((2, form.mask_bands), (3, form.mask_frames)):
        if widest:
            spans = draw_spans(count, values.shape[axis], widest, generator)
            values = mask(values, spans[part], axis)
    return values


def _as(values: Tensor, dtype: FloatName) -> NDArray[np.generic]:
    return values.numpy().astype(dtype)
