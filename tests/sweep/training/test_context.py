"""The context that the loop hands to a method: gradients, parameters, batches, messages."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from support.toy_dataset import toy_dataset, toy_training

from sweep.training.context import TrainingContext
from sweep.training.recipe import Recipe, ScheduleSpec
from sweep.training.workers import WorkerGroup


def test_gradient_clipping_bounds_the_step() -> None:
    def distance(**recipe: Any) -> float:
        training = toy_training("joint", momentum=0.0, weight_decay=0.0, lr=1.0, epochs=1, **recipe)
        before = [p.clone() for p in training.method.parameters()]
        next(iter(training.epochs()))
        after = training.method.parameters()
        return max(float((a - b).detach().norm()) for a, b in zip(after, before, strict=True))

    assert distance(gradient_clip=1e-3) <= 3 * 1e-3 < distance()


@pytest.mark.parametrize("name", ["constant", "step", "cosine", "plateau"])
def test_parameters_added_later_are_trained_at_the_rate_of_the_others(name: Any) -> None:
    recipe = Recipe(batch_size=16, lr=0.1, schedule=ScheduleSpec(name=name, every=1.0, patience=0))
    context = TrainingContext(toy_dataset(), recipe, 1, torch.device("cpu"), WorkerGroup(), print)
    first, late = (torch.nn.Parameter(torch.ones(2)) for _ in range(2))
    context.new_optimizer([first], epochs=4)
    context.optimizer_step()
    context.schedule.step(1.0)
    context.add_parameters([late])
    context.backward((first * late).sum())
    context.optimizer_step()
    assert not torch.equal(late, torch.ones(2))
    for _ in range(2):
        context.schedule.step(1.0)
        rates = {group["lr"] for group in context.optimizer.param_groups}
        assert len(rates) == 1
    assert (rates == {0.1}) == (name == "constant")


def test_a_warning_is_written_once() -> None:
    lines: list[str] = []
    context = TrainingContext(toy_dataset(), Recipe(batch_size=16), 5, torch.device("cpu"), WorkerGroup(), lines.append)
    for message in ("one", "two", "one"):
        context.warn(message)
    assert lines == ["one", "two"]


def test_the_last_incomplete_batch_is_kept_or_dropped() -> None:
    context = TrainingContext(toy_dataset(), Recipe(batch_size=16), 5, torch.device("cpu"), WorkerGroup(), print)
    sizes = [[len(batch) for batch in context.training_batches(torch.arange(45), drop)] for drop in (False, True)]
    assert sizes == [[16, 16, 13], [16, 16]]
