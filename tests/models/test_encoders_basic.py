"""mlp and cnn: what they compute, and how they start."""

from __future__ import annotations

import math

import pytest
import torch
from support.tiny_encoders import number_bounds
from torch import nn

from models.batchnorm import SynchronizedBatchNorm
from models.encoders import build, describe
from models.encoders.basic import MLPOptions, SmallCNNOptions


def test_mlp_by_its_layers() -> None:
    encoder, x = build({"name": "mlp", "width": 7, "depth": 3}, (2, 4)), torch.randn(5, 2, 4)
    hidden = x.reshape(5, 8)
    layers = [layer for layer in encoder.modules() if isinstance(layer, nn.Linear)]
    assert [(layer.in_features, layer.out_features) for layer in layers] == [(8, 7), (7, 7), (7, 7)]
    for layer in layers:
        hidden = (hidden @ layer.weight.T + layer.bias).clamp_min(0)
    torch.testing.assert_close(encoder(x), hidden)
    assert encoder.out_dim == 7


def test_mlp_activation() -> None:
    encoder = build({"name": "mlp", "depth": 1, "activation": "gelu"}, (8,))
    x = torch.randn(5, 8, generator=torch.Generator().manual_seed(0))
    z = x @ encoder.layers[1].weight.T
    torch.testing.assert_close(encoder(x), z * (1 + torch.erf(z / math.sqrt(2))) / 2)


def test_mlp_starts_xavier_normal() -> None:
    torch.manual_seed(0)
    first, second = [layer for layer in build("mlp", (400,)).modules() if isinstance(layer, nn.Linear)]
    assert first.weight.std().item() == pytest.approx(math.sqrt(2 / 464), rel=0.05)
    assert second.weight.std().item() == pytest.approx(math.sqrt(2 / 128), rel=0.05)
    assert not first.bias.any()
    assert not second.bias.any()


@pytest.mark.parametrize("shape", [(32,), (8,), (1, 8, 8), (3, 28, 28), (1, 64, 64), (2, 4, 9)])
def test_small_encoders_take_any_size(shape: tuple[int, ...]) -> None:
    encoder = build("mlp" if len(shape) == 1 else {"name": "cnn", "width": 4}, shape)
    x = torch.randn(3, *shape, requires_grad=True)
    features = encoder(x)
    assert features.shape == (3, encoder.out_dim)
    features.sum().backward()
    assert x.grad.abs().sum() > 0


def test_cnn_by_its_layers() -> None:
    torch.manual_seed(0)
    encoder, x = build({"name": "cnn", "width": 8}, (2, 9, 10)).eval(), torch.randn(3, 2, 9, 10)
    convolutions = [layer for layer in encoder.modules() if isinstance(layer, nn.Conv2d)]
    assert [layer.out_channels for layer in convolutions] == [8, 16, 32]
    maps = x
    for index, layer in enumerate(convolutions):
        maps = nn.functional.conv2d(maps, layer.weight, padding=1) / math.sqrt(1 + 1e-5)
        maps = maps.clamp_min(0)
        if index < 2:
            maps = nn.functional.max_pool2d(maps, 2)
    pooled = nn.functional.adaptive_avg_pool2d(maps, 4).flatten(1)
    (head,) = (layer for layer in encoder.modules() if isinstance(layer, nn.Linear))
    torch.testing.assert_close(encoder(x), (pooled @ head.weight.T + head.bias).clamp_min(0))
    assert build({"name": "cnn", "width": 8, "grid": 1}, (2, 9, 10)).eval()(x).shape == (3, 32)
    last = convolutions[2].weight
    assert last.std().item() == pytest.approx(math.sqrt(2 / (9 * 32)), rel=0.05)


def test_build_synchronises_every_batch_norm_and_keeps_the_seed() -> None:
    for name, shape in (("cnn", (1, 8, 8)), ("resnet18", (1, 8, 8)), ("conv1d", (3, 8))):
        norms = [m for m in build(name, shape).modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
        assert norms
        assert all(type(norm) is SynchronizedBatchNorm for norm in norms)
    torch.manual_seed(3)
    first = build("cnn", (1, 8, 8)).state_dict()
    torch.manual_seed(3)
    second = build("cnn", (1, 8, 8)).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize(
    ("name", "shape", "parameters", "out_dim", "tokens", "stages"),
    [
        ("cnn", (1, 28, 28), 89_008, 64, [49, 64], [16, 32, 64]),
        ("mlp", (3, 100), 23_424, 64, [1, 64], None),
    ],
)
def test_sizes_of_the_defaults_are_told_without_computing(
    name: str, shape: tuple[int, ...], parameters: int, out_dim: int, tokens: list[int], stages: list[int] | None
) -> None:
    found = describe(name, shape)
    assert found == {"parameters": parameters, "out_dim": out_dim, "tokens": tokens, "stages": stages}


def test_sizes_have_bounds_that_still_fit_a_machine() -> None:
    assert number_bounds(MLPOptions) == {"width": (1, 16_384), "depth": (1, 1_000)}
    assert number_bounds(SmallCNNOptions) == {"width": (1, 16_384), "grid": (1, 256)}
