"""Encoders by name: their options, mistakes in them, and shapes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.forked_programs import printed
from support.tiny_encoders import TINY

from models import encoders
from models.encoders import MLP, ResNet18, SmallCNN, build, resolve


def test_names() -> None:
    assert encoders.names() == [
        "bert", "cav_mae", "clip_image", "clip_text", "cnn", "conv1d", "gru", "i3d", "m3ae_image", "m3ae_text", "mlp",
        "patch_transformer", "resnet18", "resnet50", "timm", "vit",
    ]  # fmt: skip
    assert [encoders.ENCODERS[name] for name in ("cnn", "mlp", "resnet18")] == [SmallCNN, MLP, ResNet18]


def test_resolve_fills_in_every_default() -> None:
    mlp = {"name": "mlp", "width": 64, "depth": 2, "activation": "relu"}
    assert resolve("mlp") == resolve({"name": "mlp"}) == mlp
    assert resolve({"name": "mlp", "depth": 1}) == {**mlp, "depth": 1}
    assert resolve("resnet18") == {"name": "resnet18", "pretrained": None, "activation": "relu"}
    for name in TINY:
        spec = {"name": name, **TINY[name][0]}
        assert resolve(resolve(spec)) == resolve(spec)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("resnet8", "no encoder called 'resnet8', nearest is 'resnet18'; there are: bert, .*, mlp, .*, resnet18"),
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
        "heavy = {'ray', 'torchvision', 'torchaudio', 'transformers', 'timm', 'sklearn', 'scipy'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    assert printed(code) == "[]\n"


@pytest.mark.parametrize(
    ("spec", "absent"),
    [
        ({"name": "i3d", "pretrained": "rgb.pt"}, True),
        ({"name": "cav_mae", "pretrained": "weights"}, True),
        ({"name": "resnet18", "pretrained": "IMAGENET1K_V1"}, False),
        ({"name": "resnet18", "pretrained": "weights/resnet18.pth"}, True),
        ({"name": "bert", "pretrained": "google-bert/bert-base-uncased"}, False),
        ({"name": "bert", "pretrained": "./bert"}, True),
        ({"name": "bert", "pretrained": "~/models/of/bert"}, True),
        ({"name": "bert", "pretrained": None}, False),
        ("mlp", False),
    ],
)
def test_weights_that_can_only_be_a_path_are_missed_before_anything_is_built(spec: Any, absent: bool) -> None:
    reason = encoders.absent_weights(spec)
    assert (reason is not None) == absent
    if reason is not None:
        assert reason == f"encoder {spec['name']}, pretrained: there is no file or folder {spec['pretrained']}"


def test_weights_that_are_here_are_not_missed(tmp_path: Path) -> None:
    (tmp_path / "rgb.pt").touch()
    assert encoders.absent_weights({"name": "i3d", "pretrained": str(tmp_path / "rgb.pt")}) is None
