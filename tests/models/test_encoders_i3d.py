"""I3D: its padding, its sizes and its checkpoints."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from support.tiny_encoders import assert_shape_is_refused, samples, tiny
from torch import nn
from torch.nn import functional as F

from models.batchnorm import SynchronizedBatchNorm
from models.convolution import Conv3d
from models.encoders import build
from models.encoders.i3d import _Inception, _MaxPool, _Unit, same_padding


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "padding"),
    [
        (224, 7, 2, (2, 3)),
        (79, 7, 2, (3, 3)),
        (112, 3, 2, (0, 1)),
        (5, 3, 2, (1, 1)),
        (8, 3, 1, (1, 1)),
        (8, 1, 1, (0, 0)),
        (8, 1, 2, (0, 0)),
        (8, 2, 2, (0, 0)),
        (7, 2, 2, (0, 1)),
    ],
)
def test_same_padding(size: int, kernel: int, stride: int, padding: tuple[int, int]) -> None:
    assert same_padding(size, kernel, stride) == padding
    assert (size + sum(padding) - kernel) // stride + 1 == math.ceil(size / stride)


@pytest.mark.parametrize("size", [(8, 7, 6), (5, 4, 9)])
def test_layers_see_zeros_beyond_the_edge(size: tuple[int, int, int]) -> None:
    x = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0)).abs()
    unit, pool = _Unit(3, 4, 7, stride=2).eval(), _MaxPool((3, 3, 3), (2, 2, 2))
    for layer, kernel in ((unit, 7), (pool, 3)):
        pads = [same_padding(n, kernel, 2) for n in reversed(size)]
        padded = F.pad(x, [side for pair in pads for side in pair])
        if layer is unit:
            expected = F.conv3d(padded, unit.conv3d.weight, stride=2).clamp_min(0) / math.sqrt(1 + 1e-3)
        else:
            expected = F.max_pool3d(padded, 3, 2)
        torch.testing.assert_close(layer(x), expected)
        assert expected.shape[2:] == tuple(math.ceil(n / 2) for n in size)


def test_on_a_cpu_convolutions_keep_single_precision_under_autocast() -> None:
    torch.manual_seed(0)
    layer, x = Conv3d(3, 4, 3, stride=2), torch.randn(2, 3, 4, 6, 6)
    expected = layer(x, (1, 0, 1))
    (gradient,) = torch.autograd.grad(expected.square().sum(), layer.weight)
    with torch.autocast("cpu", torch.bfloat16):
        out = layer(x, (1, 0, 1))
        # What a layer under autocast gives is in half precision.
        assert layer(x.bfloat16(), (1, 0, 1)).dtype == torch.float32
    assert out.dtype == torch.float32
    assert torch.equal(out, expected)
    assert torch.equal(*torch.autograd.grad(out.square().sum(), layer.weight), gradient)


def test_every_convolution_of_clips_is_one_that_keeps_its_precision() -> None:
    encoder = tiny("i3d")
    convolutions = [layer for layer in encoder.modules() if isinstance(layer, nn.Conv3d)]
    assert len(convolutions) == 3 + 9 * 6
    assert all(type(layer) is Conv3d for layer in convolutions)
    with torch.autocast("cpu", torch.bfloat16):
        assert encoder(samples("i3d")).dtype == torch.float32


def test_inception_puts_four_branches_side_by_side() -> None:
    block = _Inception(3, [1, 2, 4, 3, 5, 6]).eval()
    x = torch.rand(1, 3, 2, 4, 4)
    out = block(x)
    assert out.shape == (1, block.outputs, 2, 4, 4)
    assert block.outputs == 16
    torch.testing.assert_close(out[:, :1], block.b0(x))
    torch.testing.assert_close(out[:, 10:], block.b3b(F.max_pool3d(x, 3, 1, padding=1)))


def test_the_published_size() -> None:
    encoder = build("i3d", (3, 64, 224, 224)).eval()
    assert sum(p.numel() for p in encoder.parameters()) == 12_287_264
    assert encoder.out_dim == 1024
    x = torch.randn(1, 3, 80, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert [encoder(x[:, :, :frames]).shape for frames in (64, 79, 80)] == [(1, 1024)] * 3
    norms = [m for m in encoder.modules() if isinstance(m, SynchronizedBatchNorm)]
    assert len(norms) == 3 + 9 * 6
    assert {(norm.eps, norm.momentum) for norm in norms} == {(1e-3, 0.01)}
    names = set(encoder.layers.state_dict())
    assert {"Conv3d_1a_7x7.conv3d.weight", "Conv3d_2c_3x3.bn.running_var", "Mixed_5c.b3b.bn.bias"} <= names
    assert encoder.layers["Mixed_4b"].b1a.conv3d.weight.shape == (96, 480, 1, 1, 1)


def test_the_feature_is_the_mean_of_the_last_maps() -> None:
    encoder = tiny("i3d").eval()
    maps: list[torch.Tensor] = []
    encoder.layers["Mixed_5c"].register_forward_hook(lambda _, __, out: maps.append(out))
    features = encoder(torch.randn(2, 3, 64, 40, 40))
    assert maps[0].shape == (2, 128, 8, 2, 2)
    torch.testing.assert_close(features, F.avg_pool3d(maps[0], (8, 2, 2)).flatten(1))


def _file(tmp_path: Path, **more: torch.Tensor) -> tuple[Path, nn.Module]:
    source = tiny("i3d", seed=1)
    weights = {f"module.{name}": tensor for name, tensor in source.layers.state_dict().items()}
    logits = {"logits.conv3d.weight": torch.zeros(400, 128, 1, 1, 1), "logits.conv3d.bias": torch.zeros(400)}
    torch.save({**weights, **logits, **more}, tmp_path / "rgb_imagenet.pt")
    return tmp_path / "rgb_imagenet.pt", source.eval()


def test_a_checkpoint_loads_without_its_classes(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    path, source = _file(tmp_path)
    x = torch.randn(1, 3, 8, 32, 32)
    assert torch.equal(tiny("i3d", pretrained=str(path)).eval()(x), source(x))
    assert not recwarn.list


@pytest.mark.parametrize("channels", [1, 2])
def test_the_first_layer_for_other_channels(tmp_path: Path, channels: int) -> None:
    path, source = _file(tmp_path)
    spec = {"name": "i3d", "width": 8, "pretrained": str(path)}
    with pytest.warns(UserWarning, match=r"tensors loaded; left out: Conv3d_1a_7x7\.conv3d\.weight$"):
        dropped = build(spec, (channels, 8, 32, 32))
    assert torch.equal(dropped.layers["Mixed_3b"].b0.conv3d.weight, source.layers["Mixed_3b"].b0.conv3d.weight)
    with pytest.warns(UserWarning, match=r"tensors loaded; averaged: Conv3d_1a_7x7\.conv3d\.weight$"):
        averaged = build({**spec, "input_layer": "average"}, (channels, 8, 32, 32)).eval()
    grey = torch.randn(2, 1, 8, 32, 32)
    torch.testing.assert_close(
        averaged(grey.expand(-1, channels, -1, -1, -1)), source(grey.expand(-1, 3, -1, -1, -1)), rtol=1e-4, atol=1e-4
    )


def test_what_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"pretrained: there is no file .*rgb\.pt; give the path of a local file"):
        tiny("i3d", pretrained=str(tmp_path / "rgb.pt"))
    path, _ = _file(tmp_path, **{"module.Mixed_3b.b0.bn.weight": torch.zeros(3)})
    with pytest.raises(ValueError, match=r"another network: Mixed_3b\.b0\.bn\.weight is \[3\] there, \[8\] here"):
        tiny("i3d", pretrained=str(path))


@pytest.mark.parametrize(
    ("name", "shape", "takes"),
    [
        ("i3d", (3, 32, 32), r"clips \[C, T, H, W\]"),
    ],
)
def test_shapes_that_do_not_fit_are_refused_with_those_that_do(name: str, shape: tuple[int, ...], takes: str) -> None:
    assert_shape_is_refused(name, shape, takes)
