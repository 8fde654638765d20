"""What is corrupted is what was asked for: which samples, by how much, in which splits, in any batch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from data.base import Batch, Column, Corruption, DataError, Dataset, Split
from data.base.corrupted import corrupted
from data.base.noise import normal_numbers, stream_key
from data.base.splits import generator

SIZE = 20
ALL = torch.arange(SIZE)


def make_dataset() -> Dataset:
    """``wave`` [2, 10]: training values with mean 1 and deviation 2; ``flat`` [4]; ``text``: token ids and mask."""

    def split(seed: int) -> Split:
        draw = torch.Generator().manual_seed(seed)
        wave = torch.randn(SIZE, 2, 10, generator=draw)
        wave = 1 + 2 * (wave - wave.mean()) / wave.std(correction=0)
        text = torch.stack([torch.arange(6).expand(SIZE, 6) + 5, torch.ones(SIZE, 6).long()], dim=1)
        flat = torch.arange(SIZE)[:, None].expand(SIZE, 4).float()
        return Split({"wave": wave, "flat": flat, "text": text}, ALL % 2)

    return Dataset("made", ("wave", "flat", "text"), ("a", "b"), split(0), split(1), split(2), notes=("told before",))


CLEAN = make_dataset()


def corrupt(seed: int = 0, **modalities: Mapping[str, Any]) -> Dataset:
    return corrupted(CLEAN, {m: Corruption.model_validate(options) for m, options in modalities.items()}, seed)


def column(dataset: Dataset, modality: str, split: str = "test") -> Any:
    return getattr(dataset, split).inputs[modality]


def smallest(count: int, *stream: str) -> set[int]:
    """The samples of the smallest draws of a stream of seed 0."""
    return set(np.argsort(generator(0, "corrupt", *stream).random_sample(SIZE))[:count].tolist())


def changed(dataset: Dataset, modality: str, split: str = "test") -> set[int]:
    before, after = (getattr(d, split).gather(ALL).inputs[modality] for d in (CLEAN, dataset))
    return set((before != after).flatten(1).any(1).nonzero().flatten().tolist())


def test_nothing_to_corrupt_is_the_dataset_itself() -> None:
    assert corrupted(CLEAN, {}, 0) is CLEAN


def test_noise_has_the_deviation_of_the_training_values_on_a_share_of_the_samples() -> None:
    noisy = corrupt(wave={"noise": 0.5, "share": 0.3})
    chosen = smallest(6, "noise", "wave", "test")
    assert changed(noisy, "wave") == chosen
    rows = torch.tensor(sorted(chosen))
    added = noisy.test.gather(rows).inputs["wave"] - CLEAN.test.gather(rows).inputs["wave"]
    key = stream_key(0, "corrupt", "noise", "wave", "test")
    torch.testing.assert_close(added, 0.5 * 2 * normal_numbers(key, rows, (2, 10)), atol=1e-5, rtol=1e-5)
    assert noisy.notes == (
        "told before",
        "corrupted: test wave: noise of deviation 0.5 on 6 of 20 samples",
        "corrupted in the test split alone: wave; validation, which chooses, is clean",
    )


def test_a_larger_share_takes_the_samples_of_a_smaller_one_and_more() -> None:
    few, many = (changed(corrupt(wave={"noise": 1, "share": share}), "wave") for share in (0.2, 0.6))
    assert (len(few), len(many)) == (4, 12)
    assert few < many


def test_another_split_seed_another_modality_and_another_split_draw_anew() -> None:
    options = {"noise": 1, "share": 0.5, "where": "all"}
    first, other = corrupt(wave=options, flat=options), corrupt(seed=1, wave=options)
    drawn = [changed(first, "wave"), changed(other, "wave"), changed(first, "flat"), changed(first, "wave", "train")]
    assert len({frozenset(each) for each in drawn}) == 4


def test_the_notes_say_of_every_split_what_was_corrupted_in_it() -> None:
    everywhere = {"drop": 0.5, "segment": True, "where": "all"}
    dataset = corrupt(wave={"noise": 1, "share": 0.25}, text=everywhere, flat={"drop": 0.25})
    assert dataset.notes == (
        "told before",
        "corrupted: test wave: noise of deviation 1 on 5 of 20 samples",
        "corrupted: test text: 3 of 6 steps absent",
        "corrupted: test flat: absent from 5 of 20 samples",
        "corrupted: training text: 3 of 6 steps absent",
        "corrupted: validation text: 3 of 6 steps absent",
        "corrupted in the test split alone: wave, flat; validation, which chooses, is clean",
    )


@pytest.mark.parametrize(("where", "touched"), [("test", 0), ("all", 20)])
def test_where_decides_which_splits(where: str, touched: int) -> None:
    dataset = corrupt(wave={"noise": 1, "where": where})
    assert len(changed(dataset, "wave")) == 20
    assert len(changed(dataset, "wave", "train")) == len(changed(dataset, "wave", "validation")) == touched
    assert any("validation, which chooses, is clean" in note for note in dataset.notes) is (where == "test")


def test_a_dropped_modality_is_absent_and_blank() -> None:
    dataset = corrupt(wave={"drop": 0.25})
    chosen, batch = smallest(5, "drop", "wave", "test"), dataset.test.gather(ALL)
    assert list(batch.present) == ["wave"]
    assert set((~batch.present["wave"]).nonzero().flatten().tolist()) == chosen == changed(dataset, "wave")
    # The training values' mean is 1.
    torch.testing.assert_close(batch.inputs["wave"][sorted(chosen)], torch.ones(5, 2, 10), atol=1e-5, rtol=0)
    assert dataset.train.gather(ALL).present == {}
    assert "corrupted: test wave: absent from 5 of 20 samples" in dataset.notes


def test_a_sample_never_loses_all_modalities() -> None:
    dataset = corrupt(wave={"drop": 1.0}, flat={"drop": 0.5}, text={"drop": 1.0})
    batch = dataset.test.gather(ALL)
    assert torch.stack(list(batch.present.values())).any(dim=0).all()
    draws = {m: generator(0, "corrupt", "drop", m, "test").random_sample(SIZE) for m in ("wave", "flat", "text")}
    for sample in range(SIZE):
        kept = [m for m in draws if batch.present[m][sample]]
        if sample in smallest(10, "drop", "flat", "test"):
            beside = {m: draws[m][sample] / (0.5 if m == "flat" else 1.0) for m in draws}
            assert kept == [max(beside, key=lambda m: beside[m])]
        else:
            assert kept == ["flat"]


def test_a_segment_is_a_contiguous_part_of_each_sample_s_time() -> None:
    dataset = corrupt(wave={"drop": 0.3, "segment": True})
    batch = dataset.test.gather(ALL)
    assert batch.present == {}
    draws = generator(0, "corrupt", "segment", "wave", "test").random_sample(SIZE)
    for sample, draw in enumerate(draws):
        start = int(draw * 8)  # ten steps, of which three are lost: eight places
        expected = CLEAN.test.inputs["wave"][sample].clone()
        expected[:, start : start + 3] = 1.0
        torch.testing.assert_close(batch.inputs["wave"][sample], expected, atol=1e-5, rtol=0)
    assert "corrupted: test wave: 3 of 10 steps absent" in dataset.notes


def test_of_token_ids_the_first_stays() -> None:
    whole = corrupt(text={"drop": 0.5}).test.gather(ALL)
    absent = ~whole.present["text"]
    assert whole.inputs["text"][absent].unique(dim=0).tolist() == [[[5, 0, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0]]]
    part = corrupt(text={"drop": 0.5, "segment": True}).test.gather(ALL).inputs["text"]
    ids, mask = part[:, 0], part[:, 1]
    assert part.dtype == torch.int64
    assert ((ids == 0) == (mask == 0)).all()
    assert (mask[:, 0] == 1).all()
    assert set(mask.sum(1).tolist()) == {3, 4}  # three of six are lost, of which the first is kept


def test_shuffled_samples_exchange_the_modality_in_a_circle() -> None:
    dataset = corrupt(flat={"shuffle": 0.4})
    shown = dataset.test.gather(ALL).inputs["flat"][:, 0].long().tolist()
    chosen = smallest(8, "shuffle", "flat", "test")
    assert {sample for sample in range(SIZE) if shown[sample] != sample} == chosen
    assert sorted(shown) == list(range(SIZE))
    assert dataset.test.labels.tolist() == CLEAN.test.labels.tolist()
    walked, at = set[int](), min(chosen)
    while at not in walked:
        walked.add(at)
        at = shown[at]
    assert walked == chosen
    draws = generator(0, "corrupt", "shuffle", "flat", "test").random_sample(SIZE)
    circle = sorted(chosen, key=lambda sample: draws[sample])
    assert [shown[sample] for sample in circle] == [*circle[1:], circle[0]]  # each the next one's
    assert "corrupted: test flat: exchanged among 8 of 20 samples" in dataset.notes


EVERYTHING = {"noise": 1.0, "share": 0.5, "drop": 0.2, "shuffle": 0.5, "where": "all"}


@settings(deadline=None, max_examples=20)
@given(st.lists(st.integers(0, SIZE - 1), min_size=1, max_size=30))
def test_a_sample_is_the_same_in_any_batch(index: list[int]) -> None:
    dataset = corrupt(wave=EVERYTHING, text={"drop": 0.4, "segment": True})
    rows = torch.tensor(index)
    whole, some = dataset.test.gather(ALL), dataset.test.gather(rows)
    for modality in dataset.modalities:
        assert torch.equal(some.inputs[modality], whole.inputs[modality][rows])
    assert torch.equal(some.present["wave"], whole.present["wave"][rows])


class Drawn(Column):
    """Numbers that training draws anew: each sample plus one number for the whole joint batch a position."""

    stream = "crops"

    def __init__(self, values: Tensor) -> None:
        self.values, self.shape = values, tuple(values.shape[1:])

    def __len__(self) -> int:
        return len(self.values)

    def gather(self, index: Tensor, device: Any) -> Tensor:
        return self.values[index]

    def draw(self, index: Tensor, device: Any, generator: torch.Generator, part: slice = slice(None)) -> Tensor:
        return (self.values[index] + torch.rand(len(index), generator=generator).view(-1, 1, 1))[part]

    def resident(self, device: Any) -> Column:
        return Drawn(self.values.to(device))

    @property
    def nbytes(self) -> int:
        return self.values.nbytes


def drawn_dataset() -> Dataset:
    splits: Iterator[Split] = (
        Split({**split.inputs, "wave": Drawn(split.inputs["wave"])}, split.labels)  # type: ignore[arg-type]
        for split in (CLEAN.train, CLEAN.validation, CLEAN.test)
    )
    return Dataset(CLEAN.name, CLEAN.modalities, CLEAN.classes, *splits)


def test_training_draws_the_part_of_a_batch_that_is_asked_for() -> None:
    noisy, index = column(corrupt(wave={"noise": 1.0}), "wave"), torch.tensor([7, 3, 11, 0])
    drawn = noisy.draw(index, "cpu", torch.Generator().manual_seed(0), slice(1, 3))
    assert torch.equal(drawn, noisy.gather(torch.tensor([3, 11]), "cpu"))


def test_any_number_of_workers_draws_the_same() -> None:
    dataset = corrupted(drawn_dataset(), {"wave": Corruption.model_validate(EVERYTHING)}, 0)
    joint = torch.tensor([4, 0, 19, 7, 3])

    def draw(part: slice) -> Batch:
        return dataset.train.draw(joint, "cpu", lambda name: torch.Generator().manual_seed(len(name)), part)

    whole, first, second = draw(slice(None)), draw(slice(0, 3)), draw(slice(3, 5))
    assert torch.equal(torch.cat([first.inputs["wave"], second.inputs["wave"]]), whole.inputs["wave"])
    assert torch.equal(torch.cat([first.present["wave"], second.present["wave"]]), whole.present["wave"])
    assert not torch.equal(whole.inputs["wave"], dataset.train.gather(joint).inputs["wave"])


def test_a_column_keeps_what_it_says_of_itself_wherever_it_lies() -> None:
    dataset = corrupted(drawn_dataset(), {"wave": Corruption.model_validate(EVERYTHING)}, 0)
    found = column(dataset, "wave").resident("cpu")
    assert (found.shape, found.stream, len(found)) == ((2, 10), "crops", SIZE)
    assert found.nbytes == CLEAN.test.inputs["wave"].nbytes
    assert torch.equal(found.gather(ALL, "cpu"), dataset.test.gather(ALL).inputs["wave"])
    there = corrupt(wave=EVERYTHING).test.to("meta")
    assert there.gather(torch.tensor([1]), "meta").inputs["wave"].device.type == "meta"


@pytest.mark.parametrize(
    ("corruptions", "message"),
    [
        ({"wav": {"noise": 1}}, r"made: corrupt\.wav: no modality called 'wav'; did you mean 'wave'\?"),
        ({"text": {"noise": 1}}, r"made: corrupt\.text: token ids are names"),
        ({"flat": {"drop": 0.5, "segment": True}}, r"made: corrupt\.flat: samples of shape \[4\] have no time"),
    ],
)
def test_what_cannot_be_corrupted_is_refused(corruptions: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        corrupt(**corruptions)


def test_numbers_that_are_not_finite_are_still_found() -> None:
    broken = make_dataset()
    broken.train.inputs["wave"][3, 0, 0] = torch.nan  # type: ignore[index]
    with pytest.raises(DataError, match=r"wave\[3\] of the train split"):
        corrupted(broken, {"wave": Corruption(noise=1.0)}, 0)  # type: ignore[call-arg]
