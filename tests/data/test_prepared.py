from __future__ import annotations

from pathlib import Path

import pytest
import torch
from preparing import LENGTH, BytesColumn, Shelf, ShelfOptions, write_shelf
from torch import Tensor

import methods
from data.base import DataError, Dataset, Split
from data.prepared import Item, Listing
from methods.base import Method
from models import encoders
from sweep import metrics, seeds
from sweep.context import TrainingContext
from sweep.fit import fit
from sweep.recipe import Recipe
from sweep.workers import WorkerGroup


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


# Drawing -----------------------------------------------------------------------------------------------------------


class Stretched(BytesColumn):
    """A column of a stream that it shares."""

    stream = "scene"


def columns() -> Split:
    values = torch.arange(30, dtype=torch.uint8).view(10, 3)
    return Split(
        {"own": BytesColumn(values), "left": Stretched(values), "right": Stretched(values), "plain": values.float()},
        torch.arange(10),
    )


def context(rank: int, size: int) -> TrainingContext:
    workers = WorkerGroup()
    workers.rank, workers.size = rank, size
    split = columns()
    dataset = Dataset("toy", tuple(split.inputs), tuple("0123456789"), split, split, split)
    return TrainingContext(dataset, Recipe(batch_size=4), 7, torch.device("cpu"), workers, lambda line: None)


def inputs(rank: int = 0, size: int = 1, epoch: int = 1) -> dict[str, Tensor]:
    made = context(rank, size)
    made.epoch = epoch
    batches = list(made.training_batches(torch.arange(10).flip(0), drop_last=False))
    return {m: torch.cat([batch.inputs[m] for batch in batches]) for m in batches[0].inputs}


def test_a_draw_depends_on_seed_epoch_and_batch() -> None:
    drawn, again, later = inputs(), inputs(), inputs(epoch=2)
    first = torch.rand(4, generator=seeds.generator(7, "augmentation of own", 1, 0))
    assert torch.equal(drawn["own"][:4], torch.arange(30.0).view(10, 3)[[9, 8, 7, 6]] + first[:, None])
    assert torch.equal(drawn["own"], again["own"])
    assert not torch.equal(drawn["own"], later["own"])
    assert torch.equal(drawn["plain"], torch.arange(30.0).view(10, 3).flip(0))


def test_columns_of_one_stream_draw_the_same() -> None:
    drawn = inputs()
    assert torch.equal(drawn["left"], drawn["right"])
    assert not torch.equal(drawn["left"], drawn["own"])


def test_any_number_of_workers_sees_the_same_samples() -> None:
    whole = list(context(0, 1).training_batches(torch.arange(10), drop_last=False))
    shares = [list(context(rank, 2).training_batches(torch.arange(10), drop_last=False)) for rank in range(2)]
    for number, batch in enumerate(whole):
        parts = [share[number] for share in shares]
        assert torch.equal(torch.cat([part.index for part in parts]), batch.index)
        for modality, values in batch.inputs.items():
            assert torch.equal(torch.cat([part.inputs[modality] for part in parts]), values)


def test_a_worker_reads_its_own_part_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    gather = BytesColumn.gather
    monkeypatch.setattr(
        BytesColumn, "gather", lambda self, index, device: (read.append(len(index)), gather(self, index, device))[1]
    )
    list(context(1, 2).training_batches(torch.arange(8), drop_last=False))
    assert set(read) == {2}


def test_scoring_passes_see_the_evaluation_form_unless_they_ask() -> None:
    plain = torch.arange(30.0).view(10, 3)
    scored = torch.cat([batch.inputs["own"] for batch in context(0, 1).train_batches(4)])
    assert torch.equal(scored, plain)
    drawn = torch.cat([batch.inputs["own"] for batch in context(0, 1).train_batches(4, augment=True)])
    assert not torch.equal(drawn, plain)
    assert torch.equal(drawn.floor(), plain)


def test_a_split_knows_what_it_stores_and_moves_as_a_whole() -> None:
    split = columns()
    assert split.nbytes == 3 * 30 + 4 * 30
    moved = split.to("meta")
    assert {m: v.values.device.type for m, v in moved.inputs.items() if isinstance(v, BytesColumn)} == dict.fromkeys(
        ("own", "left", "right"), "meta"
    )


# Evaluation --------------------------------------------------------------------------------------------------------


def method_for(dataset: Dataset) -> Method:
    kind = methods.get("joint")
    built = {m: encoders.build({"name": "mlp", "width": 4}, shape) for m, shape in dataset.shapes().items()}
    return kind(built, dataset.num_classes, kind.Hyperparameters(), 2)


def both(root: Path) -> Dataset:
    """The shelf as two modalities, of which one is a plain tensor."""
    found = load(root)

    def split(one: Split) -> Split:
        plain = one.gather(torch.arange(len(one))).inputs["bytes"] / 255
        return Split({**one.inputs, "plain": plain}, one.labels)

    parts = {name: split(getattr(found, name)) for name in ("train", "validation", "test")}
    return Dataset("shelf", ("bytes", "plain"), found.classes, **parts)


def test_a_dataset_of_columns_is_trained_and_evaluated(root: Path) -> None:
    dataset = both(root)
    result = fit(method_for(dataset), dataset, Recipe(batch_size=8, device="cpu"), seed=1)
    assert result.epochs_trained == 2
    assert result.samples == 80
    assert 0 <= result.test["test_accuracy"] <= 1
    assert {"test_shapley_bytes", "test_shapley_plain"} <= result.test.keys()


def test_large_samples_are_predicted_a_few_at_a_time(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = both(root)
    torch.manual_seed(0)
    method, device = method_for(dataset), torch.device("cpu")
    whole = metrics.predict_split(method, dataset.train, device, WorkerGroup())
    sizes: list[int] = []
    gather = Split.gather
    monkeypatch.setattr(Split, "gather", lambda self, index, *a: (sizes.append(len(index)), gather(self, index, *a))[1])
    monkeypatch.setattr(metrics, "EVALUATION_BYTES", 3 * 4 * 2 * LENGTH)
    parts = metrics.predict_split(method, dataset.train, device, WorkerGroup())
    assert sizes == [3] * 13 + [1]
    for name, logits in whole.items():
        torch.testing.assert_close(parts[name], logits)
    monkeypatch.setattr(metrics, "EVALUATION_BYTES", 1)
    sizes.clear()
    metrics.predict_split(method, dataset.test, device, WorkerGroup())
    assert sizes == [1] * 6
