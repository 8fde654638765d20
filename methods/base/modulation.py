"""Gradient modulation: the gradients of each modality's encoder, times a factor of the modality, with or without
noise."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from models import unknown

Scope = Literal["all", "conv", "matrix"]


def trained_parameters(module: nn.Module) -> list[nn.Parameter]:
    """List the parameters that are not frozen, in the module's order."""
    return [parameter for parameter in module.parameters() if parameter.requires_grad]


def parameters_in_scope(encoder: nn.Module, scope: str = "all") -> list[nn.Parameter]:
    """List the parameters of an encoder whose gradients are modulated, in the encoder's order.

    scope: all; conv, tensors of 4 dimensions, which are the weights of 2-d convolutions; matrix, tensors of 2
    dimensions and more, which leaves out biases and norms. Raises ValueError for another one."""
    if scope not in get_args(Scope):
        raise unknown("scope", scope, get_args(Scope))
    parameters = list(encoder.parameters())
    if scope == "conv":
        return [p for p in parameters if p.ndim == 4]
    return [p for p in parameters if scope == "all" or p.ndim >= 2]


def modulate_gradient(grad: Tensor, coefficient: float | Tensor, noise: Tensor | None = None) -> Tensor:
    """Compute k g + ε (std(g) + 1e-8) of a gradient g of any shape, as a new tensor.

    coefficient: k, a float or 0-d tensor. noise: ε, standard normal and of the shape of g, or None for k g alone. std
    is the sample standard deviation (n - 1) over all entries; a gradient of one entry has none and gets no noise."""
    modulated = coefficient * grad
    if noise is None or grad.numel() < 2:
        return modulated
    return modulated + noise * (grad.std() + 1e-8)


@torch.no_grad()
def modulate_encoders(
    encoders: Iterable[nn.Module],
    factors: Iterable[float | Tensor],
    scope: str = "all",
    generator: torch.Generator | None = None,
) -> None:
    """Replace the gradients in ``scope`` of each encoder by those that :func:`modulate_gradient` makes.

    factors: a float or 0-d tensor for each encoder. generator: draws the noise, parameter by parameter in the encoders'
    order, so it has to be alike on all workers; None: no noise. Parameters without gradient are passed over."""
    for encoder, factor in zip(encoders, factors, strict=True):
        for parameter in parameters_in_scope(encoder, scope):
            grad = parameter.grad
            if grad is None:
                continue
            noise = None
            if generator is not None:
                noise = torch.randn(grad.shape, generator=generator, dtype=grad.dtype, device=grad.device)
            parameter.grad = modulate_gradient(grad, factor, noise)
