"""Streams of random numbers, each derived by its name."""

from __future__ import annotations

import torch
from support.toy_dataset import toy_dataset

from sweep.training.context import TrainingContext
from sweep.training.recipe import Recipe
from sweep.training.workers import WorkerGroup


def test_generators_depend_on_their_names_alone() -> None:
    dataset, recipe = toy_dataset(), Recipe(batch_size=16)
    first, second = (TrainingContext(dataset, recipe, 5, torch.device("cpu"), WorkerGroup(), print) for _ in range(2))
    torch.rand(7, generator=first.generator("order", 1))
    assert torch.equal(
        torch.rand(4, generator=first.generator("order", 2)), torch.rand(4, generator=second.generator("order", 2))
    )
    draws = {tuple(torch.rand(2, generator=first.generator(*key)).tolist()) for key in (("a", 1), ("a", 2), ("b", 1))}
    assert len(draws) == 3
