"""What the modules of the package share."""

from __future__ import annotations

import math

import pytest
import torch

from models import linear, small, unknown


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


def test_small_tables_are_trainable_normal_numbers_of_deviation_two_hundredths() -> None:
    torch.manual_seed(0)
    table = small(100, 30)
    assert isinstance(table, torch.nn.Parameter)
    assert (table.shape, table.requires_grad) == ((100, 30), True)
    torch.manual_seed(0)
    assert torch.equal(table, torch.randn(100, 30) * 0.02)
