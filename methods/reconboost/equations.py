"""Equations of ReconBoost: the ensemble, the losses of a learner in its turn, and whose turn it is.

B: samples, C: classes; z: logits of a learner, p = softmax(z); Φ: of the ensemble, q = softmax(Φ)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from models import unknown


def ensemble_logits(logits: list[Tensor], boost_rate: float | Tensor = 1.0, exclude: int | None = None) -> Tensor:
    """Compute Φ = ρ_b Σ_k z_k over the learners of the ensemble, [B, C] each -> [B, C], without the one at ``exclude``;
    zeros where none is left."""
    kept = [each for position, each in enumerate(logits) if position != exclude]
    return boost_rate * torch.stack(kept).sum(0) if kept else torch.zeros_like(logits[0])


def boosting_loss(
    logits: Tensor,
    rest_logits: Tensor | None,
    labels: Tensor,
    weight_agree: float = 5.0,
    weight_recon: float = 1.0,
    form: str = "target",
    class_mean: bool = True,
) -> Tensor:
    """Compute the agreement of a learner p = softmax(z) [B, C] with the labels (int64 [B]) less its agreement with the
    other learners q = softmax(Φ) [B, C], mean over the batch, 0-d; only the learner receives gradients.

    form: target, -(w1 - w2 q_y) log p_y; kl, -w1 log p_y - w2 Σ_c q_c log(q_c / p_c), which has no lower bound.
    rest_logits: None drops the second term. class_mean: divide by C. Raises ValueError for another form."""
    if form not in ("target", "kl"):
        raise unknown("form", form, ("target", "kl"))
    log_p = logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(-1)
    own = log_p.gather(1, labels.unsqueeze(1)).squeeze(1)
    losses = -weight_agree * own
    if rest_logits is not None:
        q = rest_logits.detach().to(log_p.dtype).softmax(-1)
        if form == "target":
            losses = losses + weight_recon * q.gather(1, labels.unsqueeze(1)).squeeze(1) * own
        else:
            losses = losses - weight_recon * (torch.xlogy(q, q) - q * log_p).sum(-1)
    return losses.mean() / logits.shape[1] if class_mean else losses.mean()


def pseudo_residual(rest_logits: Tensor, labels: Tensor, lam: float) -> Tensor:
    """Compute what the other learners Φ [B, C] leave of the labels y, r = y - λ softmax(Φ): int64 [B] -> [B, C]."""
    return F.one_hot(labels, rest_logits.shape[1]) - lam * rest_logits.softmax(-1)


def memory_loss(logits: Tensor, prev_logits: Tensor) -> Tensor:
    """Average (softmax(z) - softmax(z_prev))² over samples and classes, [B, C] each, 0-d; the learner of the stage
    before receives no gradient."""
    precision = torch.promote_types(logits.dtype, torch.float32)
    return (logits.to(precision).softmax(-1) - prev_logits.detach().to(precision).softmax(-1)).square().mean()


def stage_plan(stage: int, num_modalities: int) -> tuple[int, int | None]:
    """Tell which modality is trained in a stage, counted from 0, and which was in the one before (None at 0). Raises
    ValueError for a negative stage."""
    if stage < 0:
        raise ValueError(f"stages count from 0, got {stage}")
    return stage % num_modalities, (stage - 1) % num_modalities if stage else None
