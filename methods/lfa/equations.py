"""Equations of LFA: alignment losses, courses of their weight α, and its hypergradient.

B: samples, D: width, K: classes, P: parameters; sections and equations are the paper's."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import combinations

import torch
from torch import Tensor
from torch.nn import functional as F

STRATEGIES = ("constant", "stepwise", "heuristic", "cubic", "exp_decay", "fitted")
# Learned courses, by rising powers of the epoch: Kinetics-Sounds, 30 epochs (section 4.4); CREMA-D, 200 epochs counted
# from 0 (official code).
CUBIC = (1.0, 3.2e-2, -6.5e-3, 1.5e-4)
FITTED = (0.795376296, -3.35472727e-3, -1.22989557e-4, 2.92947416e-6, -2.23835486e-8, 5.39717505e-11)


def contrastive_loss(feats: list[Tensor], tau: float) -> Tensor:
    """Compute L_MM: InfoNCE in both directions on cosine similarities over the temperature τ, features [B, D] each ->
    0-d.

    The positives are the modalities of one sample, the negatives the other samples of the batch; mean over all pairs
    of modalities. 0 for one sample, log B where all similarities are equal (a zero row has similarity 0 with all).
    Raises ValueError for tau <= 0 or fewer than two modalities."""
    if tau <= 0:
        raise ValueError(f"tau must be positive, got {tau}")
    pairs = _pairs(feats)
    target = torch.arange(len(feats[0]), device=feats[0].device)
    with torch.autocast(feats[0].device.type, enabled=False):
        # Not by F.normalize: its second derivative is NaN for a zero row.
        rows = [f.to(torch.promote_types(f.dtype, torch.float32)) for f in feats]
        units = [f / f.square().sum(-1, keepdim=True).clamp_min(1e-24).sqrt() for f in rows]
        losses = []
        for a, v in pairs:
            similarity = units[a] @ units[v].T / tau
            losses.append((F.cross_entropy(similarity, target) + F.cross_entropy(similarity.T, target)) / 2)
    return torch.stack(losses).mean()


def js_alignment(logits: list[Tensor]) -> Tensor:
    """Compute the official code's alignment, logits [B, K] each -> 0-d: with p, q the two softmax outputs and m their
    mean, (KL(m || p) + KL(m || q)) / 2, mean over samples and pairs. 0 where the predictions are equal. Raises
    ValueError for fewer than two modalities."""
    log_p = [each.log_softmax(-1) for each in logits]
    losses = []
    for a, v in _pairs(logits):
        log_m = torch.logaddexp(log_p[a], log_p[v]) - math.log(2)
        # log m - (log p + log q) / 2 as log cosh of half their difference: exactly 0 where p = q.
        half = (log_p[a] - log_p[v]) / 2
        losses.append((log_m.exp() * (torch.logaddexp(half, -half) - math.log(2))).sum(-1).mean())
    return torch.stack(losses).mean()


def _pairs(modalities: list[Tensor]) -> list[tuple[int, int]]:
    if len(modalities) < 2:
        raise ValueError(f"alignment needs at least two modalities, got {len(modalities)}")
    return list(combinations(range(len(modalities)), 2))


def alpha_schedule(strategy: str, t: int, total: int | None = None, value: float | None = None) -> float:
    """Give the weight α of L_MM on a fixed course, at epoch t = 1, 2, ... of ``total``.

    constant: ``value``. stepwise: ``value`` in the first half of ``total``, then 1 - ``value``. exp_decay:
    exp(-value (t - 1)) clipped to [0.05, 0.95]. fitted: the code's polynomial at t - 1, stretched from 200 epochs to
    ``total`` if given. These hold in epoch t; the next two in epoch t + 1, as Algorithm 1 updates α at an epoch's end.
    heuristic: ω(t) = 1 - exp(-1/t). cubic: the paper's polynomial clipped to [0, 1], stretched from 30 epochs to
    ``total`` if given. Arguments that a strategy does not use are ignored. Raises ValueError for t < 1, an unknown
    strategy (or learned, which has no fixed course), or a missing value or total."""
    if strategy not in STRATEGIES:
        raise ValueError(f"no fixed course of alpha called {strategy!r}; there are: {', '.join(STRATEGIES)}")
    if t < 1:
        raise ValueError(f"epochs count from 1, got {t}")
    if strategy == "heuristic":
        return -math.expm1(-1 / t)
    if strategy == "cubic":
        return clipped(_polynomial(CUBIC, t if total is None else t * 30 / total))
    if strategy == "fitted":
        return _polynomial(FITTED, t - 1 if total is None else (t - 1) * 200 / total)
    if value is None:
        raise ValueError(f"strategy {strategy} needs a value of alpha")
    if strategy == "exp_decay":
        return clipped(math.exp(-value * (t - 1)), 0.05, 0.95)
    if strategy == "constant":
        return value
    if total is None:
        raise ValueError("strategy stepwise needs the total number of epochs")
    return value if t <= total // 2 else 1 - value


def _polynomial(coefficients: tuple[float, ...], x: float) -> float:
    return sum(c * x**power for power, c in enumerate(coefficients))


def clipped(value: float, low: float = 0.0, high: float = 1.0) -> float:
    """Give the number of [low, high] that is nearest to ``value``."""
    return min(max(value, low), high)


def inverse_hvp(
    hess: Tensor | Callable[[Tensor], Tensor],
    vec: Tensor,
    method: str = "neumann",
    steps: int = 3,
    eta: float = 0.01,
    tol: float = 1e-10,
) -> Tensor:
    """Approximate H^-1 ``vec`` [P], from products of H with vectors alone; ``hess``: H [P, P], or the product as a
    function.

    neumann: η sum over k = 0..``steps`` of (I - ηH)^k vec, which converges for η < 2 / λ_max (Ghadimi and Wang 2018,
    stocBiO). cg: at most ``steps`` conjugate gradients from 0, ended by a residual norm below ``tol`` or by a direction
    p with p·Hp <= 0; a copy of vec where no step was made. identity: a copy of vec. Raises ValueError for another
    method."""
    product = hess.mv if isinstance(hess, Tensor) else hess
    if method == "neumann":
        term = total = vec
        for _ in range(steps):
            term = term - eta * product(term)
            total = total + term
        return eta * total
    if method == "cg":
        return _conjugate_gradient(product, vec, steps, tol)
    if method == "identity":
        return vec.clone()
    raise ValueError(f"unknown inverse {method!r}; there are: neumann, cg, identity")


def _conjugate_gradient(product: Callable[[Tensor], Tensor], vec: Tensor, steps: int, tol: float) -> Tensor:
    solution, residual, direction, moved = torch.zeros_like(vec), vec, vec, False
    square = residual @ residual
    for _ in range(steps):
        image = product(direction)
        curvature = direction @ image
        if square.sqrt() < tol or curvature <= 0:
            break
        step = square / curvature
        solution, residual, moved = solution + step * direction, residual - step * image, True
        previous, square = square, residual @ residual
        direction = residual + square / previous * direction
    return solution if moved else vec.clone()


def alpha_hypergradient(grad_cls: Tensor, grad_mm: Tensor, ihvp: Tensor) -> float:
    """Compute h = -(g_MM - g_CLS)·v, how the outer L_CLS changes with α (eq. 3; L_Total is linear in α): the gradients
    of L_CLS and L_MM [P] on the inner batch, v = H^-1 g_out [P] of the outer one."""
    return float((grad_cls - grad_mm) @ ihvp)


def update_alpha(alpha: float, hypergrad: float, lr_alpha: float, low: float = 0.0, high: float = 1.0) -> float:
    """Compute α - η_α h, clipped to [low, high]; a hypergradient that is not finite moves nothing."""
    return clipped(alpha - lr_alpha * hypergrad if math.isfinite(hypergrad) else alpha, low, high)
