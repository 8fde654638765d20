"""MMTM, the default of ``channel``: after a stage, gates that see the channels of all modalities."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from models import linear
from models.fusion.base import FusionOutput
from models.fusion.stages import ChannelFusion, frames, keep, squeeze, squeeze_clips

# Equations -------------------------------------------------------------------------------------------------------


def mmtm_squeeze_width(channels: list[int], ratio: float) -> int:
    """Compute the width K of the joint excitation: floor(2 sum of C_m / ratio)."""
    return math.floor(2 * sum(channels) / ratio)


def mmtm_gates(
    features: list[Tensor],
    squeeze_weight: Tensor,
    squeeze_bias: Tensor,
    excite_weights: list[Tensor],
    excite_biases: list[Tensor],
    scale: float = 1.0,
) -> list[Tensor]:
    """Compute gates g_m [B, C_m] in (0, scale), not yet multiplied: scale sigmoid(E_m ReLU(S [s_1; ...; s_M] + s_0) +
    e_m), where s_m is the mean of F_m over its spatial axes.

    features: [B, C_m, ...] of any rank (a 2-D one is its own mean); squeeze_weight S: [K, sum of C_m]; squeeze_bias
    s_0: [K]; excite_weights E_m: [C_m, K]; excite_biases e_m: [C_m]. Joze et al., "MMTM", CVPR 2020."""
    excitation = F.relu(F.linear(torch.cat([squeeze(x) for x in features], dim=1), squeeze_weight, squeeze_bias))
    weights = zip(excite_weights, excite_biases, strict=True)
    return [scale * torch.sigmoid(F.linear(excitation, weight, bias)) for weight, bias in weights]


# The fusion ------------------------------------------------------------------------------------------------------


class MMTM(nn.Module):
    """The gates of one stage: maps [B, C_m, ...] -> [B, C_m] each, see :func:`mmtm_gates`."""

    def __init__(self, channels: list[int], ratio: float = 4, scale: float = 1.0) -> None:
        super().__init__()
        width = mmtm_squeeze_width(channels, ratio)
        if width < 1:
            raise ValueError(f"mmtm_ratio {ratio} leaves no unit for {sum(channels)} channels; use a smaller one")
        self.squeeze = linear(sum(channels), width)
        self.excite = nn.ModuleList(linear(width, count) for count in channels)
        self.scale = scale

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        layers: list[Any] = list(self.excite)
        weights, biases = [layer.weight for layer in layers], [layer.bias for layer in layers]
        return mmtm_gates(features, self.squeeze.weight, self.squeeze.bias, weights, biases, self.scale)


class MMTMFusion(ChannelFusion):
    """After each chosen stage every channel is scaled by a gate that sees the channels of all modalities; the frames of
    a clip share it. The prediction is the mean of the heads. Native: the heads.

    mmtm_ratio: what the squeeze divides the channels by. mmtm_scale: of the gates; 2 makes no excitation the identity.
    mmtm_stages: numbers from 1; a number beyond the last stage means the last.

    Joze et al., "MMTM: Multimodal Transfer Module for CNN Fusion", CVPR 2020."""

    name = "channel (mmtm)"
    title = "gates on channels between the stages of the encoders"
    paper = "Joze et al., CVPR 2020"
    options = frozenset({"mmtm_ratio", "mmtm_scale", "mmtm_stages"})

    def __init__(
        self,
        encoders: Sequence[nn.Module],
        num_classes: int,
        *,
        mmtm_ratio: float = 4,
        mmtm_scale: float = 1.0,
        mmtm_stages: Sequence[int] = (2, 3, 4),
        **shared: Any,
    ) -> None:
        super().__init__(encoders, num_classes, **shared)
        if not mmtm_stages or min(mmtm_stages) < 1:
            raise ValueError(f"mmtm_stages must be numbers of stages, from 1, got {list(mmtm_stages)}")
        if mmtm_ratio <= 0 or mmtm_scale <= 0:
            raise ValueError(f"mmtm_ratio and mmtm_scale must be positive, got {mmtm_ratio} and {mmtm_scale}")
        channels = list(zip(*(_stage_channels(encoder) for encoder in encoders), strict=True))
        chosen = sorted({min(number, len(channels)) - 1 for number in mmtm_stages})
        gates = {str(number): MMTM(list(channels[number]), mmtm_ratio, mmtm_scale) for number in chosen}
        self.gates = nn.ModuleDict(gates)

    def _stage(
        self, number: int, stages: Sequence[nn.Module], maps: list[Tensor], batch: int, present: Sequence[bool]
    ) -> list[Tensor]:
        maps = [stage(x) for stage, x in zip(stages, maps, strict=True)]
        if str(number) not in self.gates:
            return maps
        gates = self.gates[str(number)](keep([squeeze_clips(x, batch) for x in maps], present))
        return [_gate(x, gate) for x, gate in zip(maps, gates, strict=True)]

    def fuse(self, features: list[Tensor]) -> FusionOutput:
        return FusionOutput(torch.stack(self.native_logits(features)).mean(0), features)


def _gate(maps: Tensor, gate: Tensor) -> Tensor:
    """Multiply maps [B, C, ...] or [B T, C, ...] by a gate [B, C]."""
    each = gate.repeat_interleave(frames(maps, len(gate)), dim=0)
    return maps * each.view(*each.shape, *[1] * (maps.dim() - 2))


def _stage_channels(encoder: Any) -> list[int]:
    """Count the channels of each stage's maps, from the last layer that sets them."""
    found: list[int] = []
    count = _channels(encoder.stem) if isinstance(encoder.stem, nn.Module) else None
    for number, stage in enumerate(encoder.stages, start=1):
        count = _channels(stage) or count
        if count is None:
            raise ValueError(f"no layer tells how many channels stage {number} of {type(encoder).__name__} has")
        found.append(count)
    return found


def _channels(module: nn.Module) -> int | None:
    counts = [
        getattr(layer, name)
        for layer in module.modules()
        for kind, name in ((_ConvNd, "out_channels"), (_BatchNorm, "num_features"), (nn.Linear, "out_features"))
        if isinstance(layer, kind)
    ]
    return counts[-1] if counts else None
