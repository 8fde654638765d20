"""Features and fusion modules for tests of ``models.fusion``."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from models.fusion import Fusion, build


def random_features(*widths: int, batch: int = 5, seed: int = 0, scale: float = 1.0) -> list[Tensor]:
    random = torch.Generator().manual_seed(seed)
    return [scale * torch.randn(batch, width, generator=random, dtype=torch.float64) for width in widths]


def biased(name: str, dims: list[int], classes: int = 4, **options: Any) -> Fusion:
    """A fusion in double precision, with biases that are not zero."""
    torch.manual_seed(1)
    module = build(name, dims, classes, **options).double()
    for parameter in module.parameters():
        if parameter.dim() == 1:
            nn.init.normal_(parameter)
    return module
