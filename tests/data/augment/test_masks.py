"""Spans lie within their axis and are masked by the mean."""

from __future__ import annotations

import pytest
import torch

from data.augment.masks import draw_spans, mask


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_spans_lie_within_the_axis() -> None:
    start, width = draw_spans(500, 12, 5, seeded()).unbind(1)
    assert set(width.tolist()) == set(range(6))
    assert (start >= 0).all()
    assert (start + width <= 12).all()
    assert (draw_spans(500, 4, 99, seeded())[:, 1] <= 4).all()


@pytest.mark.parametrize("axis", [2, 3])
def test_a_span_takes_the_samples_mean_and_the_rest_stays(axis: int) -> None:
    values = torch.randn(3, 1, 6, 7, generator=seeded())
    before = values.clone()
    found = mask(values, torch.tensor([[1, 2], [0, 0], [4, 2]]), axis)
    assert torch.equal(values, before)
    assert torch.equal(found[1], values[1])
    for sample, places in ((0, [1, 2]), (2, [4, 5])):
        rest = [place for place in range(values.shape[axis]) if place not in places]
        mean = values[sample].mean()
        assert torch.allclose(found[sample].select(axis - 1, places[0]), mean)
        assert torch.allclose(found[sample].select(axis - 1, places[1]), mean)
        kept = torch.tensor(rest)
        assert torch.equal(found[sample].index_select(axis - 1, kept), values[sample].index_select(axis - 1, kept))
