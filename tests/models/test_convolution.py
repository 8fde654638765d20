"""Convolutions of clips: torch's own numbers, in the precision of their weight on a CPU."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from models.convolution import Conv3d


def clips(size: int = 5) -> torch.Tensor:
    return torch.randn(2, 3, size, size, size + 1, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("stride", "padding"), [(1, (0, 0, 0)), (2, (1, 0, 2))])
def test_it_is_torchs_convolution_with_the_zeros_that_a_call_asks_for(stride: int, padding: Any) -> None:
    torch.manual_seed(0)
    layer, x = Conv3d(3, 4, 3, stride), clips()
    plain = nn.Conv3d(3, 4, 3, stride=stride, padding=padding, bias=False)
    plain.load_state_dict(layer.state_dict())
    torch.testing.assert_close(layer(x, padding), plain(x))
    torch.testing.assert_close(Conv3d.forward(layer, x), F.conv3d(x, layer.weight, stride=stride))


def test_it_moves_a_place_at_a_time_and_has_no_bias_unless_told() -> None:
    layer = Conv3d(3, 4, 2)
    assert layer.bias is None
    assert layer(clips()).shape == (2, 4, 4, 4, 5)


def test_half_precision_around_it_changes_no_number_on_a_cpu() -> None:
    torch.manual_seed(0)
    layer, x = Conv3d(3, 4, 3), clips()
    expected = layer(x, (1, 1, 1))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(layer(x, (1, 1, 1)), expected)
        given_half = layer(x.bfloat16(), (1, 1, 1))
    assert torch.equal(given_half, layer(x.bfloat16().float(), (1, 1, 1)))
    assert given_half.dtype == torch.float32


def test_elsewhere_the_precision_is_left_to_autocast() -> None:
    layer = Conv3d(3, 4, 3).to("meta")
    half = layer(clips().to("meta").bfloat16(), (1, 1, 1))
    assert (half.shape, half.dtype) == ((2, 4, 5, 5, 6), torch.bfloat16)
