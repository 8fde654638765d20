"""Streams of random numbers, each derived by its name."""

from __future__ import annotations

import torch
from support.hand_driven_context import ParametersAlone, hand_driven_context
from support.toy_dataset import toy_dataset

from sweep.training.recipe import Recipe


def test_generators_depend_on_their_names_alone() -> None:
    dataset, recipe = toy_dataset(), Recipe(batch_size=16)
    first, second = (hand_driven_context(ParametersAlone(), dataset, recipe, 5) for _ in range(2))
    torch.rand(7, generator=first.generator("order", 1))
    assert torch.equal(
        torch.rand(4, generator=first.generator("order", 2)), torch.rand(4, generator=second.generator("order", 2))
    )
    draws = {tuple(torch.rand(2, generator=first.generator(*key)).tolist()) for key in (("a", 1), ("a", 2), ("b", 1))}
    assert len(draws) == 3
