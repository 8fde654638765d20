"""Units of weights: what AMSS scores, draws and masks as one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from methods.amss.equations import unit_scores
from models.attention import Projection, attention_layers, cuts_patches


@dataclass(frozen=True, eq=False)
class Units:
    """The units of a weight, or of a part of it (an index of rows or columns)."""

    name: str
    weight: nn.Parameter
    unit: str
    part: Any = ...
    num_heads: int | None = None

    @property
    def gradient(self) -> Tensor:
        """Give a view of the weight's gradient: what is multiplied here is multiplied in the weight's gradient."""
        assert self.weight.grad is not None
        return self.weight.grad[self.part]

    def scores(self) -> Tensor:
        return unit_scores(self.gradient, self.unit, self.num_heads)

    def multiply(self, mask: Tensor) -> None:
        """Multiply each unit's gradient by its factor. mask: as many factors as there are units."""
        gradient = self.gradient
        if self.unit == "element":
            gradient.mul_(mask.view_as(gradient))
        elif self.unit == "filter":
            gradient.mul_(mask.view(-1, *[1] * (gradient.ndim - 1)))
        else:
            axis = 0 if self.unit == "head_rows" else 1
            blocks = gradient.unflatten(axis, (mask.numel(), -1))
            blocks.mul_(mask.view((-1, 1, 1) if axis == 0 else (1, -1, 1)))


@dataclass(frozen=True, eq=False)
class Layer:
    """Weights of one modality under one draw; their scores add up. by_row: a draw for each row of the weight."""

    modality: int
    units: tuple[Units, ...]
    by_row: bool = False

    @property
    def has_gradient(self) -> bool:
        return all(each.weight.grad is not None for each in self.units)

    @cached_property
    def shape(self) -> tuple[int, int]:
        """Count the draws, and the units of a draw."""
        first = self.units[0]
        # Of the weight itself, which there is before there is a gradient.
        found = unit_scores(first.weight.detach()[first.part], first.unit, first.num_heads)
        return (len(found), found.shape[-1]) if self.by_row else (1, found.numel())

    def scores(self) -> Tensor:
        """Sum the units' scores, [draws, n]."""
        total = sum((each.scores() for each in self.units[1:]), self.units[0].scores())
        return total if self.by_row else total.reshape(1, -1)

    def multiply(self, mask: Tensor) -> None:
        """Multiply the gradients of all weights. mask: [draws, n]."""
        for each in self.units:
            each.multiply(mask)


def maskable_units(encoder: nn.Module, linear_unit: str = "element") -> Iterator[list[Units]]:
    """Yield the maskable weights of an encoder, those under one draw together; names are paths inside the encoder.

    Convolutions: output filters. Attention: heads, over all projections of a layer. Other linear layers, where the
    encoder is no Transformer: single weights (``linear_unit`` element) or rows. Never biases, normalisation,
    embeddings (a Transformer's convolutions that cut an input into patches are such) or recurrent weights."""
    attention = [[_units(projection) for projection in layer] for layer in attention_layers(encoder)]
    yield from attention
    inside = {id(each.weight) for units in attention for each in units}
    for path, module in encoder.named_modules():
        weight = module._parameters.get("weight")
        if weight is None or id(weight) in inside:
            continue
        name = f"{path}.weight".lstrip(".")
        if isinstance(module, _ConvNd) and not module.transposed:
            if not (attention and cuts_patches(path, module)):
                yield [Units(name, weight, "filter")]
        elif isinstance(module, nn.Linear) and not attention:
            yield [Units(name, weight, "filter" if linear_unit == "row" else "element")]


def _units(projection: Projection) -> Units:
    """Give the heads of a projection as units."""
    kind = "head_rows" if projection.by_rows else "head_cols"
    return Units(projection.name, projection.weight, kind, projection.part, projection.num_heads)
