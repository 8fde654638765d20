"""Tiny real media, written by the libraries that read them: sounds by scipy, videos by PyAV, pictures by Pillow."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data.base import Column
from data.prepared import Form, Medium, SplitName

STUB = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 4820\n"
CODECS = {".flv": ("flv", "mp3"), ".mp4": ("libx264", "aac"), ".avi": ("libx264", "mp3")}
"""Suffix -> what a file of that kind holds: video, audio."""


def tone(rate: int, seconds: float, pitch: float = 440.0, loudness: float = 0.5) -> NDArray[np.float32]:
    """A sine [rate seconds]."""
    return (loudness * np.sin(2 * np.pi * pitch * np.arange(round(rate * seconds)) / rate)).astype(np.float32)


def write_sound(path: Path, samples: NDArray[np.float32], rate: int) -> Path:
    """A 16-bit WAV file of ``samples`` [n] or [n, channels] in [-1, 1)."""
    from scipy.io import wavfile

    path.parent.mkdir(parents=True, exist_ok=True)
    wavfile.write(path, rate, np.round(samples * 2**15).astype(np.int16))
    return path


def shaded(count: int, height: int = 48, width: int = 64, step: int = 2) -> NDArray[np.uint8]:
    """Frames [count, H, W, 3]; frame k is grey, 16 + k ``step`` everywhere: a frame tells its number."""
    shades = (16 + step * np.arange(count)).astype(np.uint8)
    return np.broadcast_to(shades[:, None, None, None], (count, height, width, 3)).copy()


def write_video(
    path: Path,
    frames: NDArray[np.uint8] | None = None,
    rate: Fraction | int = 30,
    sound: NDArray[np.float32] | None = None,
    sound_rate: int = 22050,
) -> Path:
    """A file of ``frames`` [T, H, W, 3] (None: no video stream) and of mono ``sound`` [n], coded as its suffix says."""
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    video_codec, audio_codec = CODECS[path.suffix]
    with av.open(str(path), "w") as container:
        if frames is not None:
            video = container.add_stream(video_codec, rate=rate)
            video.height, video.width, video.pix_fmt = *frames.shape[1:3], "yuv420p"
            if video_codec == "libx264":
                video.options = {"crf": "10"}
            else:
                video.bit_rate = 2_000_000
        if sound is not None:
            audio = container.add_stream(audio_codec, rate=sound_rate, layout="mono")
        container.start_encoding()
        if frames is not None:
            for picture in frames:
                container.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(video.encode())
        if sound is not None:
            frame = av.AudioFrame.from_ndarray(sound[None].astype(np.float32), format="fltp", layout="mono")
            frame.sample_rate = sound_rate
            container.mux(audio.encode(frame))
            container.mux(audio.encode())
    return path


def write_picture(path: Path, pixels: NDArray[np.uint8], mode: str = "RGB") -> Path:
    """``pixels`` [H, W, 3] (converted to Pillow's ``mode``) as a file of the kind that its suffix says."""
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).convert(mode).save(path)
    return path


def noise(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    """A picture [H, W, 3] of random pixels."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def write_tokenizer(folder: Path, words: Iterable[str], lower: bool = True) -> Path:
    """A BERT tokenizer whose vocabulary is [PAD] 0, [UNK] 1, [CLS] 2, [SEP] 3, [MASK] 4 and then ``words``."""
    from transformers import BertTokenizerFast

    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = folder / "words.txt"
    vocabulary.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]), encoding="utf-8")
    BertTokenizerFast(vocab=str(vocabulary), do_lower_case=lower).save_pretrained(folder)
    return folder


def serve(form: Form, media: Iterable[Medium], split: SplitName, folder: Path) -> Column:
    """The column of ``media``, decoded into arrays that are mapped from files in ``folder``."""
    import torch

    samples = [form.decode(medium, split) for medium in media]
    arrays = {}
    folder.mkdir(parents=True, exist_ok=True)
    for name, stored in form.stored(split).items():
        file = folder / f"{split}-{name}.npy"
        values = np.lib.format.open_memmap(file, "w+", stored.dtype, (len(samples), *stored.shape))
        for row, sample in zip(values, samples, strict=True):
            assert sample[name].dtype == np.dtype(stored.dtype)
            assert sample[name].shape[1:] == stored.shape[1:]
            row[: len(sample[name])] = sample[name]
        values.flush()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
            arrays[name] = torch.from_numpy(np.load(file, mmap_mode="r"))
    return form.column(arrays, torch.arange(len(samples)), split)
