"""The context that the loop hands to a method: gradients, parameters, batches, messages."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from support.device_waits import META, counted_waits
from support.hand_driven_context import ParametersAlone, hand_driven_context
from support.toy_dataset import toy_dataset, toy_method, toy_training

from data.base import Column, Dataset, Split
from sweep.training import context as training_context
from sweep.training.recipe import Recipe
from sweep.training.step_numbers import AHEAD_BYTES
from sweep.training.workers import WorkerGroup


def test_gradient_clipping_bounds_the_step() -> None:
    def distance(**recipe: Any) -> float:
        training = toy_training("joint", momentum=0.0, weight_decay=0.0, lr=1.0, epochs=1, **recipe)
        before = [p.clone() for p in training.method.parameters()]
        next(iter(training.epochs()))
        after = training.method.parameters()
        return max(float((a - b).detach().norm()) for a, b in zip(after, before, strict=True))

    assert distance(gradient_clip=1e-3) <= 3 * 1e-3 < distance()


def test_a_method_that_clips_itself_takes_the_place_of_the_recipe() -> None:
    def gradient_left(clipped: bool, **recipe: Any) -> float:
        parameter = torch.nn.Parameter(torch.zeros(1))
        context = hand_driven_context(
            ParametersAlone([parameter]), toy_dataset(), Recipe(batch_size=16, **recipe), warn=lines.append
        )
        parameter.grad = torch.full((1,), 3.0)
        context.optimizer_step(clipped=clipped)
        return float(parameter.grad)

    lines: list[str] = []
    assert gradient_left(True) == 3
    assert gradient_left(False, gradient_clip=1.0) == pytest.approx(1)
    assert lines == []
    assert gradient_left(True, gradient_clip=1.0) == 3
    assert lines == ["parameters-alone clips gradients itself, in the place of train.gradient_clip: 1"]


def test_groups_that_are_clipped_apart_keep_their_own_norms(monkeypatch: pytest.MonkeyPatch) -> None:
    def gradients_left(apart: bool) -> list[float]:
        method = ParametersAlone([torch.nn.Parameter(torch.zeros(1)), torch.nn.Parameter(torch.zeros(1))])
        monkeypatch.setattr(ParametersAlone, "clips_apart", apart)
        monkeypatch.setattr(ParametersAlone, "groups", lambda self: {f"{k}": [p] for k, p in enumerate(self.held)})
        context = hand_driven_context(method, toy_dataset(), Recipe(batch_size=16, gradient_clip=1.0))
        for parameter, size in zip(method.held, (3.0, 4.0), strict=True):
            parameter.grad = torch.full((1,), size)
        context.optimizer_step()
        return [float(parameter.grad) for parameter in method.held]

    assert gradients_left(False) == pytest.approx([0.6, 0.8], rel=1e-5)
    assert gradients_left(True) == pytest.approx([1, 1], rel=1e-5)


class Weighing(WorkerGroup):
    """One of two workers; what it hears of gradients is its own."""

    def __init__(self, rank: int) -> None:
        self.rank, self.size, self.counted = rank, 2, list[bool]()

    def averaged_gradients(self, losses: Any, parameters: Any, counts: bool = True) -> Any:
        self.counted.append(counts)
        return [list(torch.autograd.grad(loss, parameters, retain_graph=True)) for loss in losses]


def test_gradients_are_a_list_for_one_loss_and_a_list_of_these_for_several() -> None:
    held = [torch.nn.Parameter(torch.tensor([1.0, 2.0])), torch.nn.Parameter(torch.tensor([3.0]))]
    context = hand_driven_context(ParametersAlone(held), toy_dataset(), Recipe(batch_size=16))
    first, second = held[0].square().sum() + held[1].sum(), held[0].sum()
    assert [g.tolist() for g in context.gradients(first, held)] == [[2, 4], [1]]
    found = context.gradients([first, second], held)
    assert [[g.tolist() for g in of_loss] for of_loss in found] == [[[2, 4], [1]], [[1, 1], [0]]]
    assert [[g.tolist() for g in of_loss] for of_loss in context.gradients((second,), held)] == [[[1, 1], [0]]]
    assert [p.grad for p in held] == [None, None]


def test_a_worker_weighs_its_gradients_by_its_samples() -> None:
    held, workers = [torch.nn.Parameter(torch.tensor([1.0]))], Weighing(1)
    context = hand_driven_context(ParametersAlone(held), toy_dataset(), Recipe(batch_size=16), workers=workers)
    found = [
        float(context.gradients(held[0].sum(), held)[0]) for _ in context.training_batches(torch.arange(45), False)
    ]
    assert found == pytest.approx([1, 1, 2 * 6 / 13])
    (none,) = [
        float(context.gradients(held[0].sum(), held)[0]) for _ in context.training_batches(torch.arange(1), False)
    ]
    assert none == 0
    assert workers.counted == [True, True, True, False]


def test_a_warning_is_written_once() -> None:
    lines: list[str] = []
    context = hand_driven_context(ParametersAlone(), toy_dataset(), Recipe(batch_size=16), warn=lines.append)
    for message in ("one", "two", "one"):
        context.warn(message)
    assert lines == ["one", "two"]


def test_the_last_incomplete_batch_is_kept_or_dropped() -> None:
    context = hand_driven_context(ParametersAlone(), toy_dataset(), Recipe(batch_size=16))
    for samples, expected in ((45, [[16, 16, 13], [16, 16]]), (33, [[16, 17], [16, 16]])):
        shown = torch.arange(samples)
        batches = [list(context.training_batches(shown, drop)) for drop in (False, True)]
        assert [[len(batch) for batch in of_epoch] for of_epoch in batches] == expected
        assert torch.equal(torch.cat([batch.index for batch in batches[0]]), shown)
        told = [context.samples_in_step for _ in context.training_batches(shown, False)]
        assert told == expected[0]


# Randomness -------------------------------------------------------------------------------------------------------


class Noisy(Column):
    """A modality whose training form has a number of each sample's own added."""

    def __init__(self, values: torch.Tensor) -> None:
        self.values, self.shape = values, tuple(values.shape[1:])

    def __len__(self) -> int:
        return len(self.values)

    def gather(self, index: torch.Tensor, device: torch.device | str) -> torch.Tensor:
        return self.values[index]

    def draw(
        self,
        index: torch.Tensor,
        device: torch.device | str,
        generator: torch.Generator,
        part: slice = slice(None),
    ) -> torch.Tensor:
        return self.values[index[part]] + torch.rand(len(index), 1, generator=generator)[part]

    def resident(self, device: torch.device | str) -> Column:
        return self

    @property
    def nbytes(self) -> int:
        return self.values.nbytes


def noisy_dataset(whole_batches: bool) -> Dataset:
    """Noise for each sample: by an augmentation of whole batches, or by the columns themselves."""
    dataset = toy_dataset()
    if not whole_batches:
        columns = {m: Noisy(x) for m, x in dataset.train.inputs.items() if isinstance(x, torch.Tensor)}
        return replace(dataset, train=Split(columns, dataset.train.labels))

    def augment(inputs: dict[str, torch.Tensor], generator: torch.Generator) -> dict[str, torch.Tensor]:
        return {m: x + torch.rand(len(x), 1, generator=generator) for m, x in inputs.items()}

    return replace(dataset, augment=augment)


class OneOfTwo(WorkerGroup):
    """A worker of two that needs nothing of the other."""

    def __init__(self, rank: int) -> None:
        self.rank, self.size = rank, 2


def noise(whole_batches: bool, epoch: int, seed: int = 5, workers: WorkerGroup | None = None) -> list[torch.Tensor]:
    """Additions to the first column of each training batch of an epoch, the samples in their order."""
    dataset = noisy_dataset(whole_batches)
    method, recipe = ParametersAlone(epochs=2), Recipe(batch_size=16)
    context = hand_driven_context(method, dataset, recipe, seed, epoch=epoch, workers=workers)
    plain = dataset.train.gather(torch.arange(45))
    batches = context.training_batches(torch.arange(45), drop_last=False)
    return [(b.inputs["audio"] - plain.inputs["audio"][b.index])[:, 0] for b in batches]


@pytest.mark.parametrize("whole_batches", [True, False])
def test_augmentation_is_drawn_anew_for_each_batch_epoch_and_seed_and_again_alike(whole_batches: bool) -> None:
    first, again, later, other = (noise(whole_batches, e, s) for e, s in ((1, 5), (1, 5), (2, 5), (1, 6)))
    assert all(torch.equal(one, two) for one, two in zip(first, again, strict=True))
    draws = [*first[:2], *later[:2], *other[:2]]
    for k, one in enumerate(draws):
        assert len(one.unique()) == 16
        assert not any(torch.allclose(one, two, atol=1e-3) for two in draws[:k])


@pytest.mark.parametrize("whole_batches", [True, False])
def test_workers_augment_their_part_as_one_worker_does_the_whole(whole_batches: bool) -> None:
    alone = noise(whole_batches, 1)
    parts = [noise(whole_batches, 1, workers=OneOfTwo(rank)) for rank in range(2)]
    for whole, first, second in zip(alone, *parts, strict=True):
        torch.testing.assert_close(torch.cat([first, second]), whole)


@pytest.mark.parametrize("whole_batches", [True, False])
def test_scoring_passes_are_augmented_on_demand_by_numbers_of_their_own(whole_batches: bool) -> None:
    dataset = noisy_dataset(whole_batches)
    context = hand_driven_context(ParametersAlone(), dataset, Recipe(batch_size=16), 5)
    plain = dataset.train.gather(torch.arange(45)).inputs["audio"]
    assert torch.equal(torch.cat([b.inputs["audio"] for b in context.train_batches()]), plain)
    scored = [(b.inputs["audio"] - plain[b.index])[:, 0] for b in context.train_batches(augment=True)]
    assert all(len(found.unique()) == len(found) for found in scored)
    for found in noise(whole_batches, 1):
        assert not any(len(found) == len(own) and torch.allclose(found, own, atol=1e-3) for own in scored)


@pytest.mark.parametrize(
    ("resident", "ahead", "copies"),
    [(True, True, 0), (True, False, 0), (False, True, 0), (False, False, 2)],
    ids=["resident", "large resident", "host", "large host"],
)
def test_a_batch_copies_what_is_not_on_the_device_once(
    resident: bool, ahead: bool, copies: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order of the epoch and the labels are there before; of a split of the host each modality is copied, for the
    whole epoch where that is small."""
    if not ahead:
        monkeypatch.setattr(training_context, "AHEAD_BYTES", 0)
    dataset = toy_dataset()
    labels = dataset.train.labels.to(META)
    train = dataset.train.to(META) if resident else Split(dataset.train.inputs, labels)
    method = ParametersAlone([torch.nn.Parameter(torch.zeros(1))]).to(META)
    recipe = Recipe(batch_size=16)
    context = hand_driven_context(method, replace(dataset, train=train), recipe, device=META)
    batches = context.training_batches(torch.arange(45), drop_last=False)
    next(batches)
    with counted_waits() as waits:
        batch = next(batches)
    assert sum(waits.values()) == copies, waits
    assert {x.device for x in (*batch.inputs.values(), batch.labels, batch.index)} == {META}


@pytest.mark.parametrize("workers", [None, OneOfTwo(1)], ids=["alone", "second of two"])
def test_samples_gathered_ahead_are_those_of_each_batch(workers: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset, found = toy_dataset(), []
    order = torch.arange(45).flip(0)
    for ahead in (AHEAD_BYTES, 0):
        monkeypatch.setattr(training_context, "AHEAD_BYTES", ahead)
        context = hand_driven_context(ParametersAlone(), dataset, Recipe(batch_size=16), workers=workers)
        found.append(list(context.training_batches((order, order + 1), drop_last=False)))
    for one, other in zip(*found, strict=True):
        assert torch.equal(one.index + 1, other.tag)
        for name, values in dataset.train.inputs.items():
            assert torch.equal(one.inputs[name], values[one.index])
            assert torch.equal(one.inputs[name], other.inputs[name])
        assert torch.equal(one.labels, dataset.train.labels[one.index])


# Where training stands --------------------------------------------------------------------------------------------


def test_steps_and_scored_samples_are_counted_from_nothing() -> None:
    context = hand_driven_context(ParametersAlone(), toy_dataset(), Recipe(batch_size=16))
    assert (context.step, context.phase_step, context.budget_step, context.scored) == (0, 0, 0, 0)
    assert (context.steps_in_epoch, context.samples_in_step, context.offset) == (0, 1, 0)
    seen = []
    for _ in context.training_batches(torch.arange(45), drop_last=False):
        seen.append((context.step, context.steps_in_epoch, context.samples_in_step, context.offset))
        context.optimizer_step()
    assert seen == [(0, 3, 16, 0), (1, 3, 16, 0), (2, 3, 13, 0)]
    assert (context.step, context.phase_step, context.budget_step) == (3, 3, 3)
    assert [len(batch) for batch in context.train_batches()] == [16, 16, 13]
    assert context.scored == 45
    assert [len(batch) for batch in context.train_batches(20, index=torch.arange(5, 30), passes=2.0)] == [20, 5]
    assert context.scored == 45 + 2 * 25


def test_a_worker_knows_where_its_part_begins_and_scores_it() -> None:
    contexts = [
        hand_driven_context(ParametersAlone(), toy_dataset(), Recipe(batch_size=16), workers=OneOfTwo(rank))
        for rank in range(2)
    ]
    parts = []
    for context in contexts:
        batches = context.training_batches(torch.arange(45), drop_last=False)
        parts.append([(context.offset, context.samples_in_step, batch.index.tolist()) for batch in batches])
    assert [(offset, size) for offset, size, _ in parts[0]] == [(0, 16), (0, 16), (0, 13)]
    assert [(offset, size) for offset, size, _ in parts[1]] == [(8, 16), (8, 16), (7, 13)]
    joint = [row for first, second in zip(*parts, strict=True) for row in (*first[2], *second[2])]
    assert joint == list(range(45))
    scored = [torch.cat([batch.index for batch in context.train_batches(16)]).tolist() for context in contexts]
    assert sorted(scored[0] + scored[1]) == list(range(45))
    assert contexts[0].scored == contexts[1].scored == 45  # of all workers
    whole = [[len(batch) for batch in context.train_batches(16, shard=False)] for context in contexts]
    assert whole == [[16, 16, 13]] * 2


def test_steps_of_a_phase_are_counted_from_its_first_epoch() -> None:
    context = hand_driven_context(ParametersAlone(epochs=3), toy_dataset(), Recipe(batch_size=16))
    context.phase_step = 7  # of a phase before
    assert context.begin_epoch(1).phase_epoch == 1
    assert context.phase_step == 0
    context.optimizer_step()
    assert (context.begin_epoch(2).phase_epoch, context.epoch, context.epochs) == (2, 2, 3)
    assert context.phase_step == 1


class Answering(OneOfTwo):
    """The second worker of two, of which the other always has 100."""

    def sum(self, value: torch.Tensor) -> torch.Tensor:
        return value.detach() + 100


def test_a_mean_counts_each_worker_by_its_samples() -> None:
    context = hand_driven_context(ParametersAlone(), toy_dataset(), Recipe(batch_size=16), workers=Answering(1))
    value, found = torch.tensor(3.0, requires_grad=True), []
    for _ in context.training_batches(torch.arange(45), drop_last=False):
        found.append(float(context.mean(value)))
    assert found == [(3 + 100) / 2, (3 + 100) / 2, pytest.approx((3 * 2 * 6 / 13 + 100) / 2)]
    for batch in context.training_batches(torch.arange(1), drop_last=False):
        assert len(batch) == 0
        assert context.mean(torch.tensor(torch.nan)) == 50
    alone = hand_driven_context(ParametersAlone(), toy_dataset(), Recipe(batch_size=16))
    assert (alone.mean(value).item(), alone.mean(value).requires_grad) == (3, False)
    assert alone.gather_rows(value[None]).tolist() == [3]
    assert not alone.gather_rows(value[None]).requires_grad


@pytest.mark.parametrize(("samples", "warned"), [(33, False), (34, True), (35, False)])
def test_a_last_batch_of_two_samples_under_batch_norm_is_told(samples: int, warned: bool) -> None:
    method, said = ParametersAlone([torch.nn.Parameter(torch.zeros(1))]), list[str]()
    method.norm = torch.nn.BatchNorm1d(3)
    context = hand_driven_context(method, toy_dataset(), Recipe(batch_size=16), warn=said.append)
    next(context.training_batches(torch.arange(samples), drop_last=False))
    assert ["two samples" in each for each in said] == [True] * warned


def test_a_factor_that_is_written_into_rates_slows_its_group() -> None:
    dataset = toy_dataset()
    context = hand_driven_context(toy_method("joint", dataset), dataset, Recipe(batch_size=16, lr=0.25))
    group = next(iter(context.groups.by_group))
    context.rates[group] = 0.5
    context.groups.refresh()
    assert context.groups.learning_rates[group] == 0.125
