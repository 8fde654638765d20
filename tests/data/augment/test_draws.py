"""Numbers are drawn by the seed alone, within their bounds."""

from __future__ import annotations

import torch

from data.augment.crops import draw_crops, draw_flips
from data.augment.draws import draw_integers
from data.augment.masks import draw_spans
from data.augment.operations import draw_operations


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_same_seed_draws_the_same() -> None:
    sizes = torch.tensor([[48, 64]] * 8)
    for draw in (
        lambda g: draw_crops(sizes, g),
        lambda g: draw_flips(64, g),
        lambda g: draw_spans(64, 100, 20, g),
        lambda g: draw_operations(64, g),
    ):
        assert torch.equal(draw(seeded(3)), draw(seeded(3)))
        assert not torch.equal(draw(seeded(3)), draw(seeded(4)))


def test_integers_reach_both_ends() -> None:
    assert set(draw_integers(500, 4, seeded()).tolist()) == {0, 1, 2, 3, 4}
    assert draw_integers(9, 0, seeded()).tolist() == [0] * 9
