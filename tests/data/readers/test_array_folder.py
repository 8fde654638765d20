"""Arrays of a user's own: which files count, which arrays of them are read, and how much of each."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.base import AbsentDataError, DataError
from data.readers.array_folder import FIRST, open_first, open_headers, read_arrays

N = FIRST + 40
AUDIO = np.arange(N * 2, dtype=np.float32).reshape(N, 2)
IMAGE = np.arange(N * 4, dtype=np.uint8).reshape(N, 2, 2)
LABELS = np.arange(N) % 3


def folder(root: Path, **arrays: Any) -> Path:
    root.mkdir(exist_ok=True)
    for name, values in arrays.items():
        np.save(root / f"{name}.npy", values)
    return root


def archive(path: Path, **arrays: Any) -> Path:
    np.savez_compressed(path, **arrays)
    return path


def test_modalities_come_first_then_what_every_set_may_have_and_nothing_else(tmp_path: Path) -> None:
    root = folder(tmp_path / "set", split=LABELS, labels=LABELS, audio=AUDIO, note=LABELS)
    archive(root / "more.npz", image=IMAGE, classes=np.array(["a", "b", "c"]), other=LABELS)
    (root / "readme.txt").write_text("x")
    (root / ".audio.npy").write_bytes(b"left behind")
    found = read_arrays(root, ["image", "audio"])
    assert list(found) == ["image", "audio", "labels", "split", "classes"]
    assert np.array_equal(found["image"], IMAGE)
    assert isinstance(found["audio"], np.memmap)
    assert np.array_equal(found["audio"], AUDIO)


def test_one_file_may_hold_all(tmp_path: Path) -> None:
    found = read_arrays(archive(tmp_path / "set.npz", labels=LABELS, audio=AUDIO, group=LABELS), ["audio"])
    assert list(found) == ["audio", "labels", "group"]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({}, r"set: no npy or npz file; give the folder that holds audio, image"),
        ({"audio": AUDIO, "labels": LABELS}, r"set: no array called image; there are: audio, labels$"),
        ({"audio": AUDIO, "image": IMAGE}, r"set: no array called labels; there are: audio, image$"),
    ],
)
def test_what_is_missing_is_named_beside_what_is_there(tmp_path: Path, arrays: Any, message: str) -> None:
    with pytest.raises(DataError, match=message) as refused:
        read_arrays(folder(tmp_path / "set", **arrays), ["audio", "image"])
    assert isinstance(refused.value, AbsentDataError) is not bool(arrays)


def test_an_array_in_two_files_is_refused(tmp_path: Path) -> None:
    root = folder(tmp_path / "set", audio=AUDIO, labels=LABELS)
    archive(root / "again.npz", audio=AUDIO)
    with pytest.raises(DataError, match=r"audio\.npy: the array audio is in another file of .*set too; keep one"):
        read_arrays(root, ["audio"])


def test_a_folder_that_cannot_be_listed_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path) -> Any:
        raise PermissionError(13, os.strerror(13))

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(DataError, match=r"set: cannot be read \(Permission denied\); change its permissions"):
        read_arrays(folder(tmp_path / "set"), ["audio"])


@pytest.mark.parametrize("opener", [None, open_headers, lambda file, wanted: open_first(file, wanted, {})])
def test_damage_and_absence_are_errors_in_words(tmp_path: Path, opener: Any) -> None:
    with pytest.raises(AbsentDataError, match=r"none\.npz: no such file; set root to an npz file or a folder of npy"):
        read_arrays(tmp_path / "none.npz", ["audio"], opener)
    (tmp_path / "cut.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(
        DataError, match=r"cut\.npy: not an npy or npz file .* \(it is cut off or damaged\); .* again by numpy\.save$"
    ):
        read_arrays(tmp_path / "cut.npy", ["audio"], opener)
    np.savez(tmp_path / "objects.npz", audio=np.array([{}], dtype=object))
    with pytest.raises(DataError, match=r"objects\.npz: not an npy or npz file .*audio holds Python objects"):
        read_arrays(tmp_path / "objects.npz", ["audio"], opener)


def test_a_file_that_the_disk_does_not_give_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path) -> bool:
        raise OSError(5, os.strerror(5))

    monkeypatch.setattr(zipfile, "is_zipfile", fail)
    with pytest.raises(DataError, match=r"set\.npz: cannot be read \(Input/output error\)"):
        read_arrays(tmp_path / "set.npz", ["audio"])


# Headers and first rows -------------------------------------------------------------------------------------------


def test_headers_give_types_and_shapes_in_no_memory(tmp_path: Path) -> None:
    path = archive(tmp_path / "set.npz", audio=AUDIO, image=IMAGE, note=LABELS)
    found = open_headers(path, {"audio", "image"})
    assert found["note"] is None
    for name, values in (("audio", AUDIO), ("image", IMAGE)):
        told = found[name]
        assert told is not None
        assert (told.shape, told.dtype) == (values.shape, values.dtype)
        assert not told.any()
        assert told.base is not None
        assert told.strides == (0,) * values.ndim
    (only,) = open_headers(folder(tmp_path, audio=AUDIO) / "audio.npy", set()).items()
    assert only[0] == "audio"
    assert isinstance(only[1], np.memmap)


def test_of_an_archive_the_first_rows_of_each_modality_are_read_and_the_rest_whole(tmp_path: Path) -> None:
    columns = np.asfortranarray(AUDIO + 1)
    path = archive(tmp_path / "set.npz", audio=AUDIO, turned=columns, few=IMAGE[:3], one=np.float32(7), note=LABELS,
                   labels=LABELS)  # fmt: skip
    first: dict[str, Any] = {}
    found = open_first(path, {"audio", "turned", "few", "one", "labels"}, first)
    assert set(first) == {"audio", "turned", "few", "one"}
    assert np.array_equal(first["audio"], AUDIO[:FIRST])
    assert np.array_equal(first["turned"], columns[:FIRST])
    assert np.array_equal(first["few"], IMAGE[:3])
    assert first["one"] == 7
    shapes = {name: values.shape for name, values in found.items() if values is not None}
    assert shapes == {"audio": (N, 2), "turned": (N, 2), "few": (3, 2, 2), "one": (), "labels": (N,)}
    assert np.array_equal(found["labels"], LABELS)  # type: ignore[arg-type]
    assert found["audio"] is not None
    assert (found["audio"].dtype, bool(found["audio"].any())) == (np.float32, False)
    assert found["note"] is None


def test_of_an_npy_file_the_first_rows_are_of_its_map(tmp_path: Path) -> None:
    root, first = folder(tmp_path, audio=AUDIO, one=np.float32(7)), dict[str, Any]()
    assert np.array_equal(open_first(root / "audio.npy", {"audio"}, first)["audio"], AUDIO)  # type: ignore[arg-type]
    open_first(root / "one.npy", {"one"}, first)
    assert np.array_equal(first["audio"], AUDIO[:FIRST])
    assert first["one"] == 7
