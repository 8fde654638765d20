"""Equations of AMSS and AMSS+: how much of a modality is updated, and which of its units.

Yang, Pan, Jiang, Xu, Tang, "Adaptively Mask Subnetworks considering Modal Significance", TPAMI 2025. Equation numbers
are the paper's; M: modalities, u: significance, r: share of the units that are updated."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from methods.equations.entropy import prediction_entropy
from models import unknown

# How much of a modality is updated -----------------------------------------------------------------------------


def batch_statistics(logits: Tensor, features: Tensor, labels: Tensor, num_classes: int) -> dict[str, Tensor]:
    """Compute what eq. 2 needs of one modality: logits [B, C], features [B, D], labels int64 [B].

    log_likelihood: 0-d, mean log-probability of the label; label_counts: int64 [C]; feature_entropy: 0-d, mean over
    the batch of the entropy of softmax(features) over D. In nats, in single precision or better."""
    logits, features = (x.to(torch.promote_types(x.dtype, torch.float32)) for x in (logits, features))
    log_p = logits.log_softmax(-1).gather(1, labels.unsqueeze(1))
    # Not by bincount, which waits for the device.
    counts = labels.new_zeros(num_classes).scatter_add_(0, labels, torch.ones_like(labels))
    entropy = prediction_entropy(features).mean()
    return {"log_likelihood": log_p.mean(), "label_counts": counts, "feature_entropy": entropy}


def significance(
    log_likelihood: float | Tensor,
    label_counts: Tensor,
    feature_entropy: float | Tensor,
    shift: float = 0.5,
    label_entropy: str = "shannon",
) -> Tensor:
    """Compute û = (log-likelihood + H(Y) + s) / H(Z), eq. 2 with the official code's shift s: 0-d, in nats.

    label_counts: [C], whose shares p give H(Y) (shannon), or the code's -sum of p log softmax(p) (official). H(Z), the
    feature entropy, is at least 1e-12. Raises ValueError for another ``label_entropy``."""
    likelihood = torch.as_tensor(log_likelihood, device=label_counts.device)
    share = label_counts.to(likelihood.dtype) / label_counts.sum().clamp_min(1)
    if label_entropy == "shannon":
        entropy = -torch.xlogy(share, share).sum()
    elif label_entropy == "official":
        entropy = -(share * share.log_softmax(-1)).sum()
    else:
        raise unknown("label entropy", label_entropy, ("shannon", "official"))
    return (likelihood + entropy + shift) / torch.as_tensor(feature_entropy).clamp_min(1e-12)


def accumulate(previous: Tensor | None, current: Tensor, momentum: float) -> Tensor:
    """Compute u = λ previous + (1 - λ) current, eq. 3, [M]; a copy of ``current`` where there is no previous. Entries
    of ``current`` that are not finite keep their previous value; a previous one that is not finite counts for
    nothing."""
    if previous is None:
        return current.clone()
    average = momentum * previous + (1 - momentum) * current
    average = torch.where(previous.isfinite(), average, current)
    return torch.where(current.isfinite(), average, previous)


def update_ratios(significance: Tensor, tau: float, low: float = 0.1, high: float = 0.9, bias: float = 0.0) -> Tensor:
    """Compute r = 1 - softmax(u / τ) + bias, clipped to [low, high] (eq. 4; bias and clip are the official code's): [M]
    -> [M].

    0.5 for all, clipped alike, where an entry of u is not finite or not above 0. Raises ValueError for tau <= 0."""
    if tau <= 0:
        raise ValueError(f"tau must be positive, got {tau}")
    # The largest is taken off before the division, which a small τ would let overflow.
    share = ((significance - significance.max()) / tau).softmax(0)
    return torch.where(usable(significance), 1 - share + bias, torch.full_like(share, 0.5)).clamp(low, high)


def usable(significance: Tensor) -> Tensor:
    """Tell whether every entry [M] is finite and above 0, as eq. 4 needs: bool, 0-d."""
    return (significance.isfinite() & (significance > 0)).all()


# Which units are -----------------------------------------------------------------------------------------------


def unit_scores(grad: Tensor, unit: str, num_heads: int | None = None) -> Tensor:
    """Sum the squared gradient over each unit, an estimate of the Fisher diagonal.

    filter: slices along the first axis, [grad.shape[0]]; head_rows, head_cols: [num_heads], equal consecutive blocks of
    rows or columns of a matrix; element: every entry, the shape of ``grad``. Raises ValueError for another unit, or
    where the matrix cannot be cut so."""
    if unit not in _UNITS:
        raise unknown("mask unit", unit, _UNITS)
    squares = grad.square()
    if unit == "element":
        return squares
    if unit == "filter":
        return squares.sum(tuple(range(1, grad.ndim))) if grad.ndim > 1 else squares
    axis = 0 if unit == "head_rows" else 1
    if grad.ndim != 2 or not num_heads or grad.shape[axis] % num_heads:
        raise ValueError(f"{unit}: a gradient of shape {list(grad.shape)} cannot be cut into {num_heads} equal heads")
    return squares.sum(1 - axis).view(num_heads, -1).sum(1)


_UNITS = ("filter", "head_rows", "head_cols", "element")


def sample_units(
    scores: Tensor,
    ratio: float | Tensor,
    generator: torch.Generator | None = None,
    sampler: str = "successive",
    uniform: Tensor | None = None,
) -> Tensor:
    """Draw k = ceil(ratio n) of n units (at least one) without replacement, by their scores: bool, shape of ``scores``.

    scores: [n], or [R, n] drawn row by row, nonnegative; units of score 0 are only taken where too few others exist.
    ratio: float, 0-d tensor or [R, 1]. successive: one after the other, each time in proportion to the scores of those
    left. systematic: so that the probability of being drawn is exactly π_j = min(1, c score_j) with sum k. uniform:
    numbers of [0, 1) to draw by instead of the generator's, float64 in the shape of :func:`numbers_shape`. Raises
    ValueError for another sampler."""
    if sampler not in ("successive", "systematic"):
        raise unknown("sampler", sampler, ("successive", "systematic"))
    count = _count(ratio, scores.shape[-1])
    scores = scores.double()
    if uniform is None:
        shape, device = numbers_shape(scores.shape, sampler), scores.device if generator is None else generator.device
        uniform = torch.rand(shape, dtype=torch.float64, generator=generator, device=device).to(scores.device)
    if sampler == "systematic":
        return _systematic(_inclusion(scores, count), count, uniform)
    # The k largest of log score - log Exponential(1) are successive draws (Efraimidis and Spirakis 2006); the noise
    # never lifts -1000 to the logarithm of a positive score.
    logs = torch.where(scores > 0, scores.log(), torch.full_like(scores, -1000.0))
    noise = -torch.log1p(-uniform)
    return _largest(logs - noise.clamp_min(1e-30).log(), count)


def numbers_shape(scores: Sequence[int], sampler: str) -> tuple[int, ...]:
    """Tell how many random numbers a draw by scores of a shape takes: one a unit, and one more a systematic draw."""
    return (*scores[:-1], scores[-1] + (sampler == "systematic"))


def largest_units(scores: Tensor, ratio: float | Tensor) -> Tensor:
    """Select the k units with the largest scores, ties by lower index; arguments and result as in
    :func:`sample_units`."""
    return _largest(scores, _count(ratio, scores.shape[-1]))


def mask_values(scores: Tensor, selected: Tensor, scheme: str = "binary", c: float = 0.0) -> Tensor:
    """Compute the factors of the units' gradients, shape of ``scores`` ([n], or [R, n] row by row); 0 where not
    ``selected``.

    binary: 1. inclusion: 1 / π_j (eq. 5), so that the mean over draws is 1; all ones where all are selected. official:
    1 / (p_j + 1 / n + c) with p the scores as shares of their sum, uniform where all are 0. Raises ValueError for
    another scheme."""
    if scheme not in ("binary", "inclusion", "official"):
        raise unknown("scheme", scheme, ("binary", "inclusion", "official"))
    values = selected.to(scores.dtype if scores.is_floating_point() else torch.get_default_dtype())
    if scheme == "binary":
        return values
    exact, n = scores.double(), scores.shape[-1]
    if scheme == "inclusion":
        probability = _inclusion(exact, selected.sum(-1, keepdim=True))
        # A unit without any probability cannot have been drawn, and its gradient is 0. Chosen, not multiplied: of a
        # unit that is not drawn the factor may exceed every number, and 0 times that is not 0.
        drawn = (values > 0) & (probability > 0)
        largest = torch.finfo(values.dtype).max
        return torch.where(drawn, (1 / probability).clamp_max(largest), 0.0).to(values.dtype)
    total = exact.sum(-1, keepdim=True)
    share = torch.where(total > 0, exact / total, 1 / n)
    return values * (1 / (share + 1 / n + c)).to(values.dtype)


def _count(ratio: float | Tensor, n: int) -> Any:
    """Give k: an int for a float, else a float64 tensor on the ratio's device."""
    if not isinstance(ratio, Tensor):
        return min(n, max(1, math.ceil(ratio * n - 1e-9)))
    # A ratio in single precision is known to eps / 2 only: 0.3 of 10 units must stay 3.
    tolerance = max(1e-9, n * torch.finfo(ratio.dtype).eps / 2)
    return (ratio.double() * n - tolerance).ceil().clamp(1, n)


def _inclusion(scores: Tensor, count: Any) -> Tensor:
    """Compute π [..., n] of ``count`` draws (int, 0-d or [R, 1]); the scores in double precision."""
    n = scores.shape[-1]
    positive = scores > 0
    known = positive.sum(-1, keepdim=True)
    few = torch.where(positive, 1.0, (count - known) / (n - known).clamp_min(1))
    # With the largest t units at 1, the others share the remaining draws; t is the first number that leaves them < 1.
    ordered = scores.sort(-1, descending=True).values
    tails = ordered.flip(-1).cumsum(-1).flip(-1)
    left = count - torch.arange(n, device=scores.device)
    certain = ((left > 0) & (left * ordered >= tails)).sum(-1, keepdim=True)
    threshold = ordered.gather(-1, (certain - 1).clamp_min(0))
    rest = tails.gather(-1, certain.clamp_max(n - 1))
    spread = (scores * ((count - certain) / rest)).clamp_max(1)
    spread = torch.where((certain > 0) & (scores >= threshold), 1.0, spread)
    return torch.where(known <= count, few, spread)


def _systematic(probability: Tensor, count: Any, noise: Tensor) -> Tensor:
    """Draw units with exactly these probabilities [..., n], whose sum is ``count``: lined up at random as intervals of
    their lengths, those that hold one of u, u + 1, u + 2, ... for one uniform u."""
    certain = probability >= 1
    order = noise[..., 1:].argsort(-1)
    ends = probability.masked_fill(certain, 0.0).gather(-1, order).cumsum(-1)
    last = ends[..., -1:].clamp_min(torch.finfo(ends.dtype).tiny)
    ends = ends / last * (count - certain.sum(-1, keepdim=True))
    start = noise[..., :1]
    points = torch.cat([torch.zeros_like(start), (ends - start).ceil()], -1)
    return torch.zeros_like(certain).scatter(-1, order, points.diff(dim=-1) > 0) | certain


def _largest(values: Tensor, count: Any) -> Tensor:
    order = values.argsort(dim=-1, descending=True, stable=True)
    first = (torch.arange(values.shape[-1], device=values.device) < count).expand_as(order)
    return torch.zeros_like(order, dtype=torch.bool).scatter(-1, order, first)
