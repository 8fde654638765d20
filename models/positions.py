"""Position tables of sines and cosines, as in He et al., "Masked Autoencoders Are Scalable Vision Learners", CVPR
2022."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["grid_sines", "sines"]


def sines(positions: Tensor, width: int) -> Tensor:
    """Tabulate positions [L] as [L, width]: width / 2 sines of falling frequency, then as many cosines."""
    halves = torch.arange(width // 2, dtype=torch.float64, device=positions.device)
    frequencies = 10000.0 ** (-halves / (width / 2))
    angles = positions.double()[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=1).float()


def grid_sines(rows: int, columns: int, width: int) -> Tensor:
    """Tabulate a grid as [rows x columns, width], row by row: the first half tells the column, the second the row."""
    row, column = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    return torch.cat([sines(column.flatten(), width // 2), sines(row.flatten(), width // 2)], dim=1)
