"""MNIST's IDX files, plain or gzipped: the training files, the test files (t10k), or both."""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data.base import AbsentDataError, DataError
from data.base.files import read_bytes

IMAGES_MAGIC, LABELS_MAGIC = 2051, 2049
_KINDS = {IMAGES_MAGIC: "images", LABELS_MAGIC: "labels"}
_PARTS = ("train", "t10k")


def find_files(root: str) -> dict[str, tuple[Path, Path]]:
    """Map part (``train``, ``t10k``) -> its files of images and labels; at least one part.

    Raises DataError for a folder without the files, or with half of a pair."""
    folder = Path(root).expanduser()
    if not folder.is_dir():
        raise AbsentDataError(f"{folder}: no such folder; set `mnist_root` to the folder of MNIST's IDX files")
    found = {}
    for part in _PARTS:
        images, labels = (_find(folder, f"{part}-images", "idx3"), _find(folder, f"{part}-labels", "idx1"))
        if images is not None and labels is not None:
            found[part] = images, labels
        elif images is not None or labels is not None:
            lacking = f"{part}-labels-idx1-ubyte" if labels is None else f"{part}-images-idx3-ubyte"
            raise DataError(f"{folder}: {images or labels} is there, but {lacking}[.gz] is not; copy it there too")
    if not found:
        raise AbsentDataError(
            f"{folder}: no MNIST files; expected t10k-images-idx3-ubyte[.gz] and t10k-labels-idx1-ubyte[.gz], "
            "or the same of train"
        )
    return found


def _find(folder: Path, stem: str, kind: str) -> Path | None:
    names = (f"{stem}{separator}{kind}-ubyte{suffix}" for separator in "-." for suffix in ("", ".gz"))
    return next((folder / name for name in names if (folder / name).is_file()), None)


def unpacked(path: Path) -> bytes:
    """Read the file's bytes, decompressed where they are gzip's. Raises DataError."""
    content = read_bytes(path)
    if not content.startswith(b"\x1f\x8b"):
        return content
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: the gzip file is damaged ({error}); copy or download it again") from error


def contents(root: str) -> Iterator[tuple[str, bytes]]:
    """(name, unpacked bytes) of every file: the same whether the files are gzipped or not."""
    for part, paths in sorted(find_files(root).items()):
        for kind, path in zip(("images", "labels"), paths, strict=True):
            yield f"{part}-{kind}", unpacked(path)


def read_idx(path: Path, magic: int) -> NDArray[np.uint8]:
    """Read the array of an IDX file of bytes: [n, height, width] for images (magic 2051), [n] for labels (2049).

    Raises DataError for another magic number and for too few or too many bytes."""
    content = unpacked(path)
    found = int.from_bytes(content[:4], "big")
    if found != magic:
        hint = f"it holds {_KINDS[found]}" if found in _KINDS else "it is no IDX file of bytes"
        raise DataError(
            f"{path}: magic number {found}, expected {magic} ({_KINDS[magic]}): {hint}; check the file names"
        )
    dimensions = magic % 256
    start = 4 + 4 * dimensions
    shape = [int.from_bytes(content[at : at + 4], "big") for at in range(4, start, 4)]
    wanted = start + math.prod(shape)
    if len(content) != wanted:
        how = "truncated" if len(content) < wanted else "too long"
        raise DataError(
            f"{path}: {how}, {len(content)} bytes where its header says {wanted}; copy or download it again"
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def read_mnist(root: str) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.bool_]]:
    """Read images [n, 28, 28] in [0, 1], labels [n], and which images are of the official test part [n]; training files
    first. Raises DataError."""
    images, labels, official = [], [], []
    for part, (image_path, label_path) in find_files(root).items():
        pixels, digits = read_idx(image_path, IMAGES_MAGIC), read_idx(label_path, LABELS_MAGIC)
        if len(pixels) != len(digits):
            raise DataError(f"{image_path}: {len(pixels)} images, but {label_path.name} has {len(digits)} labels")
        if not len(pixels):
            raise DataError(f"{image_path}: no images; copy or download it again")
        if pixels.shape[1:] != (28, 28):
            raise DataError(f"{image_path}: images of {pixels.shape[1]} x {pixels.shape[2]} pixels, expected 28 x 28")
        if digits.size and digits.max() > 9:
            raise DataError(f"{label_path}: label {digits.max()}, expected digits 0 to 9; these are not MNIST's labels")
        images.append(pixels)
        labels.append(digits)
        official.append(np.full(len(digits), part == "t10k"))
    scaled = np.concatenate(images).astype(np.float32) / np.float32(255)
    return scaled, np.concatenate(labels).astype(np.int64), np.concatenate(official)
