"""Equations of AUG: loss and residual labels of a modality's classifiers, scores, who grows, merging.

B, N: samples, K: classes, n: classifiers of a modality, M: modalities; sections and equations are the paper's."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from models import unknown


def residual_target(labels: Tensor, prev_logits: Tensor, lam: float) -> Tensor:
    """Compute ŷ = y - λ y ⊙ softmax(prev), section 3.2: what the earlier classifiers leave of the one-hot labels y.

    labels: int64 [B]; prev_logits: sum of the earlier classifiers' logits [B, K] -> [B, K], without gradient. The true
    class holds 1 - λ p in [1 - λ, 1], all others 0. Raises ValueError for ``lam`` outside [0, 1]."""
    if not 0 <= lam <= 1:
        raise ValueError(f"lam must lie in [0, 1], got {lam}")
    prev = prev_logits.detach()
    return F.one_hot(labels, prev.shape[-1]) * (1 - lam * prev.softmax(-1))


def boosting_loss(
    head_logits: Tensor,
    labels: Tensor,
    lam: float,
    use_eps: bool = True,
    use_eps_o: bool = True,
    use_eps_p: bool = True,
) -> dict[str, Tensor]:
    """Compute the loss of one modality (eqs. 2 to 6) and its terms, batch means (0-d), by name.

    head_logits: [n, B, K] of its classifiers by creation, the newest last; labels: int64 [B]. eps: cross-entropy of the
    newest on the residual labels; eps_o: of all together; eps_p: of all but the newest; total: the sum of the terms
    switched on. A single classifier has its cross-entropy as eps_o and total, whatever the switches, and 0 for the
    others. Raises ValueError for ``lam`` outside [0, 1]."""
    newest, prev = head_logits[-1], head_logits[:-1].sum(0)
    residual = residual_target(labels, prev, lam)
    together = F.cross_entropy(head_logits.sum(0), labels)
    none = torch.zeros_like(together)
    if len(head_logits) == 1:
        return {"eps": none, "eps_o": together, "eps_p": none, "total": together}
    terms = {"eps": F.cross_entropy(newest, residual), "eps_o": together, "eps_p": F.cross_entropy(prev, labels)}
    switches = (use_eps, use_eps_o, use_eps_p)
    return terms | {"total": sum((term for term, on in zip(terms.values(), switches, strict=True) if on), none)}


def confidence_score(logits: Tensor, labels: Tensor) -> float:
    """Compute s, section 3.3: the mean softmax probability of the true class, combined logits [N, K] and labels int64
    [N]."""
    return float(true_class_probability(logits, labels).mean())


def true_class_probability(logits: Tensor, labels: Tensor) -> Tensor:
    """Give the softmax probability of each sample's label: [N, K] and int64 [N] -> [N]."""
    return logits.softmax(-1).gather(-1, labels.unsqueeze(-1)).squeeze(-1)


def assign_classifiers(
    scores: list[float], sigma: float = 1.0, dead_zone: float = 0.01, criterion: str = "difference"
) -> list[int]:
    """Give the positions, ascending, of the modalities that get one more classifier, by score (higher: stronger).

    difference, two modalities: d = s_0 - σ s_1 > τ gives [1], d < -τ gives [0] (section 3.3); more: each o where the
    mean of the others' scores - σ s_o > τ. ratio (appendix C.7): s_0 / s_1 against σ + τ and σ - τ; more: the mean of
    the others over s_o against σ + τ. A modality of score 0 has an infinite ratio, unless the others' is 0 too. All
    comparisons are strict. None grows of a single modality or where a score is NaN. Raises ValueError for another
    criterion."""
    if criterion not in ("difference", "ratio"):
        raise unknown("criterion", criterion, ("difference", "ratio"))
    if len(scores) < 2 or any(math.isnan(score) for score in scores):
        return []

    def lead(others: float, own: float) -> float:
        """Tell how far the others are ahead of a modality."""
        if criterion == "difference":
            return others - sigma * own
        if own == 0:
            return math.inf if others > 0 else math.nan
        return others / own

    centre = 0.0 if criterion == "difference" else sigma
    low, high = centre - dead_zone, centre + dead_zone
    if len(scores) == 2:
        ahead = lead(*scores)
        return [1] if ahead > high else [0] if ahead < low else []
    others = [[score for j, score in enumerate(scores) if j != o] for o in range(len(scores))]
    return [o for o, own in enumerate(scores) if lead(sum(others[o]) / len(others[o]), own) > high]


def merge_logits(logits: Tensor, weights: list[float] | None = None) -> Tensor:
    """Add the modalities up by their weights, [M, B, K] -> [B, K]; the mean without ``weights``. Raises ValueError for
    a number of weights other than M."""
    if weights is None:
        return logits.mean(0)
    if len(weights) != len(logits):
        raise ValueError(f"{len(logits)} modalities need as many weights, got {len(weights)}")
    return torch.stack([weight * each for weight, each in zip(weights, logits, strict=True)]).sum(0)
