"""Small encoders for vectors, small images and spectrograms: mlp and cnn.

Convolutions start from Kaiming normal weights (fan out), linear layers from Xavier normal ones with zero bias."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Literal

from pydantic import Field
from torch import Tensor, nn

from models import linear
from models.encoders.base import ACTIVATIONS, Encoder, EncoderOptions, Shape, all_count, places


class MLPOptions(EncoderOptions):
    width: int = Field(64, ge=1, le=16_384, description="units of every layer")
    depth: int = Field(2, ge=1, le=1_000, description="layers; the last one is the feature")
    activation: Literal["relu", "gelu"] = Field("relu", description="after every layer")


class MLP(Encoder):
    """``depth`` linear layers of ``width`` units, each with its activation; any shape, flattened."""

    name = "mlp"
    Options = MLPOptions

    def __init__(self, shape: Shape, options: MLPOptions | None = None) -> None:
        super().__init__()
        options = options or MLPOptions()
        self.require(shape, options)
        widths = [math.prod(shape)] + [options.width] * options.depth
        layers: list[nn.Module] = [nn.Flatten()]
        for inputs, outputs in pairwise(widths):
            layers += [linear(inputs, outputs), ACTIVATIONS[options.activation]()]
        self.layers = nn.Sequential(*layers)
        self.out_dim = options.width

    @classmethod
    def fits(cls, shape: Shape, options: MLPOptions) -> bool:
        return math.prod(shape) >= 1

    @classmethod
    def takes(cls, options: MLPOptions) -> str:
        return "any with at least one number"

    def forward(self, x: Tensor) -> Tensor:
        """[B, ...] -> [B, width]."""
        return self.layers(x)


class SmallCNNOptions(EncoderOptions):
    width: int = Field(
        16, ge=1, le=16_384, description="channels of the first layer; the feature has four times as many numbers"
    )
    grid: int = Field(
        4, ge=1, le=256, description="the last map is pooled to grid x grid places; 1 forgets where things are"
    )


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
        self.require(shape, options)
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

    @classmethod
    def fits(cls, shape: Shape, options: SmallCNNOptions) -> bool:
        return len(shape) == 3 and shape[0] >= 1 and min(shape[1:]) >= 4

    @classmethod
    def takes(cls, options: SmallCNNOptions) -> str:
        return "[C, H, W] with H and W of at least 4"

    @classmethod
    def stage_count(cls, options: SmallCNNOptions) -> int:
        return 3

    @property
    def stages(self) -> list[nn.Module]:
        """List the three convolutions, each with what lies between it and the one before; their maps have width, 2
        width and 4 width channels."""
        return [self.layers[:3], self.layers[3:7], self.layers[7:11]]

    def stem(self, x: Tensor) -> Tensor:
        """Return the input as it is, as nothing comes before the first convolution."""
        return x

    def tokens(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[B, C, H, W] -> [B, L, 4 width]: the L places of the last map, row by row."""
        return all_count(places(self.layers[:11](x), len(x)))

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, 4 width]."""
        return self.layers(x)


def _convolution(inputs: int, outputs: int) -> list[nn.Module]:
    convolution = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    return [convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
