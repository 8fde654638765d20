"""Equations of UMT: loss of a student, prediction of an ensemble, and the test that chooses between them.

B, N: samples, D: width, C: classes, M: modalities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from methods.base.optimizers import without_compiler


def feature_distill_loss(student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
    """Compute D = Σ_m mean over samples and dimensions of (z_m - t_m)², M features [B, D_m] each -> 0-d.

    Teachers receive no gradient. In single precision at least. Raises ValueError for unequal numbers or shapes."""
    shapes = [[tuple(each.shape) for each in side] for side in (student, teacher)]
    if shapes[0] != shapes[1]:
        raise ValueError(f"student and teacher need features of the same shapes, got {shapes[0]} and {shapes[1]}")
    precision = torch.promote_types(student[0].dtype, torch.float32)
    pairs = zip(student, teacher, strict=True)
    return torch.stack([(s.to(precision) - t.detach().to(precision)).square().mean() for s, t in pairs]).sum()


def umt_loss(
    logits: Tensor,
    target: Tensor,
    student: Sequence[Tensor] | None,
    teacher: Sequence[Tensor] | None,
    lam: float = 10.0,
) -> Tensor:
    """Compute L = CE(logits, y) + λ D, logits [B, C] and int64 [B] -> 0-d. With λ = 0 the features, which may be None,
    are not looked at. Raises ValueError for features that do not fit."""
    loss = F.cross_entropy(logits, target)
    if lam == 0:
        return loss
    if student is None or teacher is None:
        raise ValueError(f"with lam {lam:g} the features of students and teachers are needed")
    return loss + lam * feature_distill_loss(student, teacher)


def ume_probs(logits: Sequence[Tensor], weights: Tensor | Sequence[float] | None = None) -> Tensor:
    """Compute p = Σ_m w_m softmax(z_m), M logits [B, C] -> [B, C], rows of sum 1.

    weights: [M], divided by their sum (None: equal). Raises ValueError for negative weights, only zeros, or another
    number than M."""
    probs = torch.stack([each.softmax(-1) for each in logits])
    w = torch.as_tensor([1.0] * len(probs) if weights is None else weights, dtype=probs.dtype, device=probs.device)
    if len(w) != len(probs):
        raise ValueError(f"{len(probs)} predictions need as many weights, got {len(w)}")
    if (w < 0).any() or not (w > 0).any():
        raise ValueError(f"weights must be 0 or more and not all 0, got {w.tolist()}")
    return torch.einsum("m,mbc->bc", w / w.sum(), probs)


def choose_branch(acc_linear: float, acc_ensemble: float) -> Literal["umt", "ume"]:
    """Choose joint training with teachers where a linear classifier on all features is more accurate than the
    ensemble, strictly: then features matter in pairs."""
    return "umt" if acc_linear > acc_ensemble else "ume"


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """Compute the share of samples whose largest logit is that of their label, [N, C] and int64 [N]."""
    return float((logits.argmax(-1) == labels).double().mean())


def fitted_linear(features: Tensor, labels: Tensor, num_classes: int) -> nn.Linear:
    """Fit a linear classifier to features [N, D] and labels int64 [N], by L-BFGS from zero."""
    layer = nn.Linear(features.shape[1], num_classes).to(features)
    kind: Any = without_compiler(torch.optim.LBFGS)
    optimizer = kind(layer.parameters(), max_iter=200, line_search_fn="strong_wolfe")
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(layer(features), labels)
        loss.backward()
        return loss

    optimizer.step(closure)
    return layer
