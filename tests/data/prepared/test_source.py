"""Datasets of media files come out of their cache."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support.binary_files_dataset import LENGTH, Bytes, Shelf, ShelfOptions, write_shelf

from data.base import DataError, Dataset, SampleType
from data.prepared import Item, Listing


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_shelf(tmp_path / "shelf")


def load(root: Path, allowed_missing: float = 0.0) -> Dataset:
    return Shelf.load(ShelfOptions(root=str(root), allowed_missing=allowed_missing))


def stored(root: Path, name: str) -> list[float]:
    content = (root / name).read_bytes()
    return [*map(float, content), *[0.0] * (LENGTH - len(content))]


def test_a_dataset_comes_out_of_its_cache(root: Path) -> None:
    dataset = load(root)
    assert (dataset.name, dataset.modalities, dataset.classes) == ("shelf", ("bytes",), ("no", "yes"))
    assert [len(split) for split in (dataset.train, dataset.validation, dataset.test)] == [40, 6, 6]
    assert dataset.shapes() == {"bytes": (LENGTH,)}
    batch = dataset.train.gather(torch.tensor([3, 0]))
    assert batch.inputs["bytes"].tolist() == [stored(root, "train/003_1.bin"), stored(root, "train/000_0.bin")]
    assert batch.labels.tolist() == [1, 0]
    assert dataset.notes == ("profile short: bytes Bytes(length=64, pause=0.0)",)


def test_the_fingerprint_is_the_key_of_the_cache(root: Path) -> None:
    options = ShelfOptions(root=str(root))
    print_ = Shelf.fingerprint(options)
    assert Shelf.preparation(options).folder.name == f"shelf-short-{print_}"
    assert Shelf.fingerprint(ShelfOptions(root=str(root), allowed_missing=0.5, split_seed=3)) == print_
    (root / "test/000_0.bin").write_bytes(b"other")
    assert Shelf.fingerprint(options) != print_


def test_lists_are_described_without_a_medium_and_what_is_served_of_it_where_the_form_decides(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ShelfOptions(root=str(root))
    monkeypatch.setattr(Bytes, "decode", lambda *given: pytest.fail("a medium was opened"))
    found = Shelf.describe(options)
    assert found.samples == Shelf.samples(options) == {}
    assert {name: len(labels) for name, labels in found.labels.items()} == {"train": 40, "validation": 6, "test": 6}
    assert found.labels["train"].tolist() == [k % 2 for k in range(40)]
    monkeypatch.setattr(Bytes, "sample", lambda form: SampleType((form.length,)))
    assert Shelf.describe(options).samples == Shelf.samples(options) == {"bytes": SampleType((LENGTH,))}


def test_samples_that_were_skipped_are_no_samples_of_the_split(root: Path) -> None:
    for name in ("002_0", "004_0"):
        (root / f"train/{name}.bin").write_bytes(b"")
    dataset = load(root, allowed_missing=0.1)
    assert len(dataset.train) == 38
    batch = dataset.train.gather(torch.tensor([1, 2, 3]))
    assert batch.inputs["bytes"].tolist() == [stored(root, f"train/{n}.bin") for n in ("001_1", "003_1", "005_1")]
    assert batch.index.tolist() == [1, 2, 3]
    assert batch.labels.tolist() == [1, 1, 1]
    moved = dataset.train.to("cpu").gather(torch.tensor([1, 2, 3]))
    assert torch.equal(moved.inputs["bytes"], batch.inputs["bytes"])
    assert "2 of 52 samples left out: train/002_0 (" in dataset.notes[-1]


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([("a", 0), ("a", 1)], "the sample a stands twice in the lists"),
        ([("a", 2)], "sample a has the label 2; there are classes 0 to 1"),
        ([("a", -1)], "sample a has the label -1"),
        ([], "the train split has no sample"),
    ],
)
def test_lists_that_make_no_sense_are_refused(
    root: Path, monkeypatch: pytest.MonkeyPatch, items: list[tuple[str, int]], message: str
) -> None:
    file = root / "test/000_0.bin"
    others = {s: (Item(s, 0, {"bytes": file}),) for s in ("validation", "test")}
    train = tuple(Item(name, label, {"bytes": file}) for name, label in items)
    monkeypatch.setattr(Shelf, "listing", lambda options: Listing(("no", "yes"), {"train": train, **others}))
    with pytest.raises(DataError, match=message):
        Shelf.fingerprint(ShelfOptions(root=str(root)))


def test_missing_files_count_with_the_corrupt_ones(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "train/000_0.bin").write_bytes(b"")
    listing = Shelf.listing(ShelfOptions(root=str(root)))
    monkeypatch.setattr(Shelf, "listing", lambda options: Listing(listing.classes, listing.splits, (("x", "no wav"),)))
    with pytest.raises(DataError, match=r"1 of 53 samples .*: x \(no wav\)"):
        Shelf.fingerprint(ShelfOptions(root=str(root)))
    with pytest.raises(DataError, match=r"2 of 53 samples .*: x \(no wav\); train/000_0"):
        load(root, allowed_missing=0.03)
    assert "2 of 53 samples left out: x (no wav); train/000_0" in load(root, allowed_missing=0.04).notes[-1]
