"""Convolutions over space and time whose gradients are numbers in any precision, on any device."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["Conv3d"]


class Conv3d(nn.Conv3d):
    """torch's 3-D convolution without bias, given the zeros beyond each edge call by call. Parameters and
    ``state_dict`` are torch's. On a CPU it ignores autocast and computes in the precision of its weight."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride=stride, bias=False)

    def forward(self, input: Tensor, padding: tuple[int, int, int] = (0, 0, 0)) -> Tensor:
        if input.device.type != "cpu":
            return self._convolve(input, padding)
        # torch's backward pass in half precision on a CPU reads memory that nothing wrote: by chance a gradient is not
        # finite.
        with torch.autocast("cpu", enabled=False):
            return self._convolve(input.to(self.weight.dtype), padding)

    def _convolve(self, input: Tensor, padding: tuple[int, int, int]) -> Tensor:
        return F.conv3d(input, self.weight, stride=self.stride, padding=padding)
