"""AMCo: part of the modality that the model depends on is masked, more of it as training goes on.

Zhou, Liang, Zheng, Xuan, Kumada, "Adaptive Mask Co-Optimization for Modal Dependence in Multimodal Learning", ICASSP
2023.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from data.base import Batch
from methods.base import MULTI, Context, MethodError, Outputs
from methods.base.fused import FusedMethod
from methods.base.fusion_hyperparameters import FusionHyperparameters, FusionName
from methods.base.hyperparameters import Choice, LogUniform, Uniform, hyper

# Equations -----------------------------------------------------------------------------------------------------


def mask_ratio(progress: float, eps: float = 0.3, p_max: float = 1.0) -> float:
    """Compute the share that is masked at progress l, p = p_max sin(π/2 min(l, ε) / ε); a negative l counts as 0.

    Raises ValueError for eps <= 0."""
    if eps <= 0:
        raise ValueError(f"eps must be positive, got {eps}")
    return p_max * math.sin(math.pi / 2 * min(max(progress, 0.0), eps) / eps)


def masked_count(ratio: float, dim: int) -> int:
    """Count the positions of ``dim`` that a ratio masks, rounded down; less than 1e-9 below a whole number is one."""
    return math.floor(ratio * dim + 1e-9)


def build_mask(dim: int, count: int, perm: Tensor) -> Tensor:
    """Give zeros at the first ``count`` positions of a permutation, int64 [dim], and ones elsewhere: float32 [dim]."""
    return torch.ones(dim, device=perm.device).scatter(0, perm[:count], 0.0)


def dependence_shares(logits: list[Tensor]) -> Tensor:
    """Compute the mass d_m on each modality's entries in the softmax over all modalities' logits, mean over samples:
    M of [B, C] -> [M], of sum 1."""
    widths = [each.shape[1] for each in logits]
    joined = torch.cat(logits, 1)
    probs = joined.to(torch.promote_types(joined.dtype, torch.float32)).softmax(-1)
    return torch.stack([part.sum(1).mean() for part in probs.split(widths, 1)])


def dependent_flags(shares: Tensor, sigma: float) -> Tensor:
    """Tell on which modalities the model depends: d_m > σ, strictly, [M] -> bool [M]."""
    return shares > sigma


def _permutation(dim: int, generator: torch.Generator) -> Tensor:
    return torch.randperm(dim, generator=generator)


# Method --------------------------------------------------------------------------------------------------------


class AMCoHyperparameters(FusionHyperparameters):
    fusion: FusionName = hyper("concat", search=Choice(("concat", "sum")))
    """how the modalities' features become one prediction: concat or sum, which are sums of the modalities' logits"""
    sigma: float = hyper(
        0.5, symbol="σ", low=0.0, high=1.0, search=Uniform(0.4, 0.8), only_if=("sigma_mode", "absolute")
    )
    """share of the modalities' joint softmax from which on the model depends on one"""
    sigma_mode: Literal["absolute", "relative"] = hyper("absolute")
    """σ as given, or 1.5 times the share of each if all were equal"""
    eps: float = hyper(0.3, symbol="ε", above=0.0, search=Uniform(0.1, 1.0))
    """progress of training from which on the masked share grows no more"""
    p_max: float = hyper(1.0, low=0.0, high=1.0, search=Uniform(0.2, 1.0))
    """largest masked share (1: all of the modality)"""
    uni_weight: float = hyper(1.0, low=0.0, search=LogUniform(0.1, 2.0))
    """weight of the sum of the modalities' own losses"""

    # Only to train as BalanceBenchmark does.
    mask_place: Literal["feature", "logit"] = hyper("feature", search=Choice(("feature", "logit")))
    """what is masked: a modality's feature, or (BalanceBenchmark) its logits"""
    progress: Literal["global", "benchmark"] = hyper("global")
    """progress over the run, or (BalanceBenchmark) anew in each epoch, faster the later the epoch"""
    mix_layer: bool = hyper(False, search=Choice((False, True)))
    """one more linear layer on the fused logits (BalanceBenchmark, where predictions leave it out)"""


class AMCo(FusedMethod[AMCoHyperparameters]):
    """The logits of all modalities share one softmax; the model depends on a modality that holds more than σ of it.
    In the next step of the epoch part of that modality is masked, the same random positions for the whole batch, so
    that the others have to do its work. The masked share grows along a sine. Losses of the modalities' own logits keep
    the masked one from unlearning. Nothing is masked at inference.

    Source: Zhou et al., ICASSP 2023, of which only the abstract was at hand; rule, sine and numbers are those of
    BalanceBenchmark. Read results as "AMCo after BalanceBenchmark".

    Departures from the official code: no official code was found. BalanceBenchmark masks logits (``mask_place:
    logit``), over two devices alone, begins its progress anew with each epoch (``progress: benchmark``), and has one
    more layer (``mix_layer: true``), which here counts at inference, too.

    Cost: one forward and one backward a step, as joint training, and a mask.

    State: none; flags begin anew with each epoch."""

    name = "amco"
    title = "Adaptive mask co-optimization"
    paper = "Zhou, Liang, Zheng, Xuan, Kumada: Adaptive Mask Co-Optimization, ICASSP 2023"
    stages = ("feed-forward", "objective")
    flags: Tensor

    @classmethod
    def check(cls, hyperparameters: AMCoHyperparameters, modalities: tuple[str, ...]) -> None:
        super().check(hyperparameters, modalities)
        if hyperparameters.fusion not in ("concat", "sum"):
            raise MethodError(
                f"amco needs logits that add up to the fused ones, which fusion {hyperparameters.fusion} does not "
                "have; use concat or sum"
            )
        if hyperparameters.unimodal_source in ("zero", "aux") or hyperparameters.aux_detach:
            raise MethodError(
                "amco predicts each modality by its part of the fused head: leave unimodal_source at null or native, "
                "and aux_detach at false"
            )

    def build(self) -> None:
        super().build()
        hp, count = self.hyperparameters, len(self.dims)
        self.mix = nn.Linear(self.num_classes, self.num_classes) if hp.mix_layer else nn.Identity()
        self.sigma = hp.sigma if hp.sigma_mode == "absolute" else 1.5 / count
        self.register_buffer("flags", torch.zeros(count, dtype=torch.bool), persistent=False)

    # Masks -------------------------------------------------------------------------------------------------------

    def on_epoch_start(self, context: Context) -> None:
        self.flags.zero_()

    def progress(self, context: Context) -> float:
        """Tell the progress of training at the present step, 0 at the first."""
        if self.hyperparameters.progress == "global":
            return context.step / (context.epochs * context.steps_in_epoch)
        done = context.step - (context.epoch - 1) * context.steps_in_epoch
        return done * (context.epoch - 1) / 10

    def masks(self, context: Context) -> list[Tensor]:
        """Draw a mask for each modality, float32 [d_m] or [C]: ones for those on which the model does not depend."""
        hp = self.hyperparameters
        ratio = mask_ratio(self.progress(context), hp.eps, hp.p_max)
        found = []
        for m, dim, flag in zip(self.modalities, self.dims, self.flags, strict=True):
            positions = dim if hp.mask_place == "feature" else self.num_classes
            count = masked_count(ratio, positions)
            perm = context.step_numbers(f"mask of {m}", partial(_permutation, positions))
            found.append(torch.where(flag, build_mask(positions, count, perm), 1.0))
            context.log(f"masked_{m}", flag.float() * (count / positions))
        return found

    # Training ----------------------------------------------------------------------------------------------------

    def forward(self, batch: Batch) -> Outputs:
        return self.outputs(self.encode(batch))

    def training_outputs(self, batch: Batch, context: Context) -> Outputs:
        """Give logits of masked features, or masked logits."""
        return self.outputs(self.encode(batch), self.masks(context))

    def outputs(self, features: list[Tensor], masks: list[Tensor] | None = None) -> Outputs:
        """Give the fused logits, and those of each modality, which add up to them before the mixing layer."""
        in_features = self.hyperparameters.mask_place == "feature"
        if masks is not None and in_features:
            features = [f * mask for f, mask in zip(features, masks, strict=True)]
        unimodal, logits = self.unimodal_logits(features), self.fusion.fuse(features).logits
        if masks is not None and not in_features:
            unimodal = [z * mask for z, mask in zip(unimodal, masks, strict=True)]
            logits = torch.stack(unimodal).sum(0)
        return Outputs(features, self.mix(logits), unimodal)

    def unimodal_logits(self, features: list[Tensor]) -> list[Tensor]:
        """Give the modalities' parts of the fused logits, M of [B, C]."""
        return self.fusion.native_logits(features)

    def loss(self, outputs: Outputs, batch: Batch, context: Context) -> Tensor:
        own = torch.stack([F.cross_entropy(z, batch.labels) for z in outputs.unimodal_logits])
        return F.cross_entropy(outputs.logits, batch.labels) + self.hyperparameters.uni_weight * own.sum()

    @torch.no_grad()
    def modulate_gradients(self, outputs: Outputs, batch: Batch, context: Context) -> None:
        """Leave the gradients as they are, and flag the modalities whose part is masked in the next step."""
        shares = context.mean(dependence_shares(outputs.unimodal_logits))
        self.flags.copy_(dependent_flags(shares, self.sigma))
        for m, share in zip(self.modalities, shares, strict=True):
            context.log(f"share_{m}", share)

    # Inference ---------------------------------------------------------------------------------------------------

    def classify(self, features: list[Tensor]) -> dict[str, Tensor]:
        found = self.outputs(features)
        return {MULTI: found.logits, **dict(zip(self.modalities, found.unimodal_logits, strict=True))}

    def diagnostics(self) -> dict[str, float]:
        """Means over an epoch's steps, for each modality: its share of the joint softmax, and how much of it was
        masked."""
        return super().diagnostics()
