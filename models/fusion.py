"""Fusion modules: the features of the modalities -> one prediction, and one for each modality alone.

The equations come first, then a class each: ``concat``, ``sum``, ``weight`` (CMML), ``affine`` (FiLM), ``gated`` and
``late``. B: batch, M: modalities, d_m: width of modality m's feature x_m, C: classes; lists are in modality order."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models import linear, unknown

# Equations -----------------------------------------------------------------------------------------------------


def concat_unimodal_logits(features: list[Tensor], weight: Tensor, bias: Tensor | None) -> list[Tensor]:
    """Shares [B, C] of the modalities in W [x_1; ...; x_M] + b: l_m = W_m x_m + b / M, which add up to it.

    features: [B, d_m]; weight: [C, sum of d_m]; bias: [C] or None. Raises ValueError where the widths do not fit."""
    widths = [x.shape[1] for x in features]
    if sum(widths) != weight.shape[1]:
        raise ValueError(f"features of widths {widths} do not fit a weight of {weight.shape[1]} columns")
    share = None if bias is None else bias / len(features)
    return [F.linear(x, block, share) for x, block in zip(features, weight.split(widths, dim=1), strict=True)]


def late_average(logits: list[Tensor], space: str = "logits") -> Tensor:
    """Mean over modalities of logits [B, C] (``space`` logits), or the logarithm of the mean of their softmax (probs).
    Raises ValueError for another space."""
    _require("space", space, ("logits", "probs"))
    stacked = torch.stack(logits)
    if space == "logits":
        return stacked.mean(0)
    return stacked.log_softmax(-1).logsumexp(0) - math.log(len(logits))


def softmax_weights(features: list[Tensor]) -> list[Tensor]:
    """Weight of each modality in each coordinate, [B, D] each, positive with sum 1 over modalities: w_m = s_m / sum of
    s_k, where s_m is the softmax of x_m over its D entries. Raises ValueError for unequal widths.

    Yang et al., "Comprehensive Semi-Supervised Multi-Modal Learning", IJCAI 2019, as the code of the field has it."""
    widths = [x.shape[1] for x in features]
    if len(set(widths)) > 1:
        raise ValueError(f"features must have one width to be weighed by coordinate, got {widths}")
    # In logarithms: every s_m of a coordinate may underflow.
    return list(torch.stack([x.log_softmax(1) for x in features]).softmax(0).unbind(0))


def weighted_features(features: list[Tensor]) -> Tensor:
    """h = sum over m of w_m x_m, [B, D], with the weights of :func:`softmax_weights`."""
    return _weighted_sum(softmax_weights(features), features)


def _weighted_sum(weights: list[Tensor], features: list[Tensor]) -> Tensor:
    return torch.stack([w * x for w, x in zip(weights, features, strict=True)]).sum(0)


def film(condition: Tensor, target: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """γ target + β, [B, D], where [γ; β] = V condition + v.

    condition: [B, d_c]; target: [B, D]; weight V: [2D, d_c]; bias v: [2D] or None. Raises ValueError where V does not
    have two rows for each entry of the target. Perez et al., "FiLM", AAAI 2018, eq. 1 and 2."""
    if weight.shape[0] != 2 * target.shape[1]:
        raise ValueError(f"a target of width {target.shape[1]} needs {2 * target.shape[1]} rows, got {weight.shape[0]}")
    scale, shift = F.linear(condition, weight, bias).chunk(2, dim=1)
    return scale * target + shift


def gated(gate_features: Tensor, value_features: Tensor) -> Tensor:
    """sigmoid(gate) value, all [B, D]: projected features of two modalities.

    Kiela et al., "Efficient Large-Scale Multi-Modal Classification", AAAI 2018."""
    return torch.sigmoid(gate_features) * value_features


# What all fusions share ----------------------------------------------------------------------------------------

Source = Literal["native", "zero", "aux"]


@dataclass
class FusionOutput:
    """logits: [B, C]; features: what the last linear layer (or layers) sees, [B, ...] each; extra: what else the
    fusion's own loss needs."""

    logits: Tensor
    features: list[Tensor]
    extra: dict[str, Any] = field(default_factory=dict)


class Fusion(nn.Module, ABC):
    """Base of the fusion modules.

    dims: width d_m of each modality's feature. aux_heads: with one more linear head d_m -> C a modality, on the
    encoder's feature. aux_detach: these do not reach the encoders. (The fusions below hand both on as ``shared``.)
    Raises ValueError for a number of modalities that the fusion is not defined for, or for a wrong option."""

    name: ClassVar[str]
    has_native: ClassVar[bool] = False
    """Whether the fusion's own parameters give logits to a single modality."""
    options: ClassVar[frozenset[str]] = frozenset()
    """Names of the constructor's options beside ``aux_heads`` and ``aux_detach``."""
    min_modalities: ClassVar[int] = 1
    additive: bool = False
    """Whether native unimodal logits add up to the fused ones."""

    def __init__(self, dims: list[int], num_classes: int, *, aux_heads: bool = False, aux_detach: bool = False) -> None:
        super().__init__()
        if not self.supports(len(dims)):
            needs = f"it needs at least {self.min_modalities}"
            raise ValueError(f"fusion {self.name} is not defined for M = {len(dims)} modalities; {needs}")
        self.aux_heads = _heads(dims, num_classes) if aux_heads else None
        self.aux_detach = aux_detach

    @classmethod
    def supports(cls, modalities: int) -> bool:
        """Whether the fusion is defined for so many modalities."""
        return modalities >= cls.min_modalities

    @abstractmethod
    def forward(self, features: list[Tensor]) -> FusionOutput:
        """Fused prediction from features [B, d_m]."""

    def native_logits(self, features: list[Tensor]) -> list[Tensor]:
        """Logits [B, C] of each modality by the fusion's own parameters."""
        raise ValueError(f"fusion {self.name} has no native unimodal logits; use the source zero or aux")

    def unimodal_logits(self, features: list[Tensor], source: Source | None = None) -> list[Tensor]:
        """Logits [B, C] of each modality from the same features [B, d_m] as ``forward``.

        source: native (see :meth:`native_logits`); zero: fused logits with the features of all others zeroed; aux: the
        auxiliary heads. None: native where there is such, else zero. Raises ValueError for a source that this fusion
        does not have."""
        source = source or ("native" if self.has_native else "zero")
        _require("source of unimodal logits", source, ("native", "zero", "aux"))
        if source == "native":
            return self.native_logits(features)
        if source == "zero":
            zeros = [torch.zeros_like(x) for x in features]
            return [self([*zeros[:m], x, *zeros[m + 1 :]]).logits for m, x in enumerate(features)]
        if self.aux_heads is None:
            raise ValueError(f"fusion {self.name} was built without auxiliary heads; build it with aux_heads=True")
        return _apply(self.aux_heads, [x.detach() for x in features] if self.aux_detach else features)

    def loss(self, output: FusionOutput, target: Tensor, epoch: int = 0) -> Tensor:
        """The fusion's own loss, a mean over the batch; cross-entropy of the fused logits where no other is defined.
        target: int64 [B]; epoch: counted from 0."""
        return F.cross_entropy(output.logits, target)


def _heads(dims: Sequence[int], outputs: int) -> nn.ModuleList:
    return nn.ModuleList(linear(dim, outputs) for dim in dims)


def _apply(layers: nn.ModuleList, features: list[Tensor]) -> list[Tensor]:
    return [layer(x) for layer, x in zip(layers, features, strict=True)]


def _require(option: str, value: str, valid: Sequence[str]) -> None:
    if value not in valid:
        raise unknown(option, value, valid)


# The fusions ---------------------------------------------------------------------------------------------------


class ConcatFusion(Fusion):
    """One linear layer on the concatenated features. Native: each modality's columns and b / M."""

    name = "concat"
    has_native = True
    additive = True

    def __init__(self, dims: list[int], num_classes: int, **shared: Any) -> None:
        super().__init__(dims, num_classes, **shared)
        self.head = linear(sum(dims), num_classes)

    def forward(self, features: list[Tensor]) -> FusionOutput:
        return FusionOutput(self.head(torch.cat(features, dim=1)), features)

    def native_logits(self, features: list[Tensor]) -> list[Tensor]:
        return concat_unimodal_logits(features, self.head.weight, self.head.bias)


class SumFusion(Fusion):
    """The sum of one linear head a modality. Native: the heads."""

    name = "sum"
    has_native = True
    additive = True

    def __init__(self, dims: list[int], num_classes: int, **shared: Any) -> None:
        super().__init__(dims, num_classes, **shared)
        self.heads = _heads(dims, num_classes)

    def forward(self, features: list[Tensor]) -> FusionOutput:
        return FusionOutput(torch.stack(self.native_logits(features)).sum(0), features)

    def native_logits(self, features: list[Tensor]) -> list[Tensor]:
        return _apply(self.heads, features)


class WeightFusion(Fusion):
    """One classifier on a weighted sum of the features, projected to the largest width where widths differ.

    weight_mode: softmax, by coordinate and without parameters (:func:`softmax_weights`); attention, one weight a
    modality and sample from a small scoring network (Yang et al., IJCAI 2019). Native: the classifier on the unweighted
    feature; with ``additive`` on the weighted one with b / M."""

    name = "weight"
    has_native = True
    options = frozenset({"weight_mode", "additive"})

    def __init__(
        self, dims: list[int], num_classes: int, *, weight_mode: str = "softmax", additive: bool = False, **shared: Any
    ) -> None:
        super().__init__(dims, num_classes, **shared)
        _require("weight_mode", weight_mode, ("softmax", "attention"))
        width = max(dims)
        self.additive = additive
        self.projections = _heads(dims, width) if len(set(dims)) > 1 else None
        self.scorers = None
        if weight_mode == "attention":
            self.scorers = nn.ModuleList(nn.Sequential(linear(width, 128), nn.Tanh(), linear(128, 1)) for _ in dims)
        self.head = linear(width, num_classes)

    def forward(self, features: list[Tensor]) -> FusionOutput:
        projected = self._project(features)
        fused = _weighted_sum(self._weights(projected), projected)
        return FusionOutput(self.head(fused), [fused])

    def native_logits(self, features: list[Tensor]) -> list[Tensor]:
        projected = self._project(features)
        if not self.additive:
            return [self.head(x) for x in projected]
        weighted = [w * x for w, x in zip(self._weights(projected), projected, strict=True)]
        return [F.linear(x, self.head.weight, self.head.bias / len(projected)) for x in weighted]

    def _project(self, features: list[Tensor]) -> list[Tensor]:
        return features if self.projections is None else _apply(self.projections, features)

    def _weights(self, projected: list[Tensor]) -> list[Tensor]:
        """[B, D] each (softmax) or [B, 1] each (attention); 1 in sum over modalities."""
        if self.scorers is None:
            return softmax_weights(projected)
        return list(torch.stack(_apply(self.scorers, projected)).softmax(0).unbind(0))


class FiLMFusion(Fusion):
    """One classifier on the target modality's feature, scaled and shifted by a linear map of the others'.

    film_direction: which of two modalities conditions the other. film_target: of three and more, the position of the
    target (None: the last); the condition is the concatenation of all others. See :func:`film`."""

    name = "affine"
    min_modalities = 2
    options = frozenset({"film_direction", "film_target"})

    def __init__(
        self,
        dims: list[int],
        num_classes: int,
        *,
        film_direction: str = "first_conditions_second",
        film_target: int | None = None,
        **shared: Any,
    ) -> None:
        super().__init__(dims, num_classes, **shared)
        directions = ("first_conditions_second", "second_conditions_first")
        self.target = _target_position("film", len(dims), film_direction, directions, film_target)
        width = dims[self.target]
        self.film = linear(sum(dims) - width, 2 * width)
        self.head = linear(width, num_classes)

    def forward(self, features: list[Tensor]) -> FusionOutput:
        condition = _others(features, self.target)
        fused = film(condition, features[self.target], self.film.weight, self.film.bias)
        return FusionOutput(self.head(fused), [fused])


class GatedFusion(Fusion):
    """One classifier on the value modality's projected feature, gated by the projected feature of the others.

    gate_direction: which of two modalities gates the other. gate_target: of three and more, the position of the gated
    one (None: the last); the gate sees the concatenation of all others. gate_width: D of the projections (None: the
    width of the gated feature). See :func:`gated`. ``features`` of the output: the projected gate and value, the value
    first where it is the first modality."""

    name = "gated"
    min_modalities = 2
    options = frozenset({"gate_direction", "gate_target", "gate_width"})

    def __init__(
        self,
        dims: list[int],
        num_classes: int,
        *,
        gate_direction: str = "first_gates_second",
        gate_target: int | None = None,
        gate_width: int | None = None,
        **shared: Any,
    ) -> None:
        super().__init__(dims, num_classes, **shared)
        directions = ("first_gates_second", "second_gates_first")
        self.target = _target_position("gate", len(dims), gate_direction, directions, gate_target)
        width = dims[self.target] if gate_width is None else gate_width
        if width < 1:
            raise ValueError(f"gate_width must be at least 1, got {width}")
        self.gate = linear(sum(dims) - dims[self.target], width)
        self.value = linear(dims[self.target], width)
        self.head = linear(width, num_classes)

    def forward(self, features: list[Tensor]) -> FusionOutput:
        gate, value = self.gate(_others(features, self.target)), self.value(features[self.target])
        return FusionOutput(self.head(gated(gate, value)), [value, gate] if self.target == 0 else [gate, value])


def _target_position(prefix: str, count: int, direction: str, directions: tuple[str, str], target: int | None) -> int:
    """Position of the modality that is conditioned: by direction of two, by target of three and more."""
    _require(f"{prefix}_direction", direction, directions)
    if count == 2:
        if target is not None:
            raise ValueError(f"{prefix}_target is for three and more modalities; of two, set {prefix}_direction")
        return 1 - directions.index(direction)
    if direction != directions[0]:
        raise ValueError(f"{prefix}_direction is for two modalities; of {count}, set {prefix}_target")
    if target is None:
        return count - 1
    if target not in range(count):
        raise ValueError(f"{prefix}_target must be a position from 0 to {count - 1}, got {target}")
    return target


def _others(features: list[Tensor], target: int) -> Tensor:
    """All features but one, concatenated."""
    return torch.cat([*features[:target], *features[target + 1 :]], dim=1)


class LateFusion(Fusion):
    """One linear head a modality, trained apart, averaged at inference (:func:`late_average`). Native: the heads.

    late_train: separate, the sum of the heads' cross-entropies and no fused loss; joint, the cross-entropy of the
    averaged logits. late_space: what a separately trained fusion averages, probs or logits. ``extra["heads"]`` of the
    output: the heads' logits, [M, B, C]."""

    name = "late"
    has_native = True
    options = frozenset({"late_train", "late_space"})

    def __init__(
        self,
        dims: list[int],
        num_classes: int,
        *,
        late_train: str = "separate",
        late_space: str = "probs",
        **shared: Any,
    ) -> None:
        super().__init__(dims, num_classes, **shared)
        _require("late_train", late_train, ("separate", "joint"))
        _require("late_space", late_space, ("probs", "logits"))
        self.separate = late_train == "separate"
        self.space = late_space if self.separate else "logits"
        self.heads = _heads(dims, num_classes)

    def forward(self, features: list[Tensor]) -> FusionOutput:
        logits = self.native_logits(features)
        return FusionOutput(late_average(logits, self.space), features, {"heads": torch.stack(logits)})

    def native_logits(self, features: list[Tensor]) -> list[Tensor]:
        return _apply(self.heads, features)

    def loss(self, output: FusionOutput, target: Tensor, epoch: int = 0) -> Tensor:
        if not self.separate:
            return super().loss(output, target, epoch)
        return torch.stack([F.cross_entropy(logits, target) for logits in output.extra["heads"]]).sum()


# By name -------------------------------------------------------------------------------------------------------

FUSIONS: dict[str, type[Fusion]] = {
    kind.name: kind for kind in (ConcatFusion, SumFusion, WeightFusion, FiLMFusion, GatedFusion, LateFusion)
}


def build(name: str, dims: list[int], num_classes: int, **options: Any) -> Fusion:
    """The fusion called ``name`` for features of widths ``dims``. Raises ValueError naming the wrong fusion or option
    and the nearest valid one, or saying what the fusion is not defined for."""
    _require("fusion", name, tuple(FUSIONS))
    kind = FUSIONS[name]
    for option in options:
        _require(f"option of fusion {name}", option, (*sorted(kind.options), "aux_heads", "aux_detach"))
    return kind(dims, num_classes, **options)
