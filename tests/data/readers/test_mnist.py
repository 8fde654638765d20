"""MNIST's IDX files, plain or gzipped."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.base import DataError
from data.readers.mnist import contents, find_files, read_idx, read_mnist

STUB = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 4820\n"


def test_images_labels_and_parts(tmp_path: Path, mnist: Any) -> None:
    mnist(tmp_path, "t10k", each=2)
    images, labels, official = read_mnist(str(tmp_path))
    assert images.shape == (20, 28, 28)
    assert images.dtype == np.float32
    assert labels.tolist() == list(range(10)) * 2
    assert official.all()
    assert images[3, 0, 0] == np.float32(63 / 255)  # shade 20 times digit 3, plus its number
    assert images[3, 3].tolist() == [1.0] * 28
    mnist(tmp_path, "train", each=3, packed=False)
    images, labels, official = read_mnist(str(tmp_path))
    assert official.tolist() == [False] * 30 + [True] * 20


def test_the_other_spelling_of_the_names_is_found(tmp_path: Path, mnist: Any) -> None:
    mnist(tmp_path, packed=False)
    for path in list(tmp_path.iterdir()):
        path.rename(tmp_path / path.name.replace("-idx", ".idx"))
    assert list(find_files(str(tmp_path))) == ["t10k"]


def test_compression_does_not_change_the_contents(tmp_path: Path, mnist: Any) -> None:
    packed, plain = mnist(tmp_path / "a"), mnist(tmp_path / "b", packed=False)
    assert list(contents(str(packed))) == list(contents(str(plain)))
    assert [name for name, _ in contents(str(packed))] == ["t10k-images", "t10k-labels"]


def test_missing_files_are_named(tmp_path: Path, mnist: Any) -> None:
    with pytest.raises(DataError, match=r"nowhere: no such folder; set `mnist_root`"):
        find_files(str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match="no MNIST files; expected t10k-images-idx3-ubyte"):
        find_files(str(tmp_path))
    mnist(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(DataError, match=r"t10k-images.* is there, but t10k-labels-idx1-ubyte\[\.gz\] is not"):
        find_files(str(tmp_path))


def test_damaged_idx_files_are_refused(tmp_path: Path, idx: Any) -> None:
    path = tmp_path / "images"
    whole = idx(2051, np.zeros((2, 28, 28)))
    for content, message in [
        (whole[:-1], "truncated, 1583 bytes where its header says 1584"),
        (whole[:10], "truncated"),
        (whole + b"\x00", "too long, 1585 bytes"),
        (idx(2049, np.zeros(2)), r"magic number 2049, expected 2051 \(images\): it holds labels"),
        (b"P5 28 28 255", "magic number .* no IDX file"),
        (gzip.compress(whole)[:-9], "the gzip file is damaged"),
        (gzip.compress(whole)[:12] + b"\xff" * 40, "the gzip file is damaged"),
        (STUB, "Git LFS pointer"),
        (b"", "the file is empty"),
    ]:
        path.write_bytes(content)
        with pytest.raises(DataError, match=rf"images: .*{message}"):
            read_idx(path, 2051)


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        ((3, 28, 28), [1, 2], "3 images, but t10k-labels-idx1-ubyte has 2 labels"),
        ((0, 28, 28), [], "t10k-images-idx3-ubyte: no images"),
        ((2, 32, 32), [1, 2], "images of 32 x 32 pixels, expected 28 x 28"),
        ((2, 28, 28), [1, 10], "label 10, expected digits 0 to 9"),
    ],
)
def test_files_that_are_not_mnist_are_refused(
    tmp_path: Path, idx: Any, images: tuple[int, ...], labels: list[int], message: str
) -> None:
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(idx(2051, np.zeros(images)))
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(idx(2049, np.array(labels)))
    with pytest.raises(DataError, match=message):
        read_mnist(str(tmp_path))
