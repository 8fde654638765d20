"""MMTM, the default of ``channel``: after a stage, gates that see the channels of all modalities."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from models import linear, unknown
from models.fusion.base import FusionOutput, zeroed
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


@dataclass(frozen=True)
class GateRecord:
    """Squeezed maps and gates of one stage in a forward pass, [B, C_m] each, without gradient: as computed, before
    anything that was set took their place."""

    squeezes: list[Tensor]
    gates: list[Tensor]


class MMTM(nn.Module):
    """The gates of one stage: maps [B, C_m, ...] -> [B, C_m] each, see :func:`mmtm_gates`. The layer ``squeeze`` is of
    all modalities, ``excite[m]`` of modality m.

    keep: called with the record of every forward pass. set_squeezes, set_gates: position of a modality -> what stands
    for its squeezed map, or its gate, [C_m] (of all samples) or [B, C_m]. An excitation whose gate is set gets no
    gradient."""

    def __init__(self, channels: list[int], ratio: float = 4, scale: float = 1.0) -> None:
        super().__init__()
        width = mmtm_squeeze_width(channels, ratio)
        if width < 1:
            raise ValueError(f"mmtm_ratio {ratio} leaves no unit for {sum(channels)} channels; use a smaller one")
        self.squeeze = linear(sum(channels), width)
        self.excite = nn.ModuleList(linear(width, count) for count in channels)
        self.scale = scale
        self.keep: Callable[[GateRecord], None] | None = None
        self.set_squeezes: Mapping[int, Tensor] = {}
        self.set_gates: Mapping[int, Tensor] = {}

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        layers: list[Any] = list(self.excite)
        weights, biases = [layer.weight for layer in layers], [layer.bias for layer in layers]
        own = [squeeze(x) for x in features]
        seen = _with(own, self.set_squeezes)
        gates = mmtm_gates(seen, self.squeeze.weight, self.squeeze.bias, weights, biases, self.scale)
        if self.keep is not None:
            self.keep(GateRecord([x.detach() for x in own], [gate.detach() for gate in gates]))
        return _with(gates, self.set_gates)


class MMTMFusion(ChannelFusion):
    """After each chosen stage every channel is scaled by a gate that sees the channels of all modalities; the frames of
    a clip share it. The prediction is the mean of the heads. Native: the heads. Where an encoder has no stages, there
    is one set of gates, on the features of all encoders.

    mmtm_ratio: what the squeeze divides the channels by. mmtm_scale: of the gates; 2 makes no excitation the identity.
    mmtm_stages: numbers from 1; a number beyond the last stage means the last. ``gates``: name of a stage (its number
    from 0) -> its :class:`MMTM`; :meth:`recorded` reads them and :meth:`replaced` sets them.

    Joze et al., "MMTM: Multimodal Transfer Module for CNN Fusion", CVPR 2020."""

    name = "channel (mmtm)"
    title = "gates on channels between the stages of the encoders, or on their features"
    paper = "Joze et al., CVPR 2020"
    options = frozenset({"mmtm_ratio", "mmtm_scale", "mmtm_stages"})
    needs_stages = False

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
        counts = (_stage_channels(each) if self.staged else [int(each.out_dim)] for each in self.encoders)
        channels = list(zip(*counts, strict=True))
        chosen = sorted({min(number, len(channels)) - 1 for number in mmtm_stages})
        gates = {str(number): MMTM(list(channels[number]), mmtm_ratio, mmtm_scale) for number in chosen}
        self.gates = nn.ModuleDict(gates)

    @contextmanager
    def recorded(self) -> Iterator[dict[str, GateRecord]]:
        """Keep the records of the last forward pass inside: name of a stage -> its record."""
        found: dict[str, GateRecord] = {}
        for name, each in self._mmtms():
            each.keep = partial(found.__setitem__, name)
        try:
            yield found
        finally:
            for _, each in self._mmtms():
                each.keep = None

    @contextmanager
    def replaced(
        self,
        *,
        gates: Mapping[str, Mapping[int, Tensor]] | None = None,
        squeezes: Mapping[str, Mapping[int, Tensor]] | None = None,
    ) -> Iterator[None]:
        """Let given tensors stand for gates, and for the squeezed maps that the gates see, in forward passes inside.

        gates, squeezes: name of a stage -> position of a modality -> [C_m] (of all samples) or [B, C_m]; None leaves
        what is set. Raises ValueError for a stage without gates and for a modality that is not there."""
        for given in (gates or {}, squeezes or {}):
            for name, parts in given.items():
                if name not in self.gates:
                    raise unknown("stage with gates", name, self.gates)
                if wrong := [m for m in parts if m not in range(len(self.heads))]:
                    raise ValueError(f"there are {len(self.heads)} modalities, from 0; none has position {wrong[0]}")
        before = [(each, each.set_gates, each.set_squeezes) for _, each in self._mmtms()]
        for name, each in self._mmtms():
            each.set_gates = each.set_gates if gates is None else gates.get(name, {})
            each.set_squeezes = each.set_squeezes if squeezes is None else squeezes.get(name, {})
        try:
            yield
        finally:
            for each, earlier_gates, earlier_squeezes in before:
                each.set_gates, each.set_squeezes = earlier_gates, earlier_squeezes

    def _mmtms(self) -> Iterator[tuple[str, Any]]:
        yield from self.gates.items()

    def _stage(
        self, number: int, stages: Sequence[nn.Module], maps: list[Tensor], batch: int, present: Sequence[bool]
    ) -> list[Tensor]:
        maps = [stage(x) for stage, x in zip(stages, maps, strict=True)]
        if str(number) not in self.gates:
            return maps
        gates = self.gates[str(number)](keep([squeeze_clips(x, batch) for x in maps], present))
        return [_gate(x, gate) for x, gate in zip(maps, gates, strict=True)]

    def fuse(self, features: list[Tensor], present: Tensor | None = None) -> FusionOutput:
        features = zeroed(features, present)
        return FusionOutput(torch.stack(self.native_logits(features)).mean(0), features)


def _with(computed: list[Tensor], given: Mapping[int, Tensor]) -> list[Tensor]:
    """Put what is given, [C_m] or [B, C_m], in the place of what was computed, [B, C_m]."""
    return [given[m].to(own.dtype).expand_as(own) if m in given else own for m, own in enumerate(computed)]


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
