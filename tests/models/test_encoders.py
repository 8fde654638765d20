"""Encoders: what they compute, which shapes and options they take, and how checkpoints are loaded."""

from __future__ import annotations

import math
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from models import encoders
from models.batchnorm import SynchronizedBatchNorm
from models.encoders import MLP, ResNet18, ResNet18Options, SmallCNN, build, load_weights, resolve

# Names and options ---------------------------------------------------------------------------------------------


def test_names() -> None:
    assert encoders.names() == ["cnn", "mlp", "resnet18"]
    assert [encoders.ENCODERS[name] for name in encoders.names()] == [SmallCNN, MLP, ResNet18]


def test_resolve_fills_in_every_default() -> None:
    mlp = {"name": "mlp", "width": 64, "depth": 2, "activation": "relu"}
    assert resolve("mlp") == resolve({"name": "mlp"}) == mlp
    assert resolve({"name": "mlp", "depth": 1}) == {**mlp, "depth": 1}
    assert resolve("resnet18") == {"name": "resnet18", "pretrained": None, "activation": "relu"}
    for name in encoders.names():
        assert resolve(resolve(name)) == resolve(name)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("resnet8", "no encoder called 'resnet8', nearest is 'resnet18'; there are: cnn, mlp, resnet18"),
        ({"name": None}, "no encoder called None"),
        ({"width": 3}, "an encoder needs a name"),
        ({"name": "mlp", "widht": 3}, "no option of encoder mlp called 'widht', nearest is 'width'"),
        ({"name": "cnn", "activation": "relu"}, "no option of encoder cnn called 'activation'; there are: width, grid"),
        ({"name": "mlp", "width": 0}, "encoder mlp, width: .* greater than or equal to 1, got 0"),
        ({"name": "mlp", "width": "64"}, "encoder mlp, width: .* valid integer, got '64'"),
        ({"name": "mlp", "width": True}, "encoder mlp, width: .* valid integer, got True"),
        ({"name": "resnet18", "activation": "tanh"}, "encoder resnet18, activation: .* 'relu' or 'gelu', got 'tanh'"),
    ],
)
def test_mistakes_are_named(spec: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        resolve(spec)
    with pytest.raises(ValueError, match=message):
        build(spec, (3, 8, 8))


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("cnn", (32,), r"encoder cnn cannot take a sample of shape \[32\]; it takes \[C, H, W\]"),
        ("cnn", (1, 3, 8), r"shape \[1, 3, 8\]"),
        ("resnet18", (32, 32), r"encoder resnet18 cannot take a sample of shape \[32, 32\]"),
        ("resnet18", (3, 0, 8, 8), r"\[3, 0, 8, 8\]"),
        ("mlp", (4, 0), r"encoder mlp cannot take a sample of shape \[4, 0\]"),
    ],
)
def test_shapes_that_do_not_fit_are_named(name: str, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(name, shape)


def test_declarations_import_no_heavy_library() -> None:
    code = (
        "import sys, models.encoders, models.fusion; models.encoders.resolve('resnet18');"
        "heavy = {'ray', 'torchvision', 'torchaudio', 'torchmetrics', 'transformers', 'sklearn', 'scipy'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    root = Path(encoders.__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# Vectors and small images --------------------------------------------------------------------------------------


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
    for name in ("cnn", "resnet18"):
        norms = [m for m in build(name, (1, 8, 8)).modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
        assert norms
        assert all(type(norm) is SynchronizedBatchNorm for norm in norms)
    torch.manual_seed(3)
    first = build("cnn", (1, 8, 8)).state_dict()
    torch.manual_seed(3)
    second = build("cnn", (1, 8, 8)).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


# ResNet-18 -----------------------------------------------------------------------------------------------------


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


# Checkpoints ---------------------------------------------------------------------------------------------------


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


def test_load_weights_reports() -> None:
    module = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    weights = {"0.weight": torch.zeros(3, 5), "module.1.weight": torch.ones(1, 3), "2.weight": torch.zeros(1)}
    report = load_weights(module, weights, input_layer="0.weight")
    assert report.loaded == ("1.weight",)
    assert report.left_out == ("0.weight",)
    assert report.missing == ("0.bias", "1.bias")
    assert report.unexpected == ("2.weight",)
    assert not report.complete
    assert module[1].weight.tolist() == [[1.0, 1.0, 1.0]]
    assert load_weights(module, module.state_dict()).complete


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"audio.0.weight": torch.zeros(3, 2)}, r"nothing in the checkpoint fits: it has audio\.0\.weight, \.\.\.;"),
        ({}, "it has no tensors"),
        ({"0.weight": torch.zeros(3, 5)}, "nothing in the checkpoint fits"),
        (
            {"0.weight": torch.zeros(3, 2), "0.bias": torch.zeros(4)},
            r"another network: 0\.bias is \[4\] there, \[3\] here",
        ),
    ],
)
def test_checkpoints_of_another_network_are_refused(weights: dict[str, Tensor], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_weights(nn.Sequential(nn.Linear(2, 3)), weights, input_layer="0.weight")


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
