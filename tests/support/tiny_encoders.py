"""The smallest of every encoder, and samples for it."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from models.encoders import Encoder, build
from models.encoders.base import EncoderOptions

VIT = {"width": 16, "depth": 2, "heads": 2}
TEXT = {**VIT, "vocabulary": 50}
HUB_TEXT = {**TEXT, "hidden": 24, "positions": 12}
TINY: dict[str, tuple[dict[str, Any], tuple[int, ...]]] = {
    "mlp": ({"width": 8}, (2, 5)),
    "cnn": ({"width": 4}, (1, 8, 9)),
    "conv1d": ({"width": 4, "kernel": 3}, (3, 9)),
    "gru": ({"width": 4}, (3, 7)),
    "patch_transformer": ({**VIT, "patch": 4}, (3, 9)),
    "vit": (VIT, (3, 8, 6)),
    "resnet18": ({}, (1, 32, 20)),
    "resnet50": ({}, (3, 32, 32)),
    "bert": (HUB_TEXT, (2, 10)),
    "i3d": ({"width": 8}, (3, 8, 32, 32)),
    "clip_image": ({**VIT, "hidden": 24, "projection": 8, "size": 32}, (3, 32, 32)),
    "clip_text": ({**HUB_TEXT, "projection": 8}, (2, 10)),
    "m3ae_image": (VIT, (3, 32, 48)),
    "m3ae_text": (TEXT, (2, 10)),
    "cav_mae": (VIT, (1, 64, 32)),
}
"""Options and shape of a sample."""
if find_spec("timm") is not None:  # an extra, and so of the tests
    TINY["timm"] = ({"model": "test_vit"}, (3, 32, 48))


def number_bounds(options: type[EncoderOptions]) -> dict[str, tuple[float | None, float | None]]:
    """The least and the largest number that each option takes, whether or not the ends are included."""
    found = {}
    for name, field in options.model_json_schema()["properties"].items():
        lowest, highest = (field.get(end, field.get(f"exclusiveM{end[1:]}")) for end in ("minimum", "maximum"))
        if (lowest, highest) != (None, None):
            found[name] = (lowest, highest)
    return found


def tiny(name: str, seed: int = 0, **options: Any) -> Encoder:
    torch.manual_seed(seed)
    spec, shape = TINY[name]
    return build({"name": name, **spec, **options}, shape)


def pretrained(name: str, path: Path | str, **options: Any) -> Encoder:
    """The tiny encoder with the weights of a file or folder, for evaluation."""
    return build({"name": name, "pretrained": str(path), **options}, TINY[name][1]).eval()


def samples(name: str, count: int = 3, seed: int = 0) -> Tensor:
    """[count, *shape], of the usual mean and deviation; texts are of unequal length, at least 3 tokens, and end in the
    highest id, as CLIP's do."""
    random = torch.Generator().manual_seed(seed)
    shape = TINY[name][1]
    if name == "cav_mae":
        return 4.4849 * torch.randn(count, *shape, generator=random) - 5.081
    if shape[0] != 2 or name == "mlp":
        return torch.randn(count, *shape, generator=random)
    return texts(torch.randint(3, shape[1] + 1, (count,), generator=random), shape[1], random)


def texts(lengths: Tensor, length: int, random: torch.Generator) -> Tensor:
    """[n, 2, length] ids in [1, 49) that end in 49, and the mask."""
    mask = (torch.arange(length) < lengths[:, None]).long()
    ids = torch.randint(1, 49, (len(lengths), length), generator=random)
    ids[torch.arange(len(lengths)), lengths - 1] = 49
    return torch.stack([ids * mask, mask], dim=1)


def assert_librarys_values(options: Any, config: Any) -> None:
    """Compare what is taken for keys that a configuration leaves out with the defaults of the library's."""
    for key, value in options.architecture.sizes.values():
        assert getattr(config, key) == value, key
    for key, value in options.architecture.fixed.items():
        assert getattr(config, key, value) == value, key


def assert_shape_is_refused(name: str, shape: tuple[int, ...], takes: str) -> None:
    """Check that a tiny encoder is not built for a shape, and says which it takes."""
    with pytest.raises(ValueError, match=f"encoder {name} cannot take a sample of shape .*; it takes .*{takes}"):
        build({"name": name, **TINY[name][0]}, shape)
