"""Fusions of feature vectors without conditions: ``concat``, ``sum``, ``weight`` (CMML) and ``late``."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models import linear
from models.fusion.base import Fusion, FusionOutput, apply, heads, require

# Equations -------------------------------------------------------------------------------------------------------


def concat_unimodal_logits(features: list[Tensor], weight: Tensor, bias: Tensor | None) -> list[Tensor]:
    """Part W [x_1; ...; x_M] + b into the logits [B, C] of the modalities, which add up to it: l_m = W_m x_m + b / M.

    features: [B, d_m]; weight: [C, sum of d_m]; bias: [C] or None. Raises ValueError where the widths do not fit."""
    widths = [x.shape[1] for x in features]
    if sum(widths) != weight.shape[1]:
        raise ValueError(f"features of widths {widths} do not fit a weight of {weight.shape[1]} columns")
    share = None if bias is None else bias / len(features)
    return [F.linear(x, block, share) for x, block in zip(features, weight.split(widths, dim=1), strict=True)]


def late_average(logits: list[Tensor], space: str = "logits") -> Tensor:
    """Average logits [B, C] over modalities (``space`` logits), or take the logarithm of the mean of their softmax
    (probs). Raises ValueError for another space."""
    require("space", space, ("logits", "probs"))
    stacked = torch.stack(logits)
    if space == "logits":
        return stacked.mean(0)
    return stacked.log_softmax(-1).logsumexp(0) - math.log(len(logits))


def softmax_weights(features: list[Tensor]) -> list[Tensor]:
    """Compute the weight of each modality in each coordinate, [B, D] each, positive with sum 1 over modalities: w_m =
    s_m / sum of s_k, where s_m is the softmax of x_m over its D entries. Raises ValueError for unequal widths.

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


# The fusions -----------------------------------------------------------------------------------------------------


class ConcatFusion(Fusion):
    """One linear layer on the concatenated features. Native: each modality's columns and b / M."""

    name = "concat"
    title = "linear layer on the concatenated features"
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
    title = "sum of one linear head a modality"
    has_native = True
    one_a_modality = ("heads",)
    additive = True

    def __init__(self, dims: list[int], num_classes: int, **shared: Any) -> None:
        super().__init__(dims, num_classes, **shared)
        self.heads = heads(dims, num_classes)

    def forward(self, features: list[Tensor]) -> FusionOutput:
        return FusionOutput(torch.stack(self.native_logits(features)).sum(0), features)

    def native_logits(self, features: list[Tensor]) -> list[Tensor]:
        return apply(self.heads, features)


class WeightFusion(Fusion):
    """One classifier on a weighted sum of the features, projected to the largest width where widths differ.

    weight_mode: softmax, by coordinate and without parameters (:func:`softmax_weights`); attention, one weight a
    modality and sample from a small scoring network (Yang et al., IJCAI 2019). Native: the classifier on the unweighted
    feature; with ``additive`` on the weighted one with b / M."""

    name = "weight"
    title = "classifier on a weighted sum of the features"
    paper = "Yang et al., IJCAI 2019 (weight_mode: attention)"
    has_native = True
    one_a_modality = ("projections", "scorers")
    options = frozenset({"weight_mode", "additive"})

    def __init__(
        self, dims: list[int], num_classes: int, *, weight_mode: str = "softmax", additive: bool = False, **shared: Any
    ) -> None:
        super().__init__(dims, num_classes, **shared)
        require("weight_mode", weight_mode, ("softmax", "attention"))
        width = max(dims)
        self.additive = additive
        self.projections = heads(dims, width) if len(set(dims)) > 1 else None
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
        return features if self.projections is None else apply(self.projections, features)

    def _weights(self, projected: list[Tensor]) -> list[Tensor]:
        """[B, D] each (softmax) or [B, 1] each (attention); 1 in sum over modalities."""
        if self.scorers is None:
            return softmax_weights(projected)
        return list(torch.stack(apply(self.scorers, projected)).softmax(0).unbind(0))


class LateFusion(Fusion):
    """One linear head a modality, trained apart, averaged at inference (:func:`late_average`). Native: the heads.

    late_train: separate, the sum of the heads' cross-entropies and no fused loss; joint, the cross-entropy of the
    averaged logits. late_space: what a separately trained fusion averages, probs or logits. ``extra["heads"]`` of the
    output: the heads' logits, [M, B, C]."""

    name = "late"
    title = "average of one head a modality, trained apart"
    has_native = True
    one_a_modality = ("heads",)
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
        require("late_train", late_train, ("separate", "joint"))
        require("late_space", late_space, ("probs", "logits"))
        self.separate = late_train == "separate"
        self.space = late_space if self.separate else "logits"
        self.heads = heads(dims, num_classes)

    def forward(self, features: list[Tensor]) -> FusionOutput:
        logits = self.native_logits(features)
        return FusionOutput(late_average(logits, self.space), features, {"heads": torch.stack(logits)})

    def native_logits(self, features: list[Tensor]) -> list[Tensor]:
        return apply(self.heads, features)

    def loss(self, output: FusionOutput, target: Tensor, epoch: int = 0) -> Tensor:
        if not self.separate:
            return super().loss(output, target, epoch)
        return torch.stack([F.cross_entropy(logits, target) for logits in output.extra["heads"]]).sum()
