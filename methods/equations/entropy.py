"""Entropy of predictions, and the late fusion that it weighs: the surer of its prediction, the more a modality counts.

Zhang, Yoon, Bansal, Yao, "Multimodal Representation Learning by Alternating Unimodal Adaptation" (MLA), CVPR 2024."""

from __future__ import annotations

import torch
from torch import Tensor


def prediction_entropy(logits: Tensor) -> Tensor:
    """Compute the entropy in nats of the softmax of each row, [B, C] -> [B]; 0 for saturated rows."""
    log_p = logits.log_softmax(-1)
    return -(log_p.exp() * log_p.clamp_min(torch.finfo(log_p.dtype).min)).sum(-1)


def fusion_weights(logits: list[Tensor]) -> Tensor:
    """Compute the weights ω [M, B] of M modalities' logits [B, C], per sample: softmax over modalities of minus their
    entropies. Columns sum to 1; the surest modality has the largest weight."""
    return torch.stack([-prediction_entropy(each) for each in logits]).softmax(0)


def fuse_logits(logits: list[Tensor], weights: Tensor) -> Tensor:
    """Sum over modalities weights[k, :, None] * logits[k]: M of [B, C] and [M, B] -> [B, C]."""
    return (weights.unsqueeze(-1) * torch.stack(logits)).sum(0)
