"""Equations of IGM: covariances of layer inputs, the matrices that modify gradients, sharpness-aware perturbations, and
which layers are meant; ``methods.igm`` calls them, and is where others import them from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def accumulate_cov(
    cov: Tensor | None, x: Tensor, conv: dict[str, Any] | None = None, mode: str = "batch_mean"
) -> Tensor:
    """Compute the uncentred covariance C [d, d] of a layer's inputs (eq. 2), with those of one more batch: cov + rowsᵀ
    rows, not divided by their number; ``cov`` None counts as zero.

    x: input of the layer, batch first. mode: batch_mean (the batch's mean alone) or samples (each sample). conv: None
    for a linear layer, whose rows are x's last axis; {kernel_size, stride, padding: [vertical, horizontal]} for a
    convolution, whose rows are the zero-padded patches of x [B, C, H, W] ordered channel, kernel row, kernel column.
    Raises ValueError for another mode."""
    if mode not in ("batch_mean", "samples"):
        raise ValueError(f"unknown covariance mode {mode!r}; there are: batch_mean, samples")
    if mode == "batch_mean":
        x = x.mean(0, keepdim=True)
    if conv is not None:
        x = F.unfold(x, conv["kernel_size"], padding=conv["padding"], stride=conv["stride"]).transpose(1, 2)
    rows = x.reshape(-1, x.shape[-1])
    product = rows.T @ rows
    return product if cov is None else cov + product


def projection_matrix(cov: Tensor, tau: float) -> Tensor:
    """Compute T = V exp(-τ (Λ - λ_min) / (λ_max - λ_min)) Vᵀ of the symmetric part V Λ Vᵀ of ``cov`` [d, d] (eq. 4):
    factor 1 along the flattest direction, e^-τ along the sharpest.

    The identity for τ = 0 and for a matrix that is zero, not finite or of equal eigenvalues. Symmetric; computed in
    float64, returned in cov's type. Raises ValueError for a negative τ."""
    if tau < 0:
        raise ValueError(f"tau must not be negative, got {tau}")
    identity = torch.eye(len(cov), dtype=cov.dtype, device=cov.device)
    symmetric = cov.double()
    symmetric = (symmetric + symmetric.T) / 2
    if tau == 0 or not symmetric.isfinite().all():
        return identity
    values, vectors = torch.linalg.eigh(symmetric)
    spread = values[-1] - values[0]
    if spread <= 1e-12 * values.abs().max():
        return identity
    shrink = torch.exp(-tau * (values - values[0]) / spread)
    matrix = (vectors * shrink) @ vectors.T
    return ((matrix + matrix.T) / 2).to(cov.dtype)


def project_gradient(grad: Tensor, t_matrix: Tensor) -> Tensor:
    """Multiply ``grad`` [out, ...] of a weight, flattened to [out, d], times T [d, d] from the right, in its own shape
    (eq. 9). Raises ValueError where the widths differ."""
    rows = grad.reshape(len(grad), -1)
    if rows.shape[1] != len(t_matrix):
        raise ValueError(f"a gradient of {rows.shape[1]} inputs cannot be multiplied by T of {len(t_matrix)}")
    return (rows @ t_matrix.to(grad.dtype)).view_as(grad)


def sam_perturbation(grads: list[Tensor], rho: float, per_tensor: bool = False) -> list[Tensor]:
    """Compute ε* = ρ g / ||g|| of sharpness-aware minimisation, one tensor a gradient; the norm is over all tensors, or
    each tensor's own (``per_tensor``). Zeros where the norm is 0."""
    joint = nn.utils.get_total_norm(grads)
    norms = [grad.norm() if per_tensor else joint for grad in grads]
    # In place: a second copy of a network's gradients takes longer than the arithmetic.
    return [(g / torch.where(n > 0, n, torch.ones_like(n))).mul_(rho) for g, n in zip(grads, norms, strict=True)]


def resolves(weights: Sequence[Tensor], rho: float) -> Tensor:
    """Tell whether any of the tensors can resolve a perturbation of norm ρ, bool and 0-d: whether its root mean square,
    at most ρ / √n for n weights, reaches half a unit in the last place of theirs. Tensors of zeros, as biases begin,
    count with the root mean square of all weights."""
    squares = torch.stack([weight.detach().double().square().mean() for weight in weights])
    counts = torch.tensor([weight.numel() for weight in weights], dtype=torch.float64, device=squares.device)
    size = torch.where(squares > 0, squares, (squares * counts).sum() / counts.sum()).sqrt()
    precision = torch.tensor([torch.finfo(weight.dtype).eps for weight in weights]).to(size)
    # A number is m 2^e with m in [1/2, 1), and its last place is worth eps 2^(e - 1).
    return (rho / counts.sqrt() >= precision * torch.exp2(torch.frexp(size).exponent - 2.0)).any()


def source_modality(j: int, num_modalities: int) -> int:
    """Give the modality k, counted from 1, whose matrices modify the gradient of modality ``j``: its cyclic
    predecessor. Raises ValueError for fewer than two modalities, or for j outside 1..m."""
    if num_modalities < 2 or not 1 <= j <= num_modalities:
        raise ValueError(f"no predecessor of modality {j} of {num_modalities}: it needs two, counted from 1")
    return (j + num_modalities - 2) % num_modalities + 1


def layers_in_scope(param_counts: list[int], scope: float) -> list[bool]:
    """Tell which layers, ordered from input to output, make up the share ``scope`` of all parameters: marked from the
    last one backwards until their sum reaches it; none for scope <= 0."""
    if scope <= 0:
        return [False] * len(param_counts)
    wanted = scope * sum(param_counts) * (1 - 1e-9)
    # A layer is marked as long as those behind it fall short.
    return [sum(param_counts[position + 1 :]) < wanted for position in range(len(param_counts))]


# Layers --------------------------------------------------------------------------------------------------------


def convolution(layer: nn.Module) -> dict[str, Any] | None:
    """Give the geometry of a two-dimensional convolution as :func:`accumulate_cov` takes it; None for any other layer,
    and where there are groups or dilation, or padding that differs between sides or is not of zeros."""
    if not isinstance(layer, nn.Conv2d):
        return None
    kernel, padding = layer.kernel_size, layer.padding
    if isinstance(padding, str):
        padding = tuple(size // 2 if padding == "same" else 0 for size in kernel)
    uneven = layer.padding == "same" and any(size % 2 == 0 for size in kernel)
    if uneven or layer.groups > 1 or max(layer.dilation) > 1 or layer.padding_mode != "zeros":
        return None
    return {"kernel_size": kernel, "stride": layer.stride, "padding": padding}


def modifiable(layer: nn.Module) -> bool:
    """Tell whether gradients of the layer's weight can be modified: Linear, and what :func:`convolution` describes."""
    return isinstance(layer, nn.Linear) or convolution(layer) is not None
