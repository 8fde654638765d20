"""Small copies, made on the spot, of what the datasets read."""

from __future__ import annotations

import gzip
import struct
import wave
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest

Writer = Callable[..., Path]


def write_wav(path: Path, samples: Iterable[int], rate: int = 8000, channels: int = 1, width: int = 2) -> Path:
    with wave.open(str(path), "wb") as sound:
        sound.setnchannels(channels)
        sound.setsampwidth(width)
        sound.setframerate(rate)
        sound.writeframes(np.asarray(samples, {1: "u1", 2: "<i2", 4: "<i4"}[width]).tobytes())
    return path


def write_fsdd(root: Path, speakers: Iterable[str] = ("ann", "bob"), indices: Iterable[int] = range(12)) -> Path:
    """Every digit of every speaker at every index, as a short tone; each recording has its own loudness."""
    folder = root / "recordings"
    folder.mkdir(parents=True)
    time = np.arange(800) / 8000
    for number, speaker in enumerate(speakers):
        for digit in range(10):
            for index in indices:
                tone = np.sin(2 * np.pi * 150 * (digit + 1) * time) * (8000 + 2000 * number + 100 * index)
                write_wav(folder / f"{digit}_{speaker}_{index}.wav", tone)
    return root


def idx_bytes(magic: int, values: np.ndarray) -> bytes:
    return struct.pack(f">{1 + values.ndim}I", magic, *values.shape) + values.astype(np.uint8).tobytes()


def write_mnist(root: Path, part: str = "t10k", each: int = 10, packed: bool = True, shade: int = 20) -> Path:
    """``each`` images of every digit; image k has the pixel values shade * digit + k % 16 everywhere but in row k."""
    root.mkdir(parents=True, exist_ok=True)
    labels = np.arange(10 * each) % 10
    images = np.zeros((len(labels), 28, 28), np.uint8) + (shade * labels + np.arange(len(labels)) % 16)[:, None, None]
    images[np.arange(len(labels)), np.arange(len(labels)) % 28] = 255
    for name, content in (
        (f"{part}-images-idx3-ubyte", idx_bytes(2051, images)),
        (f"{part}-labels-idx1-ubyte", idx_bytes(2049, labels)),
    ):
        if packed:
            (root / f"{name}.gz").write_bytes(gzip.compress(content))
        else:
            (root / name).write_bytes(content)
    return root


@pytest.fixture
def wav() -> Writer:
    return write_wav


@pytest.fixture
def mnist() -> Writer:
    return write_mnist


@pytest.fixture
def idx() -> Callable[[int, np.ndarray], bytes]:
    return idx_bytes


@pytest.fixture
def fsdd() -> Writer:
    return write_fsdd


@pytest.fixture(scope="session")
def fsdd_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two speakers, twelve recordings of each digit; not to be changed."""
    return write_fsdd(tmp_path_factory.mktemp("fsdd"))


@pytest.fixture(scope="session")
def mnist_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten test images of each digit; not to be changed."""
    return write_mnist(tmp_path_factory.mktemp("mnist"))
