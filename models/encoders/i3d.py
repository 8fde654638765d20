"""I3D for clips: the two-dimensional Inception network with every layer inflated along time.

Carreira and Zisserman, "Quo Vadis, Action Recognition?", CVPR 2017. Layers bear the names of the public checkpoints
rgb_imagenet and flow_imagenet (ImageNet and Kinetics), which load as they are."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from models.convolution import Conv3d
from models.encoders.base import Encoder, EncoderOptions, Shape, all_count, places
from models.encoders.checkpoints import load_weights, local_weights, rename

Triple = tuple[int, int, int]
_FULL = 64
"""Channels of the first layer that the widths below are for."""
_INCEPTION = {
    "Mixed_3b": (64, 96, 128, 16, 32, 32),
    "Mixed_3c": (128, 128, 192, 32, 96, 64),
    "Mixed_4b": (192, 96, 208, 16, 48, 64),
    "Mixed_4c": (160, 112, 224, 24, 64, 64),
    "Mixed_4d": (128, 128, 256, 24, 64, 64),
    "Mixed_4e": (112, 144, 288, 32, 64, 64),
    "Mixed_4f": (256, 160, 320, 32, 128, 128),
    "Mixed_5b": (256, 160, 320, 32, 128, 128),
    "Mixed_5c": (384, 192, 384, 48, 128, 128),
}


class I3DOptions(EncoderOptions):
    pretrained: str | None = Field(None, min_length=1, description="null: random weights; or a local file")
    input_layer: Literal["drop", "average"] = Field(
        "drop",
        description="first layer of pretrained weights for other channels: left random, or the mean over channels",
    )
    width: int = Field(
        _FULL, ge=8, multiple_of=8, description="channels of the first layer, 64 of the published network; all scale"
    )


class I3D(Encoder):
    """Inception-V1 of 3-D convolutions with batch norm, for clips [C, T, H, W] of any size: colour (3 channels), depth
    (1) or optical flow (2), of 64 frames in training and 80 in evaluation, 224 x 224. The feature is the mean of the
    last maps over space and time, which for 64 frames is the published pool of 8 x 7 x 7. Under bf16 on a CPU its
    convolutions stay in single precision."""

    name = "i3d"
    Options = I3DOptions

    def __init__(self, shape: Shape, options: I3DOptions | None = None) -> None:
        super().__init__()
        options = options or I3DOptions()
        self.require(shape, options)

        def scaled(channels: int) -> int:
            return channels * options.width // _FULL

        first, third = scaled(64), scaled(192)
        self.layers = nn.ModuleDict(
            {
                "Conv3d_1a_7x7": _Unit(shape[0], first, 7, stride=2),
                "MaxPool3d_2a_3x3": _MaxPool((1, 3, 3), (1, 2, 2)),
                "Conv3d_2b_1x1": _Unit(first, first, 1),
                "Conv3d_2c_3x3": _Unit(first, third, 3),
                "MaxPool3d_3a_3x3": _MaxPool((1, 3, 3), (1, 2, 2)),
            }
        )
        channels = third
        for name, widths in _INCEPTION.items():
            if name == "Mixed_4b":
                self.layers["MaxPool3d_4a_3x3"] = _MaxPool((3, 3, 3), (2, 2, 2))
            elif name == "Mixed_5b":
                self.layers["MaxPool3d_5a_2x2"] = _MaxPool((2, 2, 2), (2, 2, 2))
            block = _Inception(channels, [scaled(width) for width in widths])
            self.layers[name], channels = block, block.outputs
        self.out_dim = channels
        if options.pretrained is not None:
            weights = rename(local_weights(options.pretrained), [(r"logits\.", None)])
            load_weights(
                self.layers, weights, input_layer="Conv3d_1a_7x7.conv3d.weight", resize=options.input_layer
            ).tell(options.pretrained)

    @classmethod
    def fits(cls, shape: Shape, options: I3DOptions) -> bool:
        return len(shape) == 4 and min(shape) >= 1

    @classmethod
    def takes(cls, options: I3DOptions) -> str:
        return "clips [C, T, H, W]"

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, T, H, W] -> [B, 16 width]."""
        return self._last_maps(x).mean((2, 3, 4))

    def tokens(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[B, C, T, H, W] -> [B, L, 16 width]: the places of the last maps, row by row, moment after moment."""
        return all_count(places(self._last_maps(x), len(x)))

    def _last_maps(self, x: Tensor) -> Tensor:
        for layer in self.layers.values():
            x = layer(x)
        return x


class _Unit(nn.Module):
    """Convolution without bias, batch norm, ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.conv3d = Conv3d(inputs, outputs, kernel, stride)
        nn.init.kaiming_normal_(self.conv3d.weight, mode="fan_out", nonlinearity="relu")
        self.bn = nn.BatchNorm3d(outputs, eps=1e-3, momentum=0.01)

    def forward(self, x: Tensor) -> Tensor:
        kernel, stride = self.conv3d.weight.shape[2:], self.conv3d.stride
        x, front = _pad_same(x, tuple(kernel), stride)  # type: ignore[arg-type]
        return F.relu(self.bn(self.conv3d(x, front)), inplace=True)


class _Inception(nn.Module):
    """Four branches side by side, [B, C, T, H, W] -> [B, ``outputs``, T, H, W]. widths: of 1; of 1 and then 3; of 1
    and then 3; of 1 after a max pool of 3."""

    def __init__(self, inputs: int, widths: list[int]) -> None:
        super().__init__()
        self.b0 = _Unit(inputs, widths[0], 1)
        self.b1a = _Unit(inputs, widths[1], 1)
        self.b1b = _Unit(widths[1], widths[2], 3)
        self.b2a = _Unit(inputs, widths[3], 1)
        self.b2b = _Unit(widths[3], widths[4], 3)
        self.b3a = _MaxPool((3, 3, 3), (1, 1, 1))
        self.b3b = _Unit(inputs, widths[5], 1)
        self.outputs = widths[0] + widths[2] + widths[4] + widths[5]

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat(
            [self.b0(x), self.b1b(self.b1a(x)), self.b2b(self.b2a(x)), self.b3b(self.b3a(x))],
            dim=1,
        )


class _MaxPool(nn.Module):
    """Max pool of inputs that are not negative, so that zeros beyond the edge never win."""

    def __init__(self, kernel: Triple, stride: Triple) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride

    def forward(self, x: Tensor) -> Tensor:
        x, front = _pad_same(x, self.kernel, self.stride)
        return F.max_pool3d(x, self.kernel, self.stride, padding=front)


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Count the zeros in front and at the back of an axis of ``size``, after which a window of ``kernel`` every
    ``stride`` gives ceil(size / stride) values: TensorFlow's SAME."""
    total = max(kernel - (size % stride or stride), 0)
    return total // 2, total - total // 2


def _pad_same(x: Tensor, kernel: Triple, stride: Triple) -> tuple[Tensor, Triple]:
    """Pad maps [B, C, T, H, W] with the zeros that SAME has at the back more than in front; and those in front, for the
    layer itself to add on both sides, which spares a copy wherever the two are equal."""
    pairs = [same_padding(n, k, s) for n, k, s in zip(x.shape[2:], kernel, stride, strict=True)]
    extra = [back - front for front, back in pairs]
    if any(extra):
        x = F.pad(x, [0, extra[2], 0, extra[1], 0, extra[0]])
    front = tuple(front for front, _ in pairs)
    return x, front  # type: ignore[return-value]
