"""Splits and datasets: what they hold, refuse and give as batches."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support.binary_files_dataset import LENGTH, BytesColumn, Shelf, ShelfOptions, write_shelf
from support.hand_driven_context import ParametersAlone, hand_driven_context
from torch import Tensor

import methods
from data.base import AbsentDataError, DataError, Dataset, Description, SampleType, Split
from data.digits import Digits, DigitsOptions
from methods.base import Method
from models import encoders
from sweep.training import metrics, seeds
from sweep.training.context import TrainingContext
from sweep.training.loop import fit
from sweep.training.recipe import Recipe
from sweep.training.workers import WorkerGroup


def make_split() -> Split:
    return Split(
        {"audio": torch.arange(24.0).view(4, 2, 3), "image": torch.arange(4.0).view(4, 1)}, torch.tensor([3, 2, 1, 0])
    )


def test_gather_takes_the_samples_asked_for_in_their_order() -> None:
    batch = make_split().gather(torch.tensor([2, 0, 2]))
    assert len(batch) == 3
    assert batch.inputs["audio"].tolist() == [
        [[12, 13, 14], [15, 16, 17]],
        [[0, 1, 2], [3, 4, 5]],
        [[12, 13, 14], [15, 16, 17]],
    ]
    assert batch.inputs["image"].tolist() == [[2], [0], [2]]
    assert batch.labels.tolist() == [1, 3, 1]
    assert batch.index.tolist() == [2, 0, 2]


def test_gather_of_nothing_is_an_empty_batch() -> None:
    batch = make_split().gather(torch.tensor([], dtype=torch.int64))
    assert len(batch) == 0
    assert batch.inputs["audio"].shape == (0, 2, 3)


def test_gather_and_to_move_to_the_device() -> None:
    moved = make_split().to("meta")
    assert {x.device.type for x in [*moved.inputs.values(), moved.labels]} == {"meta"}
    assert len(moved) == 4
    batch = make_split().gather(torch.tensor([1]), "meta")
    assert {x.device.type for x in [*batch.inputs.values(), batch.labels, batch.index]} == {"meta"}


def test_to_keeps_values_and_the_original() -> None:
    split = make_split()
    copy = split.to("cpu")
    assert torch.equal(copy.inputs["audio"], split.inputs["audio"])
    assert torch.equal(copy.labels, split.labels)


def test_split_refuses_unequal_lengths() -> None:
    with pytest.raises(DataError, match="modality image has 3 samples, the labels have 4"):
        Split({"image": torch.zeros(3, 1)}, torch.zeros(4, dtype=torch.int64))


def test_dataset_tells_classes_and_shapes() -> None:
    split = make_split()
    dataset = Dataset("toy", ("audio", "image"), tuple("abcd"), split, split, split)
    assert dataset.num_classes == 4
    assert dataset.shapes() == {"audio": (2, 3), "image": (1,)}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_shelf(tmp_path / "shelf")


def load(root: Path, allowed_missing: float = 0.0) -> Dataset:
    return Shelf.load(ShelfOptions(root=str(root), allowed_missing=allowed_missing))


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
    return hand_driven_context(ParametersAlone(epochs=2), dataset, Recipe(batch_size=4), 7, workers=workers)


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


# What planning and loading find ---------------------------------------------------------------------------------------


def plain(labels: list[int], spoilt: float = 0.0) -> Dataset:
    """Two classes; the validation split has other ``labels``, and a number that may be none in its second row."""
    values = torch.zeros(len(labels), 2, 3)
    values[1, 0, 1] = spoilt
    good = Split({"one": torch.zeros(4, 2, 3)}, torch.tensor([0, 1, 0, 1]))
    return Dataset("plain", ("one",), ("a", "b"), good, Split({"one": values}, torch.tensor(labels)), good)


def test_labels_and_numbers_are_checked() -> None:
    plain([0, 1]).check()
    said = r"plain: the validation split's labels\[1\] is 2; labels go from 0 to 1"
    with pytest.raises(DataError, match=said + r" \(they seem to be counted from 1\)"):
        plain([1, 2]).check()
    with pytest.raises(DataError, match=said + "$"):
        plain([0, 2]).check()
    with pytest.raises(DataError, match=r"labels\[0\] is -1"):
        plain([-1, 0]).check()
    for spoilt in (float("nan"), float("-inf")):
        with pytest.raises(DataError, match=r"plain: one\[1\] of the validation split holds a number that is not"):
            plain([0, 1], spoilt).check()


def test_nothing_is_known_before_loading_unless_a_dataset_says_so() -> None:
    assert Shelf.samples(ShelfOptions(root="nowhere")) == {}
    views = {"left": SampleType((32,)), "profile": SampleType((8,))}
    assert Digits.describe(DigitsOptions()) == Description(views)  # type: ignore[call-arg]


def test_data_that_are_absent_may_be_there_later_and_damaged_ones_stay_damaged() -> None:
    assert DataError("x").lasting
    assert not AbsentDataError("x").lasting
    assert issubclass(AbsentDataError, DataError)
