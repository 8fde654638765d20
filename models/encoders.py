"""Encoders: one modality's input -> one feature vector. Found by name, with typed options::

    encoder = build({"name": "cnn", "width": 16}, shape=(1, 28, 28))
    encoder(torch.randn(5, 1, 28, 28))  # [5, encoder.out_dim]

Convolutions start from Kaiming normal weights (fan out), linear layers from Xavier normal ones with zero bias."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor, nn

from models import linear, unknown
from models.batchnorm import synchronize

Shape = tuple[int, ...]
_ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {"relu": nn.ReLU, "gelu": nn.GELU}


class EncoderOptions(BaseModel):
    """Base of every encoder's options: strict types, unknown names refused, immutable."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Encoder(nn.Module):
    """Base of the encoders: ``forward`` maps [B, *shape] to [B, ``out_dim``], for the ``shape`` of one sample that the
    constructor is given. The constructor raises ValueError for a shape that the encoder cannot take."""

    name: ClassVar[str]
    Options: ClassVar[type[EncoderOptions]]
    out_dim: int

    def refuse(self, shape: Shape, takes: str) -> ValueError:
        return ValueError(f"encoder {self.name} cannot take a sample of shape {list(shape)}; it takes {takes}")


# Vectors -------------------------------------------------------------------------------------------------------


class MLPOptions(EncoderOptions):
    width: int = Field(64, ge=1, description="units of every layer")
    depth: int = Field(2, ge=1, description="layers; the last one is the feature")
    activation: Literal["relu", "gelu"] = Field("relu", description="after every layer")


class MLP(Encoder):
    """``depth`` linear layers of ``width`` units, each with its activation; any shape, flattened."""

    name = "mlp"
    Options = MLPOptions

    def __init__(self, shape: Shape, options: MLPOptions | None = None) -> None:
        super().__init__()
        options = options or MLPOptions()
        if math.prod(shape) < 1:
            raise self.refuse(shape, "any with at least one number")
        widths = [math.prod(shape)] + [options.width] * options.depth
        layers: list[nn.Module] = [nn.Flatten()]
        for inputs, outputs in pairwise(widths):
            layers += [linear(inputs, outputs), _ACTIVATIONS[options.activation]()]
        self.layers = nn.Sequential(*layers)
        self.out_dim = options.width

    def forward(self, x: Tensor) -> Tensor:
        """[B, ...] -> [B, width]."""
        return self.layers(x)


# Images --------------------------------------------------------------------------------------------------------


class SmallCNNOptions(EncoderOptions):
    width: int = Field(16, ge=1, description="channels of the first layer; the feature has four times as many numbers")
    grid: int = Field(4, ge=1, description="the last map is pooled to grid x grid places; 1 forgets where things are")


class SmallCNN(Encoder):
    """Three 3 x 3 convolutions of width, 2 width and 4 width channels with batch norm, halving the map after the first
    two; then means over a grid of places, and a linear layer: in a spectrogram the place is the frequency. For small
    images and spectrograms [C, H, W], 4 x 4 pixels or more. For fusion between stages it can be run in parts, without
    the grid and what follows: :meth:`stem`, then each of :attr:`stages`."""

    name = "cnn"
    Options = SmallCNNOptions

    def __init__(self, shape: Shape, options: SmallCNNOptions | None = None) -> None:
        super().__init__()
        options = options or SmallCNNOptions()
        if len(shape) != 3 or shape[0] < 1 or min(shape[1:]) < 4:
            raise self.refuse(shape, "[C, H, W] with H and W of at least 4")
        width = options.width
        self.layers = nn.Sequential(
            *_convolution(shape[0], width),
            nn.MaxPool2d(2),
            *_convolution(width, 2 * width),
            nn.MaxPool2d(2),
            *_convolution(2 * width, 4 * width),
            nn.AdaptiveAvgPool2d(options.grid),
            nn.Flatten(),
            linear(4 * width * options.grid**2, 4 * width),
            nn.ReLU(inplace=True),
        )
        self.out_dim = 4 * width

    @property
    def stages(self) -> list[nn.Module]:
        """The three convolutions, each with what lies between it and the one before; their maps have width, 2 width and
        4 width channels."""
        return [self.layers[:3], self.layers[3:7], self.layers[7:11]]

    def stem(self, x: Tensor) -> Tensor:
        """Nothing comes before the first convolution: [B, C, H, W] -> the same."""
        return x

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, 4 width]."""
        return self.layers(x)


def _convolution(inputs: int, outputs: int) -> list[nn.Module]:
    convolution = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    return [convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]


# ResNet-18 -----------------------------------------------------------------------------------------------------


class ResNet18Options(EncoderOptions):
    pretrained: str | None = Field(
        None, description="null: random weights; a weight set of torchvision (IMAGENET1K_V1); or a local file"
    )
    activation: Literal["relu", "gelu"] = Field("relu", description="after every batch norm and sum")


class ResNet18(Encoder):
    """torchvision's ResNet-18 up to the average pool: spectrograms [1, F, T], images [C, H, W], and stacks of frames
    [C, T, H, W], whose features are averaged over the T frames.

    He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, as the audio-video experiments of the field
    use it. For fusion between stages it can be run in parts: :meth:`stem`, then each of :attr:`stages`."""

    name = "resnet18"
    Options = ResNet18Options
    out_dim = 512

    def __init__(self, shape: Shape, options: ResNet18Options | None = None) -> None:
        super().__init__()
        from torchvision.models import resnet18

        options = options or ResNet18Options()
        if len(shape) not in (3, 4) or min(shape) < 1:
            raise self.refuse(shape, "[C, H, W], or [C, T, H, W] for T frames")
        self.backbone = resnet18(weights=None)
        self.backbone.fc = nn.Identity()
        if shape[0] != 3:
            self.backbone.conv1 = nn.Conv2d(shape[0], 64, 7, stride=2, padding=3, bias=False)
            nn.init.kaiming_normal_(self.backbone.conv1.weight, mode="fan_out", nonlinearity="relu")
        if options.activation != "relu":
            for module in list(self.backbone.modules()):
                if hasattr(module, "relu"):
                    module.relu = _ACTIVATIONS[options.activation]()
        if options.pretrained is not None:
            report = load_weights(self.backbone, _read_weights(options.pretrained), input_layer="conv1.weight")
            if not report.complete:
                warnings.warn(f"{options.pretrained}: {report}", stacklevel=2)

    @property
    def stages(self) -> list[nn.Module]:
        """The four residual layers; their maps have 64, 128, 256 and 512 channels."""
        net = self.backbone
        return [net.layer1, net.layer2, net.layer3, net.layer4]

    def stem(self, x: Tensor) -> Tensor:
        """What comes before the residual layers: [B, C, H, W] -> [B, 64, H/4, W/4] (sizes rounded up); frames are
        folded into the batch, [B, C, T, H, W] -> [B T, 64, H/4, W/4], those of a sample side by side."""
        if x.dim() == 5:
            x = x.transpose(1, 2).flatten(0, 1)
        net = self.backbone
        return net.maxpool(net.relu(net.bn1(net.conv1(x))))

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] or [B, C, T, H, W] -> [B, 512]."""
        maps = self.stem(x)
        for stage in self.stages:
            maps = stage(maps)
        frames = x.shape[2] if x.dim() == 5 else 1
        return self.backbone.avgpool(maps).reshape(len(x), frames, self.out_dim).mean(1)


# Checkpoints ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LoadReport:
    """Which names of a checkpoint went into a module, and which did not."""

    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    """In the module, not in the checkpoint: they keep their random values."""
    unexpected: tuple[str, ...]
    """In the checkpoint, not in the module."""
    left_out: tuple[str, ...]
    """The input layer, where it is for another number of channels: it keeps its random values."""

    @property
    def complete(self) -> bool:
        return not (self.missing or self.unexpected or self.left_out)

    def __str__(self) -> str:
        parts = [f"{len(self.loaded)} tensors loaded"]
        for what in ("missing", "unexpected", "left_out"):
            if names := getattr(self, what):
                parts.append(f"{what.replace('_', ' ')}: {', '.join(names)}")
        return "; ".join(parts)


def load_weights(module: nn.Module, weights: Mapping[str, Tensor], input_layer: str | None = None) -> LoadReport:
    """Load what fits of ``weights`` (name -> tensor; a leading ``module.``, which data-parallel training leaves, is
    dropped) and report the rest.

    input_layer: name of the weight that may have another shape, since inputs differ in channels. Raises ValueError
    where nothing fits, or where another tensor has a different shape: then it is not a checkpoint of this module."""
    weights = {name.removeprefix("module."): tensor for name, tensor in weights.items()}
    own = module.state_dict()
    shared = [name for name in weights if name in own]
    resized = [name for name in shared if weights[name].shape != own[name].shape]
    if wrong := [name for name in resized if name != input_layer]:
        name = wrong[0]
        raise ValueError(
            f"the checkpoint is of another network: {name} is {list(weights[name].shape)} there, "
            f"{list(own[name].shape)} here"
        )
    fitting = {name: weights[name] for name in shared if name not in resized}
    if not fitting:
        raise ValueError(
            f"nothing in the checkpoint fits: it has {', '.join(list(weights)[:3]) or 'no tensors'}, ...; "
            f"wanted are {', '.join(list(own)[:3])}, ..."
        )
    result = module.load_state_dict(fitting, strict=False)
    missing = tuple(name for name in result.missing_keys if name not in resized)
    unexpected = tuple(name for name in weights if name not in own)
    return LoadReport(tuple(fitting), missing, unexpected, tuple(resized))


def _read_weights(pretrained: str) -> dict[str, Tensor]:
    """Weights of ResNet-18 by the name of a weight set or from a file, without the classifier."""
    from torchvision.models import ResNet18_Weights

    path = Path(pretrained).expanduser()
    if pretrained in ResNet18_Weights.__members__:
        try:
            weights = ResNet18_Weights[pretrained].get_state_dict(check_hash=True)
        except OSError as error:
            raise ValueError(
                f"pretrained: the weight set {pretrained} could not be fetched ({error}); give the path of a local file"
            ) from error
    elif path.suffix == ".safetensors" and path.is_file():
        from safetensors.torch import load_file

        weights = load_file(path)
    elif path.is_file():
        weights = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(weights, dict):
            raise ValueError(f"pretrained: {path} holds no dictionary of tensors")
        weights = weights.get("state_dict", weights)
    else:
        names = ", ".join(ResNet18_Weights.__members__)
        raise ValueError(f"pretrained: {pretrained!r} is neither a file nor a weight set of torchvision ({names})")
    return {name: tensor for name, tensor in weights.items() if not name.removeprefix("module.").startswith("fc.")}


# By name -------------------------------------------------------------------------------------------------------

ENCODERS: dict[str, type[Encoder]] = {kind.name: kind for kind in (MLP, SmallCNN, ResNet18)}


def names() -> list[str]:
    """Names of every encoder."""
    return sorted(ENCODERS)


def resolve(spec: str | Mapping[str, Any]) -> dict[str, Any]:
    """``spec``, a name or {"name": name, option: value, ...}, as {"name": name} with every option filled in.

    Raises ValueError naming the wrong encoder or option, and the nearest valid one."""
    kind, options = _parse(spec)
    return {"name": kind.name, **options.model_dump()}


def build(spec: str | Mapping[str, Any], shape: Shape) -> Encoder:
    """The encoder that ``spec`` (as for :func:`resolve`) describes, for samples of ``shape`` (no batch axis). Its
    batch norms are those of :mod:`models.batchnorm`. Raises ValueError as ``resolve``, and for a wrong shape."""
    kind, options = _parse(spec)
    return synchronize(kind(tuple(shape), options))


def _parse(spec: str | Mapping[str, Any]) -> tuple[type[Encoder], EncoderOptions]:
    values = {"name": spec} if isinstance(spec, str) else dict(spec)
    if "name" not in values:
        raise ValueError(f"an encoder needs a name; there are: {', '.join(names())}")
    name = values.pop("name")
    if not isinstance(name, str) or name not in ENCODERS:
        raise unknown("encoder", name, names())
    kind = ENCODERS[name]
    for option in values:
        if option not in kind.Options.model_fields:
            raise unknown(f"option of encoder {name}", option, kind.Options.model_fields)
    try:
        return kind, kind.Options(**values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ValueError(f"encoder {name}, {where}: {first['msg']}, got {first['input']!r}") from None
