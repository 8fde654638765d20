"""ResNet-18 and ResNet-50: torchvision's features, frames, stages and weights."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import torch
from safetensors.torch import save_file
from support.tiny_encoders import assert_shape_is_refused
from torch import Tensor, nn

from models.encoders import ResNet18, ResNet18Options, build


@pytest.fixture(scope="module")
def reference() -> nn.Module:
    """torchvision's network, with batch norm statistics that are not their defaults."""
    from torchvision.models import resnet18

    torch.manual_seed(0)
    net = resnet18(weights=None)
    net(torch.randn(4, 3, 64, 64))
    return net.eval()


def _resnet(tmp_path: Path, weights: dict[str, Tensor], shape: tuple[int, ...], **options: Any) -> ResNet18:
    torch.save(weights, tmp_path / "weights.pt")
    return build({"name": "resnet18", "pretrained": str(tmp_path / "weights.pt"), **options}, shape).eval()


def test_images_give_torchvisions_features(reference: nn.Module, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        encoder = _resnet(tmp_path, reference.state_dict(), (3, 40, 33))
    x = torch.randn(2, 3, 40, 33)
    assert torch.equal(encoder(x) @ reference.fc.weight.T + reference.fc.bias, reference(x))
    assert encoder.out_dim == 512


def test_frames_are_averaged(reference: nn.Module, tmp_path: Path) -> None:
    encoder, x = _resnet(tmp_path, reference.state_dict(), (3, 4, 32, 32)), torch.randn(2, 3, 4, 32, 32)
    expected = torch.stack([encoder(x[:, :, t]) for t in range(4)]).mean(0)
    torch.testing.assert_close(encoder(x), expected)
    assert encoder(x[:0]).shape == (0, 512)
    assert encoder.stem(x).shape == (8, 64, 8, 8)
    torch.testing.assert_close(encoder.stem(x)[5], encoder.stem(x[1:, :, 1])[0])


def test_stem_and_stages_are_the_whole_network() -> None:
    encoder, x = build("resnet18", (1, 33, 50)).eval(), torch.randn(2, 1, 33, 50)
    maps, channels = encoder.stem(x), []
    assert maps.shape == (2, 64, 9, 13)
    for stage in encoder.stages:
        maps = stage(maps)
        channels.append(maps.shape[1])
    assert channels == [64, 128, 256, 512]
    torch.testing.assert_close(encoder(x), maps.mean((2, 3)))


@pytest.mark.parametrize(("shape", "channels"), [((1, 17, 40), 1), ((2, 3, 16, 16), 2)])
def test_other_channels_have_their_own_first_layer(shape: tuple[int, ...], channels: int) -> None:
    torch.manual_seed(0)
    encoder = build("resnet18", shape)
    first = encoder.backbone.conv1
    assert first.weight.shape == (64, channels, 7, 7)
    assert (first.stride, first.padding, first.bias) == ((2, 2), (3, 3), None)
    assert first.weight.std().item() == pytest.approx(math.sqrt(2 / (49 * 64)), rel=0.05)
    assert encoder(torch.randn(2, *shape)).shape == (2, 512)


def test_gelu_takes_the_place_of_every_relu() -> None:
    encoder = build({"name": "resnet18", "activation": "gelu"}, (1, 16, 16))
    kinds = [type(module) for module in encoder.modules()]
    assert nn.ReLU not in kinds
    assert kinds.count(nn.GELU) == 9
    with_relu = build("resnet18", (1, 16, 16))
    with_relu.load_state_dict(encoder.state_dict())
    x = torch.randn(2, 1, 16, 16)
    assert not torch.allclose(encoder.eval()(x), with_relu.eval()(x))


def test_data_parallel_prefix_wrapping_and_safetensors(reference: nn.Module, tmp_path: Path) -> None:
    weights = {f"module.{name}": tensor for name, tensor in reference.state_dict().items()}
    x = torch.randn(2, 3, 32, 32)
    save_file(dict(reference.state_dict()), tmp_path / "weights.safetensors")
    options = {"name": "resnet18", "pretrained": str(tmp_path / "weights.safetensors")}
    expected = build(options, (3, 32, 32)).eval()(x)
    assert torch.equal(_resnet(tmp_path, weights, (3, 32, 32))(x), expected)
    assert torch.equal(_resnet(tmp_path, {"state_dict": weights, "epoch": 3}, (3, 32, 32))(x), expected)


def test_first_layer_of_another_width_is_left_out_and_said_so(reference: nn.Module, tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match=r"weights\.pt: 119 tensors loaded; left out: conv1\.weight$"):
        encoder = _resnet(tmp_path, reference.state_dict(), (1, 32, 32))
    assert torch.equal(encoder.backbone.layer1[0].conv1.weight, reference.layer1[0].conv1.weight)
    assert encoder.backbone.conv1.weight.shape[1] == 1


def test_missing_and_unexpected_names_are_reported(reference: nn.Module, tmp_path: Path) -> None:
    weights = dict(reference.state_dict())
    weights["projection.weight"] = weights.pop("layer4.1.conv2.weight")
    message = r"119 tensors loaded; missing: layer4\.1\.conv2\.weight; unexpected: projection\.weight"
    with pytest.warns(UserWarning, match=message):
        _resnet(tmp_path, weights, (3, 32, 32))


def test_pretrained_by_name(reference: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.models import ResNet18_Weights

    monkeypatch.setattr(ResNet18_Weights, "get_state_dict", lambda *_, **__: reference.state_dict())
    encoder = ResNet18((3, 32, 32), ResNet18Options(pretrained="IMAGENET1K_V1"))
    assert torch.equal(encoder.backbone.conv1.weight, reference.conv1.weight)

    def offline(*_: Any, **__: Any) -> None:
        raise URLError("no network")

    monkeypatch.setattr(ResNet18_Weights, "get_state_dict", offline)
    with pytest.raises(ValueError, match=r"IMAGENET1K_V1 could not be fetched .*no network.*local file"):
        ResNet18((3, 32, 32), ResNet18Options(pretrained="IMAGENET1K_V1"))


def test_pretrained_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"'IMAGENET_V1' is neither a file nor a weight set .*IMAGENET1K_V1"):
        build({"name": "resnet18", "pretrained": "IMAGENET_V1"}, (3, 32, 32))
    torch.save(torch.zeros(3), tmp_path / "tensor.pt")
    with pytest.raises(ValueError, match="holds no dictionary of tensors"):
        build({"name": "resnet18", "pretrained": str(tmp_path / "tensor.pt")}, (3, 32, 32))


# ResNet-50 -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def wide() -> nn.Module:
    from torchvision.models import resnet50

    torch.manual_seed(0)
    net = resnet50(weights=None)
    net(torch.randn(4, 3, 32, 32))
    return net.eval()


def test_resnet50_gives_pooled_maps_or_class_scores(wide: nn.Module, tmp_path: Path) -> None:
    torch.save(wide.state_dict(), tmp_path / "weights.pt")
    spec = {"name": "resnet50", "pretrained": str(tmp_path / "weights.pt")}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pooled = build(spec, (3, 32, 32)).eval()
        scores = build({**spec, "image_feature": "class_scores"}, (3, 32, 32)).eval()
    x = torch.randn(2, 3, 32, 32)
    assert (pooled.out_dim, scores.out_dim) == (2048, 1000)
    assert torch.equal(pooled(x) @ wide.fc.weight.T + wide.fc.bias, wide(x))
    assert torch.equal(scores(x), wide(x))
    frames = torch.stack([x, x], 2)
    torch.testing.assert_close(scores(frames), scores(x))
    # Fusion between stages pools their maps, which class scores are not.
    assert len(pooled.stages) == 4
    assert not hasattr(scores, "stages")


def test_class_scores_start_xavier_normal() -> None:
    torch.manual_seed(0)
    layer = build({"name": "resnet50", "image_feature": "class_scores"}, (3, 32, 32)).backbone.fc
    assert layer.weight.std().item() == pytest.approx(math.sqrt(2 / 3048), rel=0.02)
    assert not layer.bias.any()


def test_weight_sets_of_resnet50_are_named() -> None:
    with pytest.raises(ValueError, match=r"neither a file nor a weight set .*IMAGENET1K_V1, IMAGENET1K_V2"):
        build({"name": "resnet50", "pretrained": "V1"}, (3, 32, 32))


@pytest.mark.parametrize(
    ("name", "shape", "takes"),
    [
        ("resnet50", (32, 32), r"\[C, H, W\]"),
    ],
)
def test_shapes_that_do_not_fit_are_refused_with_those_that_do(name: str, shape: tuple[int, ...], takes: str) -> None:
    assert_shape_is_refused(name, shape, takes)
