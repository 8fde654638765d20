"""npz and npy files from anywhere: damage is told, what is not asked for is not read, no header sizes memory."""

from __future__ import annotations

import io
import random
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.arrays import ArraysOptions, ArraysSource
from data.base import DataError
from data.readers.numpy_files import NumpyFileError, read_named


def header(shape: tuple[int, ...], dtype: Any = np.float32) -> bytes:
    stream = io.BytesIO()
    described = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, described)
    return stream.getvalue()


@pytest.fixture
def npz(tmp_path: Path) -> Path:
    path = tmp_path / "mine.npz"
    generator = np.random.default_rng(0)
    np.savez(path, x=generator.normal(size=(60, 4)).astype("f4"), labels=np.arange(60) % 3, other=np.zeros(5))
    return path


def test_only_named_arrays_are_read(npz: Path) -> None:
    found = read_named(npz, {"x", "labels", "absent"})
    assert found["other"] is None
    assert {name: values.shape for name, values in found.items() if values is not None} == {
        "x": (60, 4),
        "labels": (60,),
    }


def test_an_unnamed_array_takes_no_memory_however_large(npz: Path) -> None:
    with zipfile.ZipFile(npz, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros.npy", header((2**24,), np.uint8) + bytes(2**24))
    tracemalloc.start()
    options = ArraysOptions(root=str(npz), modalities=["x"])
    ArraysSource.fingerprint(options)
    ArraysSource.describe(options)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**22


@pytest.mark.parametrize(
    "shape", [(2**45,), (2**40, 2**40), (2**62, 4), (61, 4), (59, 4), (60, -4), (0, 2**60), (-1, -240)]
)
def test_a_header_that_says_other_than_the_file_holds_is_told(npz: Path, shape: tuple[int, ...]) -> None:
    with zipfile.ZipFile(npz, "w") as archive:
        archive.writestr("x.npy", header(shape) + bytes(60 * 4 * 4))
        archive.writestr("labels.npy", header((60,), np.int64) + bytes(60 * 8))
    with pytest.raises(NumpyFileError, match=r"x .*bytes|negative|x "):
        read_named(npz, {"x"})
    source = ArraysSource
    for asked in (source.fingerprint, source.describe, source.load):
        with pytest.raises(DataError, match=r"mine\.npz: not an npy or npz file of plain arrays"):
            asked(ArraysOptions(root=str(npz), modalities=["x"]))


ODD = {
    "x": [np.array(1.0), np.zeros((60, 4), "c8"), np.array(["a"] * 60), np.zeros((60, 4), "M8[s]"), np.zeros((60, 0))],
    "labels": [np.array(1), np.zeros((60, 2)), np.zeros(60, "M8[s]"), np.zeros(60, "V3"), np.zeros(60, "c8")],
    "split": [np.array("train"), np.zeros((60, 2)), np.zeros(60, "V3"), np.array([b"\xff"] * 60)],
    "group": [np.array(1), np.zeros((60, 2)), np.zeros(60, "V3"), np.array([b"\xff"] * 60)],
    "classes": [np.array("a"), np.zeros((3, 2)), np.array(3), np.array([b"\xff", b"b", b"c"])],
}


@pytest.mark.parametrize(("name", "number"), [(name, n) for name, several in ODD.items() for n in range(len(several))])
def test_arrays_of_odd_kinds_are_told(npz: Path, name: str, number: int) -> None:
    with np.load(npz) as file:
        arrays = dict(file)
    np.savez(npz, **{**arrays, name: ODD[name][number]})
    source = ArraysSource
    options = ArraysOptions(root=str(npz), modalities=["x"])
    for asked in (source.describe, source.load):
        with pytest.raises(DataError):
            asked(options)


@pytest.mark.parametrize("kind", ["npz", "npy"])
def test_mutants_of_a_file_are_read_or_told(npz: Path, tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "several"
    folder.mkdir()
    with np.load(npz) as file:
        np.save(folder / "labels.npy", file["labels"])
        np.save(folder / "x.npy", file["x"])
    target = npz if kind == "npz" else folder / "x.npy"
    whole, chance, told = target.read_bytes(), random.Random(0), list[str]()
    source = ArraysSource
    options = ArraysOptions(root=str(npz if kind == "npz" else folder), modalities=["x"])
    for _ in range(160):
        mutant = bytearray(whole)
        match chance.randrange(4):
            case 0:
                del mutant[chance.randrange(len(mutant)) :]
            case 1:
                place = chance.randrange(min(200, len(mutant)))
                mutant[place] = chance.randrange(256)
            case 2:
                for _ in range(8):
                    mutant[-1 - chance.randrange(400)] = chance.randrange(256)
            case _:
                place = chance.randrange(len(mutant))
                mutant[place : place + 16] = bytes(chance.randrange(256) for _ in range(16))
        target.write_bytes(mutant)
        for asked in (source.fingerprint, source.describe):
            try:
                asked(options)
            except DataError as error:
                told.append(str(error))
    assert len(told) > 40
    assert not [said for said in told if "\n" in said]
