from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import data.arrays
from data.arrays import ArrayColumn, ArraysOptions, ArraysSource
from data.base import AbsentDataError, DataError, Dataset, SampleType

N = 40
Maker = Callable[..., Path]


def arrays(**others: Any) -> dict[str, Any]:
    random = np.random.RandomState(0)
    found = {
        "audio": random.rand(N, 5).astype(np.float32),
        "image": random.randint(0, 256, (N, 1, 4, 4)).astype(np.uint8),
        "labels": np.arange(N) % 2,
        **others,
    }
    return {name: values for name, values in found.items() if values is not None}


@pytest.fixture(params=["npz", "folder"])
def write(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Maker:
    monkeypatch.setenv("SWEEP_CACHE", str(tmp_path / "caches"))

    def write(name: str = "set", **others: Any) -> Path:
        if request.param == "npz":
            np.savez(tmp_path / f"{name}.npz", **arrays(**others))
            return tmp_path / f"{name}.npz"
        (tmp_path / name).mkdir()
        for key, values in arrays(**others).items():
            np.save(tmp_path / name / f"{key}.npy", values)
        return tmp_path / name

    return write


def options(root: Path, **others: Any) -> ArraysOptions:
    return ArraysOptions(root=str(root), modalities=["audio", "image"], **others)


def load(root: Path, **others: Any) -> Dataset:
    return ArraysSource.load(options(root, **others))


def indices(dataset: Dataset) -> list[list[int]]:
    """Which rows each split has, by their audio."""
    first = {float(value): k for k, value in enumerate(arrays()["audio"][:, 0])}
    splits = (dataset.train, dataset.validation, dataset.test)
    return [[first[float(x[0])] for x in s.gather(torch.arange(len(s))).inputs["audio"]] for s in splits]


def test_samples_come_out_as_they_went_in(write: Maker) -> None:
    split = np.array(["train"] * 30 + ["validation"] * 4 + ["test"] * 6)
    dataset = load(write(split=split))
    assert (dataset.name, dataset.modalities, dataset.classes) == ("arrays", ("audio", "image"), ("0", "1"))
    assert dataset.shapes() == {"audio": (5,), "image": (1, 4, 4)}
    assert indices(dataset) == [list(range(30)), list(range(30, 34)), list(range(34, 40))]
    batch = dataset.test.gather(torch.tensor([2, 0]))
    assert {x.dtype for x in batch.inputs.values()} == {torch.float32}
    assert torch.equal(batch.inputs["image"], torch.from_numpy(arrays()["image"][[36, 34]]).float())
    assert batch.labels.tolist() == [0, 0]
    again = load(write("other", split=[0] * 30 + [1] * 4 + [2] * 6))
    assert indices(again) == indices(dataset)


def test_without_a_split_each_class_is_held_out_by_its_share(write: Maker) -> None:
    dataset = load(write())
    train, validation, test = indices(dataset)
    assert [len(train), len(validation), len(test)] == [28, 4, 8]
    assert sorted(train + validation + test) == list(range(N))
    assert [sum(k % 2 for k in part) for part in (train, validation, test)] == [14, 2, 4]
    assert dataset.notes == (
        "test: 8 samples held out of training by class, split_seed 0",
        "validation: 4 samples held out of training by class, split_seed 0",
    )
    assert indices(load(write("same"))) == [train, validation, test]
    assert indices(load(write("other"), split_seed=1))[2] != test


def test_a_group_stays_on_one_side(write: Maker) -> None:
    groups = np.arange(N) // 4
    parts = [{k // 4 for k in part} for part in indices(load(write(group=groups)))]
    assert all(parts)
    assert not (parts[0] & parts[1] | parts[0] & parts[2] | parts[1] & parts[2])


def test_groups_that_a_given_split_tears_are_told(write: Maker) -> None:
    split = ["train"] * 30 + ["validation"] * 4 + ["test"] * 6
    dataset = load(write(split=split, group=np.arange(N) // 8))
    assert dataset.notes == ("groups on more than one side of the split: 2 (3, ...)",)


def test_validation_alone_is_held_out_where_the_split_names_none(write: Maker) -> None:
    split = ["train"] * 30 + ["test"] * 10
    dataset = load(write(split=split))
    assert len(dataset.validation) == 4  # 1.5 of each class, rounded
    assert indices(dataset)[2] == list(range(30, 40))


def test_labels_may_be_words_and_classes_named(write: Maker) -> None:
    words = np.array(["no", "yes"])[np.arange(N) % 2]
    assert load(write(labels=words)).classes == ("no", "yes")
    dataset = load(write("turned", labels=words), classes=["yes", "no"])
    assert dataset.classes == ("yes", "no")
    assert dataset.train.labels.tolist() == [1 - k % 2 for k in indices(dataset)[0]]
    assert load(write("named", classes=np.array(["a", "b", "c"]))).classes == ("a", "b", "c")


def test_equal_samples_are_told_and_in_two_splits_allowed_where_asked(write: Maker) -> None:
    split, audio, image = np.array(["train"] * 30 + ["val"] * 4 + ["test"] * 6), arrays()["audio"], arrays()["image"]
    audio[1], image[1] = audio[0], image[0]
    assert load(write(audio=audio, image=image, split=split)).notes == (
        "samples that stand more than once within their split: 1",
    )
    audio[39], image[39] = audio[0], image[0]
    again = write("again", audio=audio, image=image, split=split)
    with pytest.raises(DataError, match=r"\(sample 1 of train and sample 39 of test\)"):
        load(again)
    assert load(again, allow_repeats=True).notes == ("samples in two splits: 1, as allow_repeats says",)


def test_encoders_go_by_shape_and_are_unknown_where_the_files_cannot_be_read(write: Maker) -> None:
    """None of the numbers is read, so that it takes no time."""
    assert ArraysSource.encoders(options(write())) == {"audio": "mlp", "image": "cnn"}
    steps = write("steps", audio=np.full((N, 3, 8), np.nan), image=np.zeros((N, 2, 9), int))
    assert ArraysSource.encoders(options(steps)) == {"audio": "conv1d", "image": "mlp"}
    assert ArraysSource.encoders(options(steps.parent / "nowhere.npz")) == {}
    assert ArraysSource.encoders(options(write("half", image=None))) == {}


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ((40, 3), "look like [T, C], and encoders read [C, T]; save audio.transpose(0, 2, 1)"),
        ((32, 30, 3), "look like [H, W, C], and encoders read [C, H, W]; save audio.transpose(0, 3, 1, 2)"),
        ((28, 28), "look like [H, W], and encoders read [C, T]; if it is a picture, save audio[:, None]"),
    ],
)
def test_axes_that_look_turned_are_told(write: Maker, shape: tuple[int, ...], said: str) -> None:
    random = np.random.RandomState(1)
    found = load(write(audio=random.rand(N, *shape))).notes
    assert found[2:] == (f"audio: samples of the shape {list(shape)} {said}",)
    assert len(load(write("right", audio=random.rand(N, shape[-1], 40))).notes) == 2


def test_files_that_a_mac_leaves_behind_are_no_arrays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWEEP_CACHE", str(tmp_path / "caches"))
    for key, values in arrays().items():
        np.save(tmp_path / f"{key}.npy", values)
        (tmp_path / f"._{key}.npy").write_bytes(b"\0\5\x16\7")
    assert len(load(tmp_path).train) == 28


def test_token_ids_stay_whole_numbers(write: Maker) -> None:
    tokens = np.ones((N, 2, 7), np.int64)
    batch = load(write(image=tokens)).train.gather(torch.tensor([0]))
    assert batch.inputs["image"].dtype == torch.int64


def test_double_precision_becomes_single(write: Maker) -> None:
    batch = load(write(audio=arrays()["audio"].astype(np.float64))).train.gather(torch.tensor([0]))
    assert batch.inputs["audio"].dtype == torch.float32


def test_npy_files_are_mapped_where_they_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWEEP_CACHE", str(tmp_path / "caches"))
    for key, values in arrays().items():
        np.save(tmp_path / f"{key}.npy", values)
    dataset = load(tmp_path)
    mapped = {line.split(maxsplit=5)[-1] for line in Path("/proc/self/maps").read_text().splitlines() if "/" in line}
    assert {str(tmp_path / "audio.npy"), str(tmp_path / "image.npy")} <= mapped
    assert not list((tmp_path / "caches").rglob("*audio*"))
    column = dataset.validation.inputs["audio"]
    assert isinstance(column, ArrayColumn)
    assert column.nbytes == 4 * 5 * 4
    assert len(column.resident("cpu")) == 4


def test_the_fingerprint_is_of_the_content(write: Maker) -> None:
    first = ArraysSource.fingerprint(options(write()))
    assert ArraysSource.fingerprint(options(write("same"))) == first
    assert ArraysSource.fingerprint(options(write("labels", labels=1 - np.arange(N) % 2))) != first
    other = arrays()["audio"]
    other[3, 3] += 1
    assert ArraysSource.fingerprint(options(write("audio", audio=other))) != first


@pytest.mark.parametrize(
    ("rows", "width", "starts", "each"),
    [
        (2, 128, [0, 1], 1),  # just small enough to be read whole
        (6, 8, [0], 8),
        (16, 16, [0, 4, 8, 12], 4),
        (17, 16, [0, 4, 8, 13], 4),  # four pieces from end to end
        (40, 8, [0, 10, 21, 32], 8),
        (3, 128, [0, 0, 1, 2], 1),
    ],
)
def test_the_fingerprint_is_of_pieces_from_end_to_end(
    monkeypatch: pytest.MonkeyPatch, rows: int, width: int, starts: list[int], each: int
) -> None:
    """Recorded runs are found by it: another digest trains all of them again."""
    monkeypatch.setattr(data.arrays, "_SAMPLED", 64)
    monkeypatch.setattr(data.arrays, "_PIECES", 4)
    values = np.random.default_rng(0).integers(0, 256, (rows, width), np.uint8)
    expected = hashlib.sha256(
        f"a/|u1/({rows}, {width})/".encode() + b"".join(values[k : k + each].tobytes() for k in starts)
    )
    assert data.arrays._digest({"a": values}) == expected.hexdigest()[:16]


def test_changed_content_is_never_taken_from_the_cache(write: Maker) -> None:
    root = write()
    before = load(root).train.gather(torch.arange(28)).inputs["image"]
    file = root / "image.npy" if root.is_dir() else root
    changed = arrays(image=arrays()["image"][::-1])
    np.save(file, changed["image"]) if root.is_dir() else np.savez(file, **changed)
    assert not torch.equal(load(root).train.gather(torch.arange(28)).inputs["image"], before)


WRONG = np.where(np.arange(N) == 7, np.nan, 1.0).astype(np.float32)[:, None].repeat(5, 1)


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ({"audio": WRONG}, r"audio\[7\] holds a number that is not finite"),
        ({"audio": np.zeros((N - 1, 5))}, "audio has 39 samples, labels has 40"),
        ({"audio": np.zeros(N)}, r"audio is \[n\], one number a sample; give it a second axis"),
        ({"audio": np.array(["a"] * N)}, "audio has the type <U1; a modality must be of numbers"),
        ({"audio": np.zeros((N, 2), ">f4")}, "audio has the type >f4"),
        ({"audio": None}, "no array called audio; there are: image, labels"),
        ({"labels": None}, "no array called labels"),
        ({"labels": np.zeros((N, 1))}, r"labels must be \[n\].*shape \[40, 1\]; save labels\.ravel\(\)"),
        ({"labels": np.eye(2)[np.arange(N) % 2]}, r"labels must be \[n\].*shape \[40, 2\]; save labels\.argmax\(1\)"),
        ({"labels": np.zeros(N, int)}, r"labels\[0\]: every sample has the label 0; there must be two classes"),
        ({"labels": np.arange(N) % 2 + 0.5}, r"labels\[0\] is 0.5; labels must be whole numbers"),
        ({"labels": np.arange(N) % 2 - 1}, r"labels\[0\] is -1; labels go from 0 to 1"),
        ({"labels": 2 * (np.arange(N) % 2)}, r"labels\[1\] is 2, and no sample has the label 1"),
        ({"classes": np.array(["a"])}, r"labels\[1\] is 1; labels go from 0 to 0"),
        ({"split": ["tain"] * N}, r"split\[0\] is 'tain'; it must be train, validation or test"),
        ({"split": ["train"] * N}, "no sample is of the test split"),
        ({"group": ["a"] * 3}, "group has 3 samples"),
        (
            {"labels": np.where(np.arange(N) % 2, 10**9, 0)},
            r"labels\[1\] is 1000000000, and no sample has the label 1",
        ),
        (
            {"audio": np.where(np.arange(N) == 7, 1e300, 1)[:, None]},
            r"audio\[7\] holds 1e\+300, beyond single precision",
        ),
        ({"audio": np.ones((N, 5)), "image": np.ones((N, 5))}, "samples in two splits: 1 "),
    ],
)
def test_arrays_that_make_no_sense_are_refused(write: Maker, others: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        load(write(**others))


def test_files_that_are_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        load(tmp_path / "absent.npz")
    with pytest.raises(DataError, match="no npy or npz file"):
        load(tmp_path)
    (tmp_path / "set.npz").write_bytes(b"PK half")
    with pytest.raises(DataError, match=r"set.npz: not an npy or npz file"):
        load(tmp_path / "set.npz")
    np.save(tmp_path / "o.npy", np.array([{}], object))
    with pytest.raises(DataError, match=r"o.npy: not an npy or npz file of plain arrays"):
        load(tmp_path / "o.npy")
    os.remove(tmp_path / "o.npy")
    np.savez(tmp_path / "set.npz", audio=np.zeros((2, 2)))
    np.save(tmp_path / "audio.npy", np.zeros((2, 2)))
    with pytest.raises(DataError, match="the array audio is in another file"):
        load(tmp_path)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
def test_what_may_not_be_read_is_told(write: Maker, tmp_path: Path) -> None:
    root = write()
    # What is imported on the way may lie where the other user cannot read.
    load(root)
    tmp_path.chmod(0o700)
    os.seteuid(65534)
    try:
        with pytest.raises(DataError, match=r"cannot be read \(Permission denied\)"):
            load(root)
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("name", ["labels", "a b", "../x", ""])
def test_names_that_cannot_be_modalities_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="cannot name a modality"):
        ArraysOptions(root="x", modalities=[name])


# Large arrays -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", [0, 6, 7, 20, 39])
def test_a_number_that_is_none_is_found_in_whatever_part_it_lies(
    write: Maker, monkeypatch: pytest.MonkeyPatch, row: int
) -> None:
    monkeypatch.setattr(data.arrays, "_CHUNK", 7 * 5 * 4)  # seven samples at a time
    audio = arrays()["audio"]
    audio[row, 3] = np.inf
    with pytest.raises(DataError, match=rf"audio\[{row}\] holds a number that is not finite"):
        load(write(audio=audio))


def test_a_sample_larger_than_a_part_is_looked_through_too(write: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data.arrays, "_CHUNK", 3)
    assert len(load(write("whole")).train) == 28
    audio = arrays()["audio"]
    audio[11, 4] = np.nan
    with pytest.raises(DataError, match=r"audio\[11\] holds"):
        load(write("broken", audio=audio))


def changed_rows(write: Maker, rows: int) -> set[int]:
    """Rows of an array [rows, 5] in single precision whose change is another fingerprint."""

    def fingerprint(name: str, row: int | None = None) -> str:
        audio = np.zeros((rows, 5), np.float32)
        if row is not None:
            audio[row, 4] = 1
        root = write(name, audio=audio, image=np.zeros((rows, 1), np.uint8), labels=np.arange(rows) % 2)
        return ArraysSource.fingerprint(options(root))

    plain = fingerprint("plain")
    return {row for row in range(rows) if fingerprint(f"changed {row}", row) != plain}


@pytest.mark.parametrize(
    ("rows", "seen"), [(8, {*range(8)}), (9, {0, 1, 2, 3, 4, 5, 7, 8}), (16, {0, 1, 4, 5, 9, 10, 14, 15})]
)
def test_small_arrays_are_known_by_every_sample_and_large_ones_by_pieces_from_end_to_end(
    write: Maker, monkeypatch: pytest.MonkeyPatch, rows: int, seen: set[int]
) -> None:
    monkeypatch.setattr(data.arrays, "_SAMPLED", 2 * 5 * 4)  # two samples a piece
    monkeypatch.setattr(data.arrays, "_PIECES", 4)
    assert changed_rows(write, rows) == seen


def test_an_array_of_another_type_shape_or_name_is_another_dataset(write: Maker) -> None:
    ones = np.ones((N, 4), np.int32)
    shapes = {"a": ones, "b": ones.view(np.float32), "c": ones.reshape(N, 2, 2), "d": ones.astype(np.int64)[:, :2]}
    found = {name: ArraysSource.fingerprint(options(write(name, audio=values))) for name, values in shapes.items()}
    swapped = write("e", audio=arrays()["image"], image=arrays()["audio"])
    found |= {"e": ArraysSource.fingerprint(options(swapped)), "f": ArraysSource.fingerprint(options(write("f")))}
    assert len({*found.values()}) == len(found)
    assert ArraysSource.fingerprint(options(write("again", audio=ones))) == found["a"]


def test_the_fingerprint_of_small_arrays_is_that_of_all_their_bytes(
    write: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs are found again by it, so that it may not change."""
    monkeypatch.setattr(data.arrays, "_SAMPLED", 2 * 5 * 4)
    monkeypatch.setattr(data.arrays, "_PIECES", 4)
    rows = {name: values[:6] for name, values in arrays().items()}
    rows["image"] = rows["image"][:, :, :2, :2]
    state = hashlib.sha256()
    for name in ("audio", "image", "labels"):
        state.update(f"{name}/{rows[name].dtype.str}/{rows[name].shape}/".encode() + rows[name].tobytes())
    assert ArraysSource.fingerprint(options(write(**rows))) == state.hexdigest()[:16]


# Before anything is loaded --------------------------------------------------------------------------------------------


def test_a_description_tells_samples_and_labels(write: Maker) -> None:
    root = write(text=np.zeros((N, 2, 7), np.int32), column_order=np.asfortranarray(np.ones((N, 3, 2))))
    chosen = ArraysOptions(root=str(root), modalities=["audio", "image", "text", "column_order"])
    found, dataset = ArraysSource.describe(chosen), ArraysSource.load(chosen)
    assert found.samples == {
        "audio": SampleType((5,)),
        "image": SampleType((1, 4, 4)),
        "text": SampleType((2, 7), tokens=True),
        "column_order": SampleType((3, 2)),
    }
    assert {name: sample.shape for name, sample in found.samples.items()} == dataset.shapes()
    for name in ("train", "validation", "test"):
        assert found.labels[name].tolist() == getattr(dataset, name).labels.tolist()


def spoilt(row: int, rows: int = 400) -> dict[str, Any]:
    values = np.zeros((rows, 5), np.float32)
    values[row, 2] = np.nan
    return {"audio": values, "image": np.zeros((rows, 1, 4, 4)), "labels": np.arange(rows) % 2}


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (
            {"image": np.zeros((N - 1, 1, 4, 4))},
            "image has 39 samples, labels has 40; give each of them one row",
        ),
        ({"labels": np.arange(N) % 2 + 1}, "is 2, and no sample has the label 0; number them from 0"),
        ({"audio": np.zeros((N, 5), complex)}, "audio has the type complex128; a modality must be of numbers"),
        ({"audio": np.zeros(N)}, r"audio is \[n\], one number a sample"),
        ({"labels": None}, "no array called labels"),
        ({"split": np.array(["train", "test"] * (N // 2))[: N // 2]}, "split has 20 samples, labels has 40"),
        ({"audio": np.array(1.0)}, "audio has no axis of samples: it is one number; give each of them one row"),
        ({"audio": np.array([object()] * N)}, "not an npy or npz file of plain arrays .*; write it by numpy.savez?$"),
        (spoilt(255), r"audio\[255\] holds a number that is not finite; replace such numbers"),
    ],
)
def test_a_description_finds_what_loading_would(write: Maker, found: dict[str, Any], message: str) -> None:
    root = write(**found)
    with pytest.raises(DataError, match=message):
        ArraysSource.describe(options(root))
    with pytest.raises(DataError, match=message):
        load(root)


def test_what_lies_behind_the_first_rows_is_found_by_loading_alone(write: Maker) -> None:
    root = write(**spoilt(256))
    assert ArraysSource.describe(options(root)).samples["audio"] == SampleType((5,))
    with pytest.raises(DataError, match=r"audio\[256\] holds a number that is not finite"):
        load(root)


def test_no_more_than_the_first_rows_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = 100_000
    np.savez(tmp_path / "large.npz", **spoilt(0, rows) | {"audio": np.zeros((rows, 5), np.float32)})
    read = 0
    own = zipfile.ZipExtFile.read

    def counted(stream: zipfile.ZipExtFile, size: int | None = -1) -> bytes:
        nonlocal read
        content = own(stream, size)
        read += len(content)
        return content

    monkeypatch.setattr(zipfile.ZipExtFile, "read", counted)
    ArraysSource.describe(options(tmp_path / "large.npz"))
    labels, first = 8 * rows, 256 * (5 * 4 + 16 * 8)
    assert read < labels + first + 4096


def test_data_that_is_not_there_is_told_from_data_that_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for root in (tmp_path / "gone.npz", tmp_path / "empty"):
        with pytest.raises(AbsentDataError):
            ArraysSource.describe(options(root))
    whole = tmp_path / "set.npz"
    np.savez(whole, **arrays())
    whole.write_bytes(whole.read_bytes()[:500])
    for act in (ArraysSource.describe, ArraysSource.load):
        said = r"not an npy or npz file of plain arrays \(it is cut off or damaged\); copy it .* again by numpy.savez$"
        with pytest.raises(DataError, match=said) as caught:
            act(options(whole))
        assert not isinstance(caught.value, AbsentDataError)
