"""MBSD: in each sample the modality that predicts better teaches the others.

Liu, Li, Song, Yang, Zeng, "Multimodal Pre-Training with Self-Distillation for Product Understanding in E-Commerce",
WSDM 2023.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from data.base import Batch
from methods.base import Context, MethodError, Outputs
from methods.base.fused import FusedMethod
from methods.base.fusion_hyperparameters import FusionHyperparameters, check_fusion, check_late_is_joint
from methods.base.hyperparameters import Choice, LogUniform, hyper
from models import unknown
from models.fusion import Source

_OWN_LOGITS = ("concat", "sum", "late")

# Equations -----------------------------------------------------------------------------------------------------


def sample_weights(probs_a: Tensor, probs_b: Tensor, target: Tensor) -> Tensor:
    """Compute the gap of two modalities in each sample: w = |p_a[y] - p_b[y]|, 0 where neither predicts y, [B].

    probs_a, probs_b: [B, C]; target: y, int64 [B]. Of equal probabilities the first class is predicted."""
    gap = (_of_class(probs_a, target) - _of_class(probs_b, target)).abs()
    right = (probs_a.argmax(1) == target) | (probs_b.argmax(1) == target)
    return torch.where(right, gap, torch.zeros_like(gap))


def rs_loss(x_a: Tensor, x_b: Tensor, weights: Tensor) -> Tensor:
    """Compute the similarity term 1/B Σ_i w_i 1/C |x_a,i - x_b,i|², 0-d, of [B, C] twice and [B]."""
    return (weights * (x_a - x_b).square().mean(1)).mean()


def kl_loss(probs_a: Tensor, probs_b: Tensor, target: Tensor, weights: Tensor, mode: str = "full") -> Tensor:
    """Compute the distillation term, 0-d, of probabilities [B, C], labels int64 [B] and weights [B].

    full: 1/B Σ_i w_i KL(p_S | p_R) from the modality S of the larger true-class probability (of equal ones the first)
    to the other; the gradient reaches p_R alone. benchmark: 1/B Σ_i w_i v_i (ln v_i - u_i), of the larger u and the
    smaller v of the true-class probabilities, with a gradient for all. Raises ValueError for another mode."""
    of_a, of_b = _of_class(probs_a, target), _of_class(probs_b, target)
    first = of_a >= of_b
    if mode == "full":
        teacher = torch.where(first.unsqueeze(1), probs_a, probs_b).detach()
        pupil = torch.where(first.unsqueeze(1), probs_b, probs_a)
        divergence = (teacher * (teacher.clamp_min(1e-12).log() - pupil.clamp_min(1e-12).log())).sum(1)
        return (weights.detach() * divergence).mean()
    if mode != "benchmark":
        raise unknown("mode", mode, ("full", "benchmark"))
    larger, smaller = torch.where(first, of_a, of_b), torch.where(first, of_b, of_a)
    # The logarithm of 1 in the place of that of 0: the gradient of the latter is infinite.
    logarithm = torch.where(smaller > 0, smaller, torch.ones_like(smaller)).log()
    return (weights * smaller * (logarithm - larger)).mean()


def _of_class(probs: Tensor, target: Tensor) -> Tensor:
    return probs.gather(1, target.unsqueeze(1)).squeeze(1)


@dataclass(frozen=True)
class Pair:
    """What two modalities, a and b, learn of each other. weights, leads: [B]; similarity, divergence: 0-d."""

    weights: Tensor
    leads: Tensor
    """p_a[y] - p_b[y] where at least one of them is right, else 0: positive where a teaches b."""
    similarity: Tensor
    divergence: Tensor


def pair_of(
    logits_a: Tensor, logits_b: Tensor, target: Tensor, kl_mode: str = "full", rs_space: str = "logits"
) -> Pair:
    """Compute weights, similarity and distillation of two modalities' logits [B, C], in single precision at least.

    kl_mode: see :func:`kl_loss`; with full no gradient goes through the weights. rs_space: what is drawn together,
    logits or probs. Raises ValueError for another mode or space."""
    if rs_space not in ("logits", "probs"):
        raise unknown("rs_space", rs_space, ("logits", "probs"))
    logits_a, logits_b = (x.to(torch.promote_types(x.dtype, torch.float32)) for x in (logits_a, logits_b))
    probs_a, probs_b = logits_a.softmax(1), logits_b.softmax(1)
    weights = sample_weights(probs_a, probs_b, target)
    if kl_mode == "full":
        weights = weights.detach()
    alike = (logits_a, logits_b) if rs_space == "logits" else (probs_a, probs_b)
    return Pair(
        weights,
        weights * (_of_class(probs_a, target) - _of_class(probs_b, target)).sign(),
        rs_loss(*alike, weights),
        kl_loss(probs_a, probs_b, target, weights, kl_mode),
    )


def mbsd_loss(
    logits_multi: Tensor,
    logits_uni: list[Tensor],
    target: Tensor,
    lam: float = 1.0,
    kl_mode: str = "full",
    rs_space: str = "logits",
) -> Tensor:
    """Compute CE(joint) + Σ_m CE(z_m) + λ times the mean over pairs of similarity and distillation, 0-d.

    logits_multi: [B, C]; logits_uni: z, M >= 2 of the same shape; target: int64 [B]; others: see :func:`pair_of`.
    Raises ValueError for fewer than two modalities."""
    return _total(logits_multi, logits_uni, target, lam, _pairs(logits_uni, target, kl_mode, rs_space))


def _pairs(logits_uni: list[Tensor], target: Tensor, kl_mode: str, rs_space: str) -> list[Pair]:
    if len(logits_uni) < 2:
        raise ValueError(f"self-distillation needs two modalities, got {len(logits_uni)}")
    return [pair_of(a, b, target, kl_mode, rs_space) for a, b in combinations(logits_uni, 2)]


def _total(logits_multi: Tensor, logits_uni: list[Tensor], target: Tensor, lam: float, pairs: list[Pair]) -> Tensor:
    multitask = torch.stack([F.cross_entropy(logits, target) for logits in (logits_multi, *logits_uni)]).sum()
    return multitask + lam * torch.stack([pair.similarity + pair.divergence for pair in pairs]).mean()


# Method --------------------------------------------------------------------------------------------------------


class MBSDHyperparameters(FusionHyperparameters):
    lam: float = hyper(1.0, symbol="λ", low=0.0, search=LogUniform(0.01, 10.0))
    """weight of what the modalities learn of each other, beside the joint and the unimodal losses"""
    unimodal_source: Literal["native", "zero", "aux"] | None = hyper(None)
    """where unimodal logits come from (null: native with fusion concat, sum and late, else a linear head on each
    modality's feature)"""
    rs_space: Literal["logits", "probs"] = hyper("logits", search=Choice(("logits", "probs")))
    """what the similarity term draws together (re-implementation: logits of two modalities, probabilities of three)"""

    # Only to train as the re-implementation does.
    kl_mode: Literal["full", "benchmark"] = hyper("full", search=Choice(("full", "benchmark")))
    """divergence from the teacher's prediction, or the re-implementation's expression in its place"""


class MBSD(FusedMethod[MBSDHyperparameters]):
    """Every modality predicts on its own beside the joint prediction. In each sample the modality that gives the true
    class the higher probability teaches the other: their logits are drawn together, and the pupil's prediction towards
    the teacher's, the more the larger the gap, and only where one of them is right. Each may be the teacher.

    Source: Liu et al., WSDM 2023, of which only the abstract could be read. All formulas are after the
    re-implementation in BalanceBenchmark; pre-training on products, the paper's setting, is not reproduced.

    Departures from the official code: no official code was found. Unlike in the re-implementation, the divergence is a
    proper one, from teacher to pupil over all classes; there it is of the true class alone, in the wrong direction and
    with probabilities for logarithms, so that it is always negative (``kl_mode: benchmark``). The teacher gets no
    gradient of it, and no weight does, so that a gap is not closed by unlearning. Three modalities are treated as two
    (``rs_space: probs`` is what is done there). It acts in all epochs. ``fusion: channel`` is refused, where features
    of one modality know of the others.

    Cost: one forward and one backward a step, as joint training, and each modality's logits.

    State: none."""

    name = "mbsd"
    title = "Self-distillation from the stronger to the weaker modality"
    paper = "Liu, Li, Song, Yang, Zeng: Multimodal Pre-Training with Self-Distillation, WSDM 2023"
    stages = ("objective",)
    capturable = True

    @classmethod
    def check(cls, hyperparameters: MBSDHyperparameters, modalities: tuple[str, ...]) -> None:
        super().check(hyperparameters, modalities)
        check_fusion(hyperparameters, modalities)
        check_late_is_joint(cls.name, hyperparameters)
        if hyperparameters.aux_detach:
            raise MethodError("mbsd: with aux_detach: true no modality's encoder is taught; set it to false")

    def usual_source(self) -> Source:
        return "native" if self.hyperparameters.fusion in _OWN_LOGITS else "aux"

    def loss(self, outputs: Outputs, batch: Batch, context: Context) -> Tensor:
        """Compute :func:`mbsd_loss`, and log who teaches whom how much."""
        hp, own = self.hyperparameters, outputs.unimodal_logits
        pairs = _pairs(own, batch.labels, hp.kl_mode, hp.rs_space)
        self.log_pairs(pairs, context)
        return _total(outputs.logits, own, batch.labels, hp.lam, pairs)

    @torch.no_grad()
    def log_pairs(self, pairs: list[Pair], context: Context) -> None:
        teaches: dict[str, list[Tensor]] = {modality: [] for modality in self.modalities}
        for (a, b), pair in zip(combinations(self.modalities, 2), pairs, strict=True):
            teaches[a].append((pair.leads > 0).float().mean())
            teaches[b].append((pair.leads < 0).float().mean())
            context.log(f"weight_{a}_{b}", pair.weights.mean())
            context.log(f"similarity_{a}_{b}", pair.similarity)
            context.log(f"divergence_{a}_{b}", pair.divergence)
        for modality, shares in teaches.items():
            context.log(f"teacher_{modality}", torch.stack(shares).mean())

    def diagnostics(self) -> dict[str, float]:
        """Means over the epoch's samples: share of samples in which each modality is the teacher, a mean over its
        pairs; for each pair the weight, the similarity and the distillation term."""
        return super().diagnostics()
