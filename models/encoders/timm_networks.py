"""One encoder for every image network of the timm library, an optional package (``pip install timm``)."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from pydantic import Field, field_validator
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from models import unknown
from models.batchnorm import SynchronizedBatchNorm, worker_count
from models.encoders.base import Encoder, EncoderOptions, Shape, ShapeError, all_count, places
from models.encoders.checkpoints import (
    UNREADABLE,
    absence,
    first_line,
    may_be_of_hub,
    nothing_fits,
    read_weights,
)

CONFIGURATION = "config.json"
_FILES = ("model.safetensors", "pytorch_model.bin")
"""What the weights of a folder are called."""


class TimmOptions(EncoderOptions):
    model: str = Field(min_length=1, description="name of a network, as timm.list_models() gives it")
    pretrained: str | None = Field(
        None,
        min_length=1,
        description="null: random weights; a name of the Hugging Face hub (timm/resnet18.a1_in1k); a local folder that "
        f"holds {CONFIGURATION} and the weights; or a local file of weights",
    )

    def weights_may_be_elsewhere(self) -> bool:
        return self.pretrained is not None and _may_be_of_hub(self.pretrained)

    @field_validator("model")
    @classmethod
    def _is_known(cls, model: str) -> str:
        if find_spec("timm") is None:
            raise ValueError("the package timm is not installed; install it with: pip install timm")
        from timm import is_model, list_models

        if not is_model(model):
            nearest = str(unknown("network of timm", model, list_models())).split("; there are")[0]
            raise ValueError(f"{nearest}; timm.list_models() has them all")
        return model


class Timm(Encoder):
    """A network of timm without its classifier: images and spectrograms [C, H, W], for whose channels and size it is
    built. Its tokens are the places of the last map, or the patches without class token. Networks whose batch norms are
    timm's own are refused under several workers, which could not share their statistics."""

    name = "timm"
    Options = TimmOptions

    def __init__(self, shape: Shape, options: TimmOptions) -> None:
        super().__init__()
        self.require(shape, options)
        self.out_dim, self._token_dim = _widths(options.model, tuple(shape))
        self.backbone = _network(options.model, tuple(shape), options.pretrained)

    @classmethod
    def described_by(cls) -> TimmOptions:
        return TimmOptions.model_construct(model="", pretrained=None)

    @classmethod
    def fits(cls, shape: Shape, options: TimmOptions) -> bool:
        return len(shape) == 3 and min(shape) >= 1

    @classmethod
    def takes(cls, options: TimmOptions) -> str:
        return "[C, H, W] of the sizes that its model takes"

    @classmethod
    def misfit(cls, shape: Shape, options: TimmOptions) -> str | None:
        try:
            _widths(options.model, tuple(shape))
        except ShapeError as error:
            return str(error)
        return None

    @property
    def token_dim(self) -> int:
        return self._token_dim

    def tokens(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[B, C, H, W] -> [B, L, D]: places row by row, or patches."""
        return all_count(_places(self.backbone, self._applied(self.backbone.forward_features, x)))

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, out_dim]."""
        return self._applied(self.backbone, x)

    def _applied(self, function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        """Apply a part of the network. Refuse to train batch norms that several workers would each compute of their own
        part of a batch."""
        norms = [each for each in self.backbone.modules() if isinstance(each, _BatchNorm)]
        others = {type(each).__name__ for each in norms if not isinstance(each, SynchronizedBatchNorm)}
        if others and self.training and worker_count() > 1:
            raise ValueError(
                f"encoder timm: batch norms of the type {', '.join(sorted(others))} cannot be shared by several "
                "workers; use one worker, or another model"
            )
        if len(x) or norms:
            return function(x)
        # Transformers of timm take no empty batch, which is the share of a worker without samples.
        return function(x.new_zeros(1, *x.shape[1:]))[:0]


@cache
def _widths(model: str, shape: Shape) -> tuple[int, int]:
    """Tell the widths of a network's feature and of its tokens, without computing anything. Raises ShapeError where it
    cannot take samples of ``shape``."""
    refused = f"encoder timm cannot take a sample of shape {list(shape)} with model {model}"
    try:
        with torch.device("meta"):
            network = _network(model, shape, None).eval()
            images = torch.zeros(2, *shape)
            feature, tokens = network(images), _places(network, network.forward_features(images))
    except (AssertionError, RuntimeError, TypeError, ValueError) as error:
        raise ShapeError(f"{refused} ({first_line(error)})") from error
    patch = getattr(getattr(network, "patch_embed", None), "patch_size", (1, 1))
    if shape[1] % patch[0] or shape[2] % patch[1]:
        # timm leaves the pixels beyond the last whole patch out, without a word.
        raise ShapeError(f"{refused}; it takes H and W that are multiples of its patches, {patch[0]} x {patch[1]}")
    if feature.dim() != 2:
        raise ShapeError(f"{refused}: it gives {list(feature.shape[1:])} in the place of one vector")
    return int(feature.shape[1]), int(tokens.shape[2])


def _network(model: str, shape: Shape, pretrained: str | None) -> Any:
    """Build a network for samples of ``shape``, with random weights or those of ``pretrained``."""
    import timm

    settings: dict[str, Any] = {"in_chans": shape[0], "num_classes": 0}
    if timm.get_pretrained_cfg_value(model, "fixed_input_size"):
        settings["img_size"] = tuple(shape[1:])
    if pretrained is None:
        return timm.create_model(model, **settings)
    file = _weights_file(_local(pretrained), model)
    try:
        network = timm.create_model(model, pretrained=True, pretrained_cfg_overlay={"file": str(file)}, **settings)
    except UNREADABLE as error:
        raise ValueError(f"pretrained: {file} cannot be loaded ({first_line(error)})") from error
    weights, own = read_weights(file), network.state_dict()
    # timm passes over names that it does not know.
    if not any(name in weights and torch.equal(weights[name], tensor) for name, tensor in own.items()):
        raise nothing_fits(weights, own)
    return network


def _may_be_of_hub(pretrained: str) -> bool:
    """Tell whether a text may be a name of the hub, where every network of timm has an owner."""
    return may_be_of_hub(pretrained) and "/" in pretrained


def _local(pretrained: str) -> Path:
    """Find a local file or folder; what is none is fetched from the hub, once. Raises ValueError."""
    path = Path(pretrained).expanduser()
    if path.exists():
        return path
    if (reason := absence(pretrained, _may_be_of_hub(pretrained))) is not None:
        raise ValueError(reason)
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(pretrained, allow_patterns=[CONFIGURATION, *_FILES]))
    except (OSError, ValueError) as error:
        raise ValueError(
            f"pretrained: {pretrained!r} is no file or folder here, and could not be fetched from the Hugging Face hub "
            f"({first_line(error)}); give the path of a local folder that holds {CONFIGURATION} and the weights"
        ) from error


def _weights_file(path: Path, model: str) -> Path:
    """Find the weights of a folder, or of what is their file. Raises ValueError for a folder of another network."""
    if path.is_file():
        return path
    configuration = path / CONFIGURATION
    try:
        architecture = json.loads(configuration.read_text(encoding="utf-8"))["architecture"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"pretrained: {configuration} cannot be read ({first_line(error)}); wanted is a folder as timm writes it"
        ) from error
    if architecture != model.split(".")[0]:
        raise ValueError(f"pretrained: {path} is of model {architecture}, and not {model}; write model: {architecture}")
    found = [path / name for name in _FILES if (path / name).exists()]
    if not found:
        raise ValueError(f"pretrained: {path} holds none of {', '.join(_FILES)}")
    return found[0]


def _places(network: nn.Module, found: Tensor) -> Tensor:
    """Turn what ``forward_features`` gives into vectors [B, L, D]."""
    if found.dim() == 3:
        return found[:, getattr(network, "num_prefix_tokens", 0) :]
    if str(getattr(network, "output_fmt", "NCHW")).endswith("NHWC"):
        return found.flatten(1, 2)
    return places(found, len(found))
