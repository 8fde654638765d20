from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data import _mnist
from data._files import digest, read_bytes
from data._fsdd import find_recordings, missing_recordings
from data._wav import read_wav
from data.base import DataError

STUB = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 4820\n"


# Files --------------------------------------------------------------------------------------------------------------


def test_digest_knows_names_contents_and_their_borders() -> None:
    files = [("a", b"xy"), ("b", b"z")]
    assert digest(files) == digest(iter(files))
    assert len(digest(files)) == 16
    others = [
        [("a", b"x"), ("b", b"yz")],
        [("a", b"xy"), ("c", b"z")],
        [("a", b"xy")],
        [("b", b"z"), ("a", b"xy")],
        [("ax", b"y"), ("b", b"z")],
    ]
    assert len({digest(files), *map(digest, others)}) == 6


def test_a_file_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.wav: cannot be read \(No such file"):
        read_bytes(tmp_path / "gone.wav")
    (tmp_path / "empty.wav").touch()
    with pytest.raises(DataError, match=r"empty\.wav: the file is empty"):
        read_bytes(tmp_path / "empty.wav")
    (tmp_path / "stub.wav").write_bytes(STUB)
    with pytest.raises(DataError, match=r"stub\.wav: a Git LFS pointer.*git lfs pull"):
        read_bytes(tmp_path / "stub.wav")


# WAV ----------------------------------------------------------------------------------------------------------------


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


# Recordings ---------------------------------------------------------------------------------------------------------


def test_recordings_are_found_from_both_folders_in_the_order_of_names(fsdd_root: Path) -> None:
    recordings = find_recordings(str(fsdd_root))
    assert recordings == find_recordings(str(fsdd_root / "recordings"))
    assert len(recordings) == 2 * 10 * 12
    assert [r.path.name for r in recordings[:4]] == ["0_ann_0.wav", "0_ann_1.wav", "0_ann_10.wav", "0_ann_11.wav"]
    third = recordings[2]
    assert (third.digit, third.speaker, third.index) == (0, "ann", 10)


def test_other_files_beside_the_recordings_are_left_alone(tmp_path: Path, fsdd: Any) -> None:
    folder = fsdd(tmp_path, ["ann"], [0]) / "recordings"
    (folder / "README.md").write_text("hello")
    (folder / "._0_ann_0.wav").write_bytes(b"\x00")
    assert len(find_recordings(str(tmp_path))) == 10


def test_a_wrong_root_is_named_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere: no such folder; set `root`.*recordings"):
        find_recordings(str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match="no WAV files; set `root`"):
        find_recordings(str(tmp_path))
    (tmp_path / "recordings").mkdir()
    with pytest.raises(DataError, match="recordings: no WAV files"):
        find_recordings(str(tmp_path))


@pytest.mark.parametrize(
    "name", ["x_ann_0.wav", "10_ann_0.wav", "0_ann.wav", "0_ann_b.wav", "0_an_n_0.wav", "0_ann_00.wav", "0_ann_0.WAV"]
)
def test_a_name_out_of_form_is_refused(tmp_path: Path, wav: Any, name: str) -> None:
    wav(tmp_path / name, [1])
    with pytest.raises(DataError, match=rf"{name}: the name is not of the form DIGIT_SPEAKER_INDEX\.wav"):
        find_recordings(str(tmp_path))


def test_gaps_are_counted_and_named(tmp_path: Path, fsdd: Any) -> None:
    folder = fsdd(tmp_path, ["ann", "bob"], range(3)) / "recordings"
    assert missing_recordings(find_recordings(str(tmp_path))) == (0, [])
    for name in ("4_bob_1.wav", "7_ann_2.wav", "9_bob_0.wav", "9_bob_1.wav"):
        (folder / name).unlink()
    count, first = missing_recordings(find_recordings(str(tmp_path)))
    assert count == 4
    assert first == ["7_ann_2.wav", "4_bob_1.wav", "9_bob_0.wav"]


# MNIST --------------------------------------------------------------------------------------------------------------


def test_images_labels_and_parts(tmp_path: Path, mnist: Any) -> None:
    mnist(tmp_path, "t10k", each=2)
    images, labels, official = _mnist.read_mnist(str(tmp_path))
    assert images.shape == (20, 28, 28)
    assert images.dtype == np.float32
    assert labels.tolist() == list(range(10)) * 2
    assert official.all()
    assert images[3, 0, 0] == np.float32(63 / 255)  # shade 20 times digit 3, plus its number
    assert images[3, 3].tolist() == [1.0] * 28
    mnist(tmp_path, "train", each=3, packed=False)
    images, labels, official = _mnist.read_mnist(str(tmp_path))
    assert official.tolist() == [False] * 30 + [True] * 20


def test_the_other_spelling_of_the_names_is_found(tmp_path: Path, mnist: Any) -> None:
    mnist(tmp_path, packed=False)
    for path in list(tmp_path.iterdir()):
        path.rename(tmp_path / path.name.replace("-idx", ".idx"))
    assert list(_mnist.find_files(str(tmp_path))) == ["t10k"]


def test_compression_does_not_change_the_contents(tmp_path: Path, mnist: Any) -> None:
    packed, plain = mnist(tmp_path / "a"), mnist(tmp_path / "b", packed=False)
    assert list(_mnist.contents(str(packed))) == list(_mnist.contents(str(plain)))
    assert [name for name, _ in _mnist.contents(str(packed))] == ["t10k-images", "t10k-labels"]


def test_missing_files_are_named(tmp_path: Path, mnist: Any) -> None:
    with pytest.raises(DataError, match=r"nowhere: no such folder; set `mnist_root`"):
        _mnist.find_files(str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match="no MNIST files; expected t10k-images-idx3-ubyte"):
        _mnist.find_files(str(tmp_path))
    mnist(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(DataError, match=r"t10k-images.* is there, but t10k-labels-idx1-ubyte\[\.gz\] is not"):
        _mnist.find_files(str(tmp_path))


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
            _mnist.read_idx(path, 2051)


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
        _mnist.read_mnist(str(tmp_path))
