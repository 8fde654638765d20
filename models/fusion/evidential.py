"""Evidential fusion: ``etmc``. Every view gives an opinion, a Dirichlet distribution over the classes, a part of which
is left to uncertainty; Dempster's rule combines them.

alpha = e + 1 [B, C], with evidence e >= 0; strength S, its sum; belief e / S and uncertainty u = C / S, 1 together."""

from __future__ import annotations

from functools import reduce
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models import linear
from models.fusion.base import Fusion, FusionOutput, apply, heads, require

ACTIVATIONS = ("softplus", "relu", "exp")

# Equations -----------------------------------------------------------------------------------------------------


def dirichlet_evidence(logits: Tensor, activation: str = "softplus") -> dict[str, Tensor]:
    """Form the opinion of logits [B, C]: evidence, alpha and belief [B, C]; strength and uncertainty [B, 1].

    activation: softplus, relu or exp (of logits clamped to [-10, 10]) makes evidence of logits. Raises ValueError for
    another. Han et al., "Trusted Multi-View Classification", ICLR 2021."""
    require("evidence", activation, ACTIVATIONS)
    if activation == "exp":
        evidence = logits.clamp(-10, 10).exp()
    else:
        evidence = F.softplus(logits) if activation == "softplus" else F.relu(logits)
    alpha = evidence + 1
    strength = alpha.sum(1, keepdim=True)
    return {
        "evidence": evidence,
        "alpha": alpha,
        "belief": evidence / strength,
        "strength": strength,
        "uncertainty": alpha.shape[1] / strength,
    }


def dempster_shafer(alphas: list[Tensor]) -> Tensor:
    """Combine opinions [B, C], in any order, into one [B, C]; alpha = 1 everywhere, total uncertainty, is neutral.
    Raises ValueError for none.

    With belief b and uncertainty u of two opinions and their conflict K, the sum of b1_i b2_j over i != j:
    b = (b1 b2 + b1 u2 + b2 u1) / (1 - K) and u = u1 u2 / (1 - K). Han et al., ICLR 2021."""
    if not alphas:
        raise ValueError("there is no opinion to combine")
    return reduce(_combine, alphas)


def _combine(first: Tensor, second: Tensor) -> Tensor:
    # alpha - 1 = C b / u: 1 - K cancels, so that total conflict divides nothing by zero.
    return first + (second - 1) + (first - 1) * (second - 1) / first.shape[1]


def dirichlet_kl(alpha: Tensor) -> Tensor:
    """KL(Dir(alpha) || Dir(1)) [B] of alpha [B, C], in nats; 0 at alpha = 1."""
    # In double precision: large terms nearly cancel.
    a = alpha.double()
    strength = a.sum(1, keepdim=True)
    normaliser = torch.lgamma(strength).squeeze(1) - torch.lgamma(a).sum(1)
    flat = torch.lgamma(a.new_full((), a.shape[1]))
    return (normaliser - flat + ((a - 1) * (a.digamma() - strength.digamma())).sum(1)).to(alpha.dtype)


def evidential_cross_entropy(alpha: Tensor, target: Tensor, kl_weight: float) -> Tensor:
    """Compute the loss [B] of one opinion alpha [B, C] with labels int64 [B]: the expected cross-entropy under it, plus
    ``kl_weight`` times the divergence from certainty of nothing of what it believes beside the label.

    ψ(S) - ψ(alpha_y) + λ KL(Dir(alpha with entry y set to 1) || Dir(1)). Han et al., ICLR 2021."""
    own = alpha.gather(1, target[:, None]).squeeze(1)
    others = alpha.scatter(1, target[:, None], 1.0)
    return torch.digamma(alpha.sum(1)) - torch.digamma(own) + kl_weight * dirichlet_kl(others)


def annealing_weight(epoch: int, annealing_epochs: int) -> float:
    """λ of an epoch counted from 0: epoch / annealing_epochs, at most 1; always 1 where annealing_epochs <= 0."""
    return 1.0 if annealing_epochs <= 0 else min(1.0, epoch / annealing_epochs)


def etmc_loss(alphas: list[Tensor], target: Tensor, kl_weight: float) -> Tensor:
    """Average over the batch (0-d) the losses of the opinions [B, C] and of their combination, summed.

    alphas: of the views, the pseudo view last; target: int64 [B]. Han et al., TPAMI 2022."""
    losses = [evidential_cross_entropy(alpha, target, kl_weight) for alpha in (*alphas, dempster_shafer(alphas))]
    return torch.stack(losses).sum(0).mean()


# The fusion ----------------------------------------------------------------------------------------------------


class ETMCFusion(Fusion):
    """One head a modality and one on the concatenated features (the pseudo view), combined as opinions. Native: the
    heads' outputs, before they become evidence.

    evidence: softplus, relu or exp. annealing_epochs: epochs until the divergence counts fully (0: from the start).
    ``logits`` of the output: log of the expected probabilities. ``extra``: alphas (of the views, the pseudo view last)
    and the combined alpha, [B, C] each, and the combined uncertainty [B, 1].

    Han et al., "Trusted Multi-View Classification with Dynamic Evidential Fusion", TPAMI 2022; ICLR 2021."""

    name = "etmc"
    title = "modalities' evidence, combined as opinions"
    paper = "Han et al., TPAMI 2022"
    has_native = True
    needs_own_loss = True
    one_a_modality = ("heads",)
    options = frozenset({"evidence", "annealing_epochs"})

    def __init__(
        self,
        dims: list[int],
        num_classes: int,
        *,
        evidence: str = "softplus",
        annealing_epochs: int = 10,
        **shared: Any,
    ) -> None:
        super().__init__(dims, num_classes, **shared)
        require("evidence", evidence, ACTIVATIONS)
        self.evidence, self.annealing_epochs = evidence, annealing_epochs
        self.heads = heads(dims, num_classes)
        self.pseudo_head = linear(sum(dims), num_classes)

    @property
    def head_layers(self) -> list[nn.Linear]:
        return [*super().head_layers, self.pseudo_head]

    def forward(self, features: list[Tensor]) -> FusionOutput:
        views = [*self.native_logits(features), self.pseudo_head(torch.cat(features, dim=1))]
        # At least single precision: evidence is multiplied, and digamma knows no half.
        full = [logits.to(torch.promote_types(logits.dtype, torch.float32)) for logits in views]
        alphas = [dirichlet_evidence(logits, self.evidence)["alpha"] for logits in full]
        alpha = dempster_shafer(alphas)
        strength = alpha.sum(1, keepdim=True)
        extra = {"alphas": alphas, "alpha": alpha, "uncertainty": alpha.shape[1] / strength}
        return FusionOutput(alpha.log() - strength.log(), features, extra)

    def native_logits(self, features: list[Tensor]) -> list[Tensor]:
        return apply(self.heads, features)

    def loss(self, output: FusionOutput, target: Tensor, epoch: int = 0) -> Tensor:
        """Compute :func:`etmc_loss`: annealed while training, λ = 1 in evaluation mode."""
        weight = annealing_weight(epoch, self.annealing_epochs) if self.training else 1.0
        return etmc_loss(output.extra["alphas"], target, weight)
