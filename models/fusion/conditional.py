"""Fusions in which modalities condition one of them: ``affine`` (FiLM) and ``gated``."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from models import linear
from models.fusion.base import Fusion, FusionOutput, require

# Equations -------------------------------------------------------------------------------------------------------


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


# The fusions -----------------------------------------------------------------------------------------------------


class FiLMFusion(Fusion):
    """One classifier on the target modality's feature, scaled and shifted by a linear map of the others'.

    film_direction: which of two modalities conditions the other. film_target: of three and more, the position of the
    target (None: the last); the condition is the concatenation of all others. See :func:`film`."""

    name = "affine"
    title = "one modality's feature, scaled and shifted by the others (FiLM)"
    paper = "Perez et al., AAAI 2018"
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
    title = "one modality's feature, gated by the others"
    paper = "Kiela et al., AAAI 2018"
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
    """Find the position of the modality that is conditioned: by direction of two, by target of three and more."""
    require(f"{prefix}_direction", direction, directions)
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
    """Concatenate all features but one."""
    return torch.cat([*features[:target], *features[target + 1 :]], dim=1)
