"""Equations of BSS: agreement, difficulty and balance of samples, pacing functions, orders and probabilities.

n: samples, M: modalities, K: classes; ``methods.bss`` calls them, and is where others import them from."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models import unknown

PACES = ("sqrt", "linear", "root", "geometric", "exponential", "step")


def prediction_similarity(logits: list[Tensor], space: str = "softmax") -> Tensor:
    """Tell how far M >= 2 modalities agree on each sample: [n, K] each -> [n], mean cosine over all pairs (eq. 1).

    space: softmax (of the predicted probabilities) or logits (of the rows as they are). Raises ValueError for one
    modality or another space."""
    if space not in ("softmax", "logits"):
        raise unknown("space", space, ("softmax", "logits"))
    if len(logits) < 2:
        raise ValueError(f"similarity needs at least two modalities, got {len(logits)}")
    rows = [each.softmax(-1) for each in logits] if space == "softmax" else logits
    norms = [row.norm(dim=-1) for row in rows]
    pairs = [(i, j) for j in range(len(rows)) for i in range(j)]
    cosines = [(rows[i] * rows[j]).sum(-1) / (norms[i] * norms[j]).clamp_min(1e-8) for i, j in pairs]
    return torch.stack(cosines).mean(0)


def sample_loss(
    multi_logits: Tensor, uni_logits: list[Tensor], targets: Tensor, alpha: float = 1.0, weighting: str = "additive"
) -> Tensor:
    """Compute the loss of each sample (eq. 2), logits [n, K] and labels int64 [n] -> [n].

    additive: α CE(multi) + sum of CE(modality); convex: α CE(multi) + (1 - α) that sum. Raises ValueError for
    another weighting."""
    if weighting not in ("additive", "convex"):
        raise unknown("weighting", weighting, ("additive", "convex"))
    own = torch.stack([F.cross_entropy(logits, targets, reduction="none") for logits in uni_logits]).sum(0)
    multi = F.cross_entropy(multi_logits, targets, reduction="none")
    return alpha * multi + (own if weighting == "additive" else (1 - alpha) * own)


def gradient_magnitude(loss: Tensor, parameters: Sequence[nn.Parameter]) -> Tensor:
    """Sum over parameter tensors the norm of the gradient of ``loss`` (0-d), one sample's -> 0-d. A tensor that the
    loss does not depend on counts 0."""
    gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
    return torch.stack([g.norm() for g in gradients if g is not None]).sum()


def balance_score(
    similarity: Tensor,
    loss: Tensor,
    use_similarity: bool = True,
    use_loss: bool = True,
    previous: Tensor | None = None,
    beta: float = 1.0,
) -> Tensor:
    """Compute the balance score of each sample, all [n]: minmax(similarity) - minmax(loss) in [-1, 1] (eq. 3), then,
    where a ``previous`` score is given, (1 - β) previous + β score (eq. 5).

    A term that is switched off or constant counts 0. Raises ValueError for an entry that is not finite."""
    for name, values in (("similarity", similarity), ("loss", loss), ("previous score", previous)):
        if values is not None and not values.isfinite().all():
            raise ValueError(
                f"the {name} of a sample is not finite: training has diverged; try a smaller learning rate"
            )
    score = use_similarity * _minmax(similarity) - use_loss * _minmax(loss)
    return score if previous is None else (1 - beta) * previous + beta * score


def _minmax(values: Tensor) -> Tensor:
    low, high = values.min(), values.max()
    return (values - low) / (high - low) if high - low > 1e-12 else torch.zeros_like(values)


def pace(
    t: int,
    lambda0: float = 0.1,
    t_grow: int = 40,
    kind: str = "sqrt",
    power: float = 2.0,
    steps: int = 5,
    rate: float = 10.0,
) -> float:
    """Give the share λ(t) in (0, 1] of the training set that epoch t = 1, 2, ... shows (eq. 4 and its kin): it grows
    from ``lambda0`` and is 1 from ``t_grow`` on.

    kind: sqrt, linear, root (of ``power``), geometric, exponential (of ``rate``), step (``steps`` of them). Raises
    ValueError for another kind or lambda0 outside (0, 1]."""
    if not 0 < lambda0 <= 1:
        raise ValueError(f"lambda0 must lie in (0, 1], got {lambda0}")
    if kind not in PACES:
        raise unknown("pace", kind, PACES)
    if t >= t_grow:
        return 1.0
    u = t / t_grow
    if kind == "geometric":
        return min(1.0, lambda0 ** (1 - u))
    if kind in ("sqrt", "root"):
        p = 2.0 if kind == "sqrt" else power
        return min(1.0, ((1 - lambda0**p) * u + lambda0**p) ** (1 / p))
    if kind == "exponential":
        u = math.expm1(rate * u) / math.expm1(rate)
    elif kind == "step":
        u = math.floor(steps * u + 1e-9) / steps
    return min(1.0, lambda0 + (1 - lambda0) * u)


def curriculum_indices(scores: Tensor, proportion: float, order: str = "curriculum") -> Tensor:
    """Give the positions, int64 [k], of the first floor(n * proportion) of n samples, at least one, by score [n]:
    highest first (curriculum) or lowest first (anti); of equals the lower position first. Raises ValueError for another
    order."""
    if order not in ("curriculum", "anti"):
        raise unknown("order", order, ("curriculum", "anti"))
    count = max(1, min(len(scores), math.floor(len(scores) * proportion + 1e-9)))
    return torch.sort(scores, descending=order == "curriculum", stable=True).indices[:count]


def sampling_probabilities(scores: Tensor, kind: str = "softmax", floor: float = 0.01) -> Tensor:
    """Compute the probability of each sample by its score, [n] -> [n], summing to 1 (eq. 6).

    softmax; or linear: 1 + score + floor, clipped at 0 and normalised (uniform where all are 0). Raises ValueError
    for another kind."""
    if kind == "softmax":
        return scores.softmax(0)
    if kind != "linear":
        raise unknown("kind of probability", kind, ("softmax", "linear"))
    weights = (1 + scores + floor).clamp_min(0)
    total = weights.sum()
    return weights / total if total > 0 else torch.full_like(scores, 1 / len(scores))


def successive_draws(probabilities: Tensor, generator: torch.Generator) -> Tensor:
    """Draw all n positions, int64, one after the other without replacement in proportion to ``probabilities`` [n]: by
    log p plus Gumbel noise, descending. Positions of probability 0 come last, in random order."""
    noise = -torch.empty(len(probabilities), dtype=torch.float64).exponential_(generator=generator).log()
    log_p = probabilities.double().clamp_min(torch.finfo(torch.float64).tiny).log()
    return (log_p + noise).argsort(descending=True, stable=True)
