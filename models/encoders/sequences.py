"""Small encoders for arrays [C, T], C numbers at each of T steps (sensors, key points): conv1d and gru.

conv1d: after the residual network of Wang, Yan and Oates, "Time Series Classification from Scratch with Deep Neural
Networks", IJCNN 2017. gru: Cho et al., "Learning Phrase Representations using RNN Encoder-Decoder", EMNLP 2014. Sizes
are ours, for minutes on a CPU."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Literal

import torch
from pydantic import Field, field_validator
from torch import Tensor, nn

from models.encoders.base import ACTIVATIONS, Encoder, EncoderOptions, Shape, all_count, places

# conv1d ----------------------------------------------------------------------------------------------------------


class Conv1dOptions(EncoderOptions):
    width: int = Field(32, ge=1, description="channels of the first layer; the feature has four times as many numbers")
    kernel: int = Field(5, ge=3, description="steps that every convolution sees, an odd number")
    activation: Literal["relu", "gelu"] = Field("relu", description="after every batch norm and sum")

    @field_validator("kernel")
    @classmethod
    def _is_odd(cls, kernel: int) -> int:
        if kernel % 2 == 0:
            raise ValueError("it has to be odd, so that a window has a middle")
        return kernel


class Conv1d(Encoder):
    """A convolution over time and three residual blocks of width, 2 width and 4 width channels, of which the last two
    halve the time (rounded up); the feature is the mean over time. For fusion between stages it can be run in parts:
    ``stem``, then each of ``stages``, the blocks."""

    name = "conv1d"
    Options = Conv1dOptions
    strides = (1, 2, 2)

    def __init__(self, shape: Shape, options: Conv1dOptions | None = None) -> None:
        super().__init__()
        options = options or Conv1dOptions()
        self.require(shape, options)
        channels = [options.width, options.width, 2 * options.width, 4 * options.width]
        self.stem = nn.Sequential(
            _convolution(shape[0], channels[0], options.kernel),
            nn.BatchNorm1d(channels[0]),
            ACTIVATIONS[options.activation](),
        )
        self.stages = nn.ModuleList(
            _ResidualBlock(inputs, outputs, stride, options)
            for inputs, outputs, stride in zip(channels, channels[1:], self.strides, strict=False)
        )
        self.out_dim = channels[-1]

    @classmethod
    def fits(cls, shape: Shape, options: Conv1dOptions) -> bool:
        return len(shape) == 2 and shape[0] >= 1 and shape[1] >= 4

    @classmethod
    def takes(cls, options: Conv1dOptions) -> str:
        return "[C, T] with T of at least 4"

    @classmethod
    def stage_count(cls, options: Conv1dOptions) -> int:
        return len(cls.strides)

    def tokens(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[B, C, T] -> [B, T / 4, 4 width], T halved twice and rounded up: the last maps, step after step."""
        return all_count(places(self._last_maps(x), len(x)))

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, T] -> [B, 4 width]."""
        return self._last_maps(x).mean(2)

    def _last_maps(self, x: Tensor) -> Tensor:
        maps = self.stem(x)
        for block in self.stages:
            maps = block(maps)
        return maps


class _ResidualBlock(nn.Module):
    """Two convolutions with batch norm, added to what they read: [B, inputs, T] -> [B, outputs, T / stride]. Layers
    bear the names of torchvision's blocks, by which fusion between stages knows them."""

    def __init__(self, inputs: int, outputs: int, stride: int, options: Conv1dOptions) -> None:
        super().__init__()
        self.conv1 = _convolution(inputs, outputs, options.kernel, stride)
        self.bn1 = nn.BatchNorm1d(outputs)
        self.relu = ACTIVATIONS[options.activation]()
        self.conv2 = _convolution(outputs, outputs, options.kernel)
        self.bn2 = nn.BatchNorm1d(outputs)
        self.downsample = None
        if stride > 1 or inputs != outputs:
            self.downsample = nn.Sequential(_convolution(inputs, outputs, 1, stride), nn.BatchNorm1d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        skip = x if self.downsample is None else self.downsample(x)
        return self.relu(self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x))))) + skip)


def _convolution(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Conv1d:
    convolution = nn.Conv1d(inputs, outputs, kernel, stride=stride, padding=(kernel - 1) // 2, bias=False)
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    return convolution


def downsampled_length(length: int, strides: Sequence[int]) -> int:
    """Count the steps that ``length`` steps become where each of ``strides`` keeps every stride-th, rounded up."""
    return reduce(lambda left, stride: -(-left // stride), strides, length)


# gru -------------------------------------------------------------------------------------------------------------


class GRUOptions(EncoderOptions):
    width: int = Field(64, ge=1, description="numbers of the state, of each direction")
    depth: int = Field(1, ge=1, description="layers, one above the other")
    bidirectional: bool = Field(True, description="read from the end, too: twice as many numbers")
    pool: Literal["mean", "last"] = Field(
        "mean", description="the feature is the mean over time, or the state of each direction when all is read"
    )


class GRU(Encoder):
    """A gated recurrent unit that reads the steps one after another, in both directions. Its time grows with T: of more
    than about 500 steps prefer the others."""

    name = "gru"
    Options = GRUOptions

    def __init__(self, shape: Shape, options: GRUOptions | None = None) -> None:
        super().__init__()
        options = options or GRUOptions()
        self.require(shape, options)
        self.bidirectional, self.pool = options.bidirectional, options.pool
        self.layers = nn.GRU(
            shape[0], options.width, options.depth, batch_first=True, bidirectional=options.bidirectional
        )
        self.out_dim = options.width * (2 if options.bidirectional else 1)

    @classmethod
    def fits(cls, shape: Shape, options: GRUOptions) -> bool:
        return len(shape) == 2 and min(shape) >= 1

    @classmethod
    def takes(cls, options: GRUOptions) -> str:
        return "[C, T]"

    def tokens(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[B, C, T] -> [B, T, D]: the states of the last layer, step after step."""
        return all_count(self._states(x))

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, T] -> [B, D]."""
        states = self._states(x)
        if self.pool == "mean":
            return states.mean(1)
        return last_states(states) if self.bidirectional else states[:, -1]

    def _states(self, x: Tensor) -> Tensor:
        return self.layers(x.transpose(1, 2))[0]


def last_states(outputs: Tensor) -> Tensor:
    """Pick from the outputs [B, T, 2 H] of a bidirectional recurrent network the state of each direction when all is
    read: [B, 2 H], forward after the last step beside backward after the first. Raises ValueError for an odd width."""
    width = outputs.shape[2]
    if width % 2:
        raise ValueError(f"outputs of two directions have an even width, got {width}")
    return torch.cat([outputs[:, -1, : width // 2], outputs[:, 0, width // 2 :]], dim=1)
