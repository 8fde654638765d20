"""Scoring passes: features or losses of many samples at once, beside the steps."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from data.base import Batch
from methods.base.context import Context
from methods.base.method import evaluating


@torch.no_grad()
def features_of(
    module: nn.Module, encode: Callable[[Batch], list[Tensor]], batches: Iterable[Batch], context: Context
) -> tuple[list[Tensor], Tensor]:
    """Give the features [N, D] that ``encode`` makes of each modality, float32, and the labels, int64 [N], of all
    samples of ``batches``: in evaluation mode of ``module``, in the recipe's precision, alike on every worker."""
    rows: list[list[Tensor]] = []
    with evaluating(module):
        for batch in batches:
            with context.autocast():
                found = encode(batch)
            rows.append([context.gather_rows(each) for each in (*(f.float() for f in found), batch.labels)])
    *features, labels = (torch.cat(part) for part in zip(*rows, strict=True))
    return features, labels


@torch.no_grad()
def mean_loss(
    module: nn.Module, classify: Callable[[Batch], Tensor], batches: Iterable[Batch], context: Context
) -> Tensor:
    """Compute the mean cross-entropy, float64 and 0-d, of the logits [B, C] that ``classify`` gives to all samples of
    ``batches``: in evaluation mode of ``module``, in the recipe's precision, alike on every worker."""
    total = torch.zeros(2, dtype=torch.float64, device=context.device)
    with evaluating(module):
        for batch in batches:
            with context.autocast():
                logits = classify(batch)
            loss = F.cross_entropy(logits.double(), batch.labels, reduction="sum")
            total += torch.stack([loss, torch.full_like(loss, len(batch))])
    loss, samples = context.sum(total)
    return loss / samples
