"""What the modules of the package share."""

from __future__ import annotations

import math

import pytest
import torch

from models import linear, unknown


def test_linear_starts_xavier_normal_with_zero_bias() -> None:
    torch.manual_seed(0)
    layer = linear(300, 100)
    assert layer.weight.shape == (100, 300)
    assert layer.weight.std().item() == pytest.approx(math.sqrt(2 / 400), rel=0.02)
    assert not layer.bias.any()


def test_unknown_names_the_nearest_and_all() -> None:
    assert (
        str(unknown("fruit", "aple", ["pear", "apple"]))
        == "no fruit called 'aple', nearest is 'apple'; there are: pear, apple"
    )
    assert str(unknown("fruit", 7, ["pear"])) == "no fruit called 7; there are: pear"
