"""Numbers that batches are augmented by: drawn on the CPU, one call a quantity for the whole batch."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

Range = tuple[float, float]


def uniform(shape: tuple[int, ...], limits: Range, generator: Generator) -> Tensor:
    """Float64 in [low, high)."""
    low, high = limits
    return low + (high - low) * torch.rand(shape, generator=generator, dtype=torch.float64)


def draw_integers(count: int, most: Tensor | int, generator: Generator) -> Tensor:
    """Int64 [count] from 0 to ``most`` (included; one bound for all, or one each)."""
    return (uniform((count,), (0, 1), generator) * (most + 1)).long()
