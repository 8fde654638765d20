"""CML: a prediction may not become surer when a modality is taken away.

Ma, Zhang, Zhang, Wu, Fu, Zhou, Hu, "Calibrating Multimodal Learning", ICML 2023.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from data.base import Batch
from methods.base import Context, MethodError, Outputs
from methods.base.fused import LINEAR_HEADS, FusedMethod, linear_head
from methods.base.fusion_hyperparameters import FusionHyperparameters, check_fused_loss_alone, check_fusion
from methods.base.hyperparameters import Choice, LogUniform, Uniform, hyper
from models import unknown
from models.fusion import Source, concat_unimodal_logits

MaskMode = Literal["all", "exclude_fixed", "more_correct"]

# Equations -----------------------------------------------------------------------------------------------------


def confidence(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Give the largest probability and its class, [B, C] -> [B] and int64 [B]; of equal ones the first class."""
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return logits.softmax(1).amax(1), logits.argmax(1)


def subset_logits(parts: list[Tensor], bias: Tensor | None, keep: Sequence[int]) -> Tensor:
    """Add up the parts [B, C] of the modalities at the positions ``keep``, and the whole bias [C]: -> [B, C].

    Raises ValueError where none is kept."""
    if not keep:
        raise ValueError("logits of no modality: keep at least one")
    kept = torch.stack([parts[position] for position in keep]).sum(0)
    return kept if bias is None else kept + bias


def rank_mask(pred_more: Tensor, pred_less: Tensor, target: Tensor, mode: str = "all") -> Tensor:
    """Tell which samples count, float [B] of 0 and 1, by the classes that the larger and the smaller set predict.

    all; exclude_fixed: not those that the smaller set alone gets right; more_correct: those that the larger set gets
    right. Raises ValueError for another mode."""
    more, less = pred_more == target, pred_less == target
    if mode == "all":
        return torch.ones_like(target, dtype=torch.float32)
    if mode == "exclude_fixed":
        return (more | ~less).float()
    if mode == "more_correct":
        return more.float()
    raise unknown("mode", mode, ("all", "exclude_fixed", "more_correct"))


def rank_loss(
    conf_more: Tensor, conf_less: Tensor, mask: Tensor | None = None, margin: float = 0.0, reduction: str = "sum"
) -> Tensor:
    """Compute max(0, (conf_less - conf_more) mask - margin) of confidences and mask [B], summed over the batch or
    (reduction mean) averaged, masked samples counted: 0-d. Raises ValueError for another reduction."""
    if reduction not in ("sum", "mean"):
        raise unknown("reduction", reduction, ("sum", "mean"))
    surplus = _surplus(conf_more, conf_less, mask, margin)
    return surplus.sum() if reduction == "sum" else surplus.mean()


def _surplus(conf_more: Tensor, conf_less: Tensor, mask: Tensor | None, margin: float) -> Tensor:
    gain = conf_less - conf_more
    return F.relu((gain if mask is None else gain * mask) - margin)


def cml_loss(
    chain_logits: list[Tensor],
    target: Tensor,
    lam: float | Tensor = 0.1,
    margin: float = 0.0,
    mask_mode: str = "all",
    reduction: str = "sum",
) -> Tensor:
    """Compute 1/J Σ_j CE(f(x; S_j)) + λ Σ_j R_j, 0-d: R_j is the :func:`rank_loss` from S_j to S_{j+1}.

    chain_logits: f, J >= 2 tensors [B, C] from all modalities to the smallest set; target: int64 [B]. Raises ValueError
    for a shorter chain."""
    if len(chain_logits) < 2:
        raise ValueError(f"a chain has two sets of modalities or more, got {len(chain_logits)}")
    ranks = [rank_loss(*step, margin, reduction) for step in _steps(chain_logits, target, mask_mode)]
    return _total(chain_logits, target, lam, ranks)


def _steps(chain_logits: list[Tensor], target: Tensor, mask_mode: str) -> list[tuple[Tensor, Tensor, Tensor]]:
    """List for each removal the confidences before and after, and the mask."""
    found = pairwise(confidence(logits) for logits in chain_logits)
    return [(more, less, rank_mask(before, after, target, mask_mode)) for (more, before), (less, after) in found]


def _total(chain_logits: list[Tensor], target: Tensor, lam: float | Tensor, ranks: list[Tensor]) -> Tensor:
    classification = torch.stack([F.cross_entropy(logits, target) for logits in chain_logits]).mean()
    return classification + lam * torch.stack(ranks).sum()


# Method --------------------------------------------------------------------------------------------------------


class CMLHyperparameters(FusionHyperparameters):
    lam: float = hyper(0.1, symbol="λ", low=0.0, search=LogUniform(1e-3, 10.0))
    """weight of the rank loss"""
    margin: float = hyper(0.0, symbol="ε", low=0.0, high=1.0, search=Uniform(0.0, 0.2))
    """by how much a prediction may become surer"""
    reduction: Literal["sum", "mean"] = hyper("sum")
    """rank loss of a batch: sum over its samples, or mean (as lam divided by the batch size)"""
    removal: Literal["parts", "zero"] | None = hyper(None)
    """how a modality is taken away: its part of the logits, or its features set to 0 (null: parts with fusion concat
    and sum, where both give the same, else zero)"""

    # Only to train as the authors' and the re-implementation's code do.
    mask_mode: MaskMode = hyper("all", search=Choice(("all", "exclude_fixed", "more_correct")))
    """which samples count: all; not those that the smaller set alone gets right (CPM); those that the larger set gets
    right (MIWAE)"""
    order: Literal["batch", "epoch"] = hyper("batch")
    """how often the order of removals is drawn: for each batch, or each epoch (re-implementation)"""


class CML(FusedMethod[CMLHyperparameters]):
    """A network that listens to one modality alone is as sure without the others, or surer. In each step the modalities
    are taken away one by one, in an order drawn at random, down to the last. Every set of them is trained to predict,
    and where a sample's confidence (its largest probability) is larger after a removal than before, the excess is added
    to the loss: so every modality has to tell something.

    Source: Ma et al., ICML 2023. The weight of the rank loss was not found in it; 0.1 is that of BalanceBenchmark.

    Departures from the official code: it lies over latent-variable models, of which none is here. Its two programs
    each leave samples out of the rank loss by a rule of their own (``mask_mode``), of which the paper's formula knows
    nothing; one draws the order for each sample. The hinge is taken of each sample; the re-implementation takes it of
    the batch's sum, in which one sample's excess cancels another's. What is taken away is a modality's part of the
    logits; the bias stays whole. ``fusion: channel`` is refused, where features know of the modalities taken away.

    Cost: one forward and one backward a step, as joint training, and the fusion once for each modality (``removal:
    zero``) or a sum of parts.

    State: none."""

    name = "cml"
    title = "Calibrating multimodal learning"
    paper = "Ma, Zhang, Zhang, Wu, Fu, Zhou, Hu: Calibrating Multimodal Learning, ICML 2023"
    stages = ("objective",)

    @classmethod
    def check(cls, hyperparameters: CMLHyperparameters, modalities: tuple[str, ...]) -> None:
        super().check(hyperparameters, modalities)
        check_fusion(hyperparameters, modalities)
        check_fused_loss_alone(cls.name, hyperparameters)
        if hyperparameters.removal == "parts" and hyperparameters.fusion not in LINEAR_HEADS:
            raise MethodError(
                f"cml: the logits of fusion {hyperparameters.fusion} have no part for each modality; use removal zero, "
                "or fusion concat or sum"
            )

    def usual_source(self) -> Source:
        return "zero"

    def objective_logits(self, features: list[Tensor]) -> list[Tensor]:
        """Give none: the loss takes those of the sets that it draws."""
        return []

    def loss(self, outputs: Outputs, batch: Batch, context: Context) -> Tensor:
        """Compute :func:`cml_loss` along the removals of this step."""
        hp = self.hyperparameters
        order = self.removal_order(context)
        chain = [outputs.logits, *self.smaller_sets(outputs.features, order, batch)]
        surpluses = [_surplus(*step, hp.margin) for step in _steps(chain, batch.labels, hp.mask_mode)]
        ranks = [surplus.mean() for surplus in surpluses]
        for number, (removed, surplus) in enumerate(zip(order[:-1], surpluses, strict=True)):
            context.log(f"rank_loss_{number + 1}", ranks[number])
            context.log(f"surer_without_{self.modalities[removed]}", (surplus.detach() > 0).float().mean())
        # The loop wants means over a worker's part: the sum over the joint batch is so many means.
        lam = hp.lam * context.samples_in_step if hp.reduction == "sum" else hp.lam
        return _total(chain, batch.labels, lam, ranks)

    def removal_order(self, context: Context) -> list[int]:
        """Draw the positions of the modalities in the order of their removal; the last one stays."""
        when = context.step if self.hyperparameters.order == "batch" else context.epoch
        drawn = torch.randperm(len(self.modalities), generator=context.generator("cml order", when))
        return [int(position) for position in drawn]

    def smaller_sets(self, features: list[Tensor], order: list[int], batch: Batch) -> list[Tensor]:
        """Compute the logits [B, C] after each removal."""
        kept = [sorted(order[number:]) for number in range(1, len(order))]
        if (self.hyperparameters.removal or "parts") == "parts" and self.hyperparameters.fusion in LINEAR_HEADS:
            weight, bias = linear_head(self.fusion)
            parts = concat_unimodal_logits(features, weight, None)
            return [subset_logits(parts, bias, keep) for keep in kept]
        blank = [torch.zeros_like(feature) for feature in features]
        subsets = [[features[m] if m in keep else blank[m] for m in range(len(features))] for keep in kept]
        there = batch.presence(self.modalities) if batch.present else None
        return [self.fusion.fuse(subset, there).logits for subset in subsets]

    def diagnostics(self) -> dict[str, float]:
        """Means over the samples of an epoch: rank loss of each removal, in the order of a step; share of samples that
        are surer without a modality, over the steps that removed it."""
        return super().diagnostics()
