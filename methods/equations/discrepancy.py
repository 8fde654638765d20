"""How much better one modality predicts than the others in a batch: what OGM and OPM act on.

Peng, Wei, Deng, Wang, Hu, CVPR 2022 (two modalities); Wei, Hu, Du, Wen, TPAMI 2024 (any number)."""

from __future__ import annotations

import torch
from torch import Tensor


def unimodal_scores(logits: list[Tensor], labels: Tensor) -> Tensor:
    """Sum each modality's probability of the right class over a batch: s_m = Σ_i softmax(z_im)[y_i].

    logits: M tensors [B, C]; labels: int64 [B]. Returns [M], each in [0, B], of single precision at least."""
    rows = [z.to(torch.promote_types(z.dtype, torch.float32)).softmax(-1) for z in logits]
    return torch.stack([p.gather(-1, labels.unsqueeze(-1)).sum() for p in rows])


def discrepancy_ratios(scores: Tensor) -> Tensor:
    """Average the quotients of each modality's score and the others': ρ_m = 1/(M - 1) Σ_{j ≠ m} s_m / s_j, [M] -> [M].

    Equal positive scores have 1, a score of 0 has 0; denominators are at least 1e-12. Two ratios are reciprocal."""
    quotients = scores.unsqueeze(1) / scores.clamp_min(1e-12)
    others = 1 - torch.eye(len(scores), dtype=scores.dtype, device=scores.device)
    return (quotients * others).sum(1) / (len(scores) - 1)
