"""OLM: a coefficient on the logits of each head, learned while the network learns.

Zong, Ding, Li, Li, Zheng, "Balancing Multimodal Learning via Online Logit Modulation", IJCAI 2024.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from data.base import Batch
from methods.base import MULTI, Context, MethodError, Outputs, evaluating
from methods.base.fused import FusedMethod
from methods.base.fusion_hyperparameters import FusionHyperparameters, check_late_is_joint, check_own_heads
from methods.base.hyperparameters import Choice, LogUniform, hyper
from models import unknown
from models.fusion import Source

# Equations -----------------------------------------------------------------------------------------------------


def progress_rates(train_init: Tensor, train_now: Tensor, val_init: Tensor, val_now: Tensor) -> tuple[Tensor, Tensor]:
    """Compute how far each head has generalised, G = V0 - V, and overfitted, O = (T0 - T) - G, of losses [K]: [K]
    each."""
    generalised = val_init - val_now
    return generalised, (train_init - train_now) - generalised


def target_ratio(gen_rate: Tensor, over_rate: Tensor, eps: float = 1e-6) -> Tensor:
    """Compute each head's share of the norms, r = softmax over heads of max(G, eps) / max(O, eps), [K] with sum 1."""
    return (gen_rate.clamp_min(eps) / over_rate.clamp_min(eps)).softmax(0)


def loss_ratio(init_loss: Tensor, now_loss: Tensor) -> Tensor:
    """Compute r = q / mean(q) of what is left of each head's loss, q = T / T0: [K], with mean 1."""
    left = now_loss / init_loss
    return left / left.mean()


def modulated_loss(logits: list[Tensor], coeffs: Tensor, target: Tensor, reduction: str = "sum") -> Tensor:
    """Compute Σ_k CE(w_k z_k), 0-d, summed over the batch or (reduction mean) averaged.

    logits: z, K tensors [B, C]; coeffs: w, [K]; target: int64 [B]. Raises ValueError for another reduction."""
    return head_losses(logits, coeffs, target, reduction).sum()


def head_losses(logits: list[Tensor], coeffs: Tensor, target: Tensor, reduction: str = "sum") -> Tensor:
    """Compute the terms of :func:`modulated_loss`, [K], in single precision at least."""
    _check(reduction)
    pairs = zip(logits, coeffs, strict=True)
    return torch.stack([F.cross_entropy(w * _single(z), target, reduction=reduction) for z, w in pairs])


def norm_loss(logits: list[Tensor], coeffs: Tensor, ratio: Tensor, reduction: str = "sum") -> Tensor:
    """Compute Σ_i Σ_k |N_ki - N̄_i r_k|, 0-d, of norms N_ki = w_k |z_ki| and their mean over heads N̄_i; or (reduction
    mean) that by B.

    Only w has a gradient, and none through N̄. Arguments: see :func:`modulated_loss`; ratio: r, [K]. Raises ValueError
    for another reduction."""
    _check(reduction)
    norms = coeffs.unsqueeze(1) * _norms(logits)
    distances = (norms - norms.detach().mean(0) * ratio.detach().unsqueeze(1)).abs().sum(0)
    return distances.sum() if reduction == "sum" else distances.mean()


@torch.no_grad()
def norm_loss_grad(logits: list[Tensor], coeffs: Tensor, ratio: Tensor, reduction: str = "sum") -> Tensor:
    """Compute the gradient of :func:`norm_loss` for w, Σ_i sign(N_ki - N̄_i r_k) |z_ki|, [K]; the sign of 0 is 0."""
    _check(reduction)
    lengths = _norms(logits)
    norms = coeffs.unsqueeze(1) * lengths
    terms = (norms - norms.mean(0) * ratio.unsqueeze(1)).sign() * lengths
    return terms.sum(1) if reduction == "sum" else terms.mean(1)


def _norms(logits: list[Tensor]) -> Tensor:
    return torch.stack([torch.linalg.vector_norm(_single(z.detach()), dim=1) for z in logits])


def _single(values: Tensor) -> Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float32))


def _check(reduction: str) -> None:
    if reduction not in ("sum", "mean"):
        raise unknown("reduction", reduction, ("sum", "mean"))


# Method --------------------------------------------------------------------------------------------------------


class OLMHyperparameters(FusionHyperparameters):
    coeff_lr: float = hyper(1e-3, low=0.0, search=LogUniform(1e-4, 1e-2))
    """learning rate of the coefficients' Adam"""
    ratio: Literal["gen", "loss"] = hyper("gen", search=Choice(("gen", "loss")))
    """what a head's norm should follow: how it generalises for what it overfits, or what is left of its loss"""
    target_scale: float = hyper(1.0, above=0.0, search=Choice((1.0, 3.0)))
    """factor of the ratio (modalities + 1 with ratio gen: the norms of heads that fare alike are left alone)"""
    init_mode: Literal["last", "first", "mean"] = hyper("last", search=Choice(("last", "first", "mean")))
    """losses that progress is counted from: of the first epoch's last batch (official code), first batch, or all"""
    holdout: float = hyper(0.2, above=0.0, high=0.5)
    """share of the training samples on which generalisation is measured"""
    coeff_min: float = hyper(1e-3, low=0.0)
    """smallest coefficient (0: none, as in the official code, where logits may be turned round)"""
    eps: float = hyper(1e-6, above=0.0, only_if=("ratio", "gen"))
    """smallest generalisation and overfitting"""

    # Only to train as the official code does.
    reduction: Literal["mean", "sum"] = hyper("mean")
    """losses of a batch: mean over its samples, or sum (official code: for Adam, which ignores the scale of a loss)"""


class OLM(FusedMethod[OLMHyperparameters]):
    """The logits of modalities grow at different speeds, and the largest decide. Every modality has a head of its own
    beside the fused one, and the logits of each head are multiplied by a coefficient in the loss. It learns twice: from
    that loss, and from one that draws the norm of the head's logits to a share of the mean norm, the larger the better
    the head generalises for what it overfits, as each batch shows beside one of held-out samples. Directions of logits
    stay. Predictions are those of the fused head, without coefficients.

    Source: Zong et al., IJCAI 2024, of which only the beginning could be read; all formulas are those of the authors'
    code, as is that shares sum to 1, so that coefficients fall (``target_scale``).

    Departures from the official code: losses are means over a batch (``reduction``). Held-out batches are taken in
    turns, where the code ends an epoch with them, and in evaluation mode, where they shift the statistics of batch
    norms. Coefficients stay above ``coeff_min``. The fused head is the run's fusion; the code has a bilinear one. Its
    evaluation on training samples is none of ours.

    Cost: one forward and one backward a step, as joint training, and one forward of as many held-out samples; M linear
    heads.

    State: coefficients with their optimizer, and the losses that progress is counted from."""

    name = "olm"
    title = "Online logit modulation"
    paper = "Zong, Ding, Li, Li, Zheng: Online Logit Modulation, IJCAI 2024"
    stages = ("objective",)
    helpers = ("coefficients", "train_init", "val_init")
    train_init: Tensor
    val_init: Tensor

    @classmethod
    def check(cls, hyperparameters: OLMHyperparameters, modalities: tuple[str, ...]) -> None:
        super().check(hyperparameters, modalities)
        check_late_is_joint(cls.name, hyperparameters)
        check_own_heads(cls.name, hyperparameters)

    def usual_source(self) -> Source:
        return "aux"

    def build(self) -> None:
        super().build()
        self.head_names = (*self.modalities, MULTI)
        self.coefficients = nn.Parameter(torch.ones(len(self.head_names)))
        self.register_buffer("train_init", torch.ones(len(self.head_names)))
        self.register_buffer("val_init", torch.ones(len(self.head_names)))
        self._held: Iterator[Batch] | None = None

    def groups(self) -> dict[str, list[nn.Module | nn.Parameter]]:
        """Name the network, without the coefficients, which have an optimizer of their own."""
        return {"network": [self.encoders, self.fusion]}

    @property
    def holdout(self) -> float:
        return self.hyperparameters.holdout

    def on_fit_start(self, context: Context) -> None:
        if not len(context.held_out):
            raise MethodError(f"olm: a share of {self.holdout:g} of each class holds out no sample; raise holdout")

    # The network -------------------------------------------------------------------------------------------------

    def loss(self, outputs: Outputs, batch: Batch, context: Context) -> Tensor:
        """Compute the modulated loss, whose coefficients are constants to the network."""
        logits = [*outputs.unimodal_logits, outputs.logits]
        return modulated_loss(logits, self.coefficients.detach(), batch.labels, "mean") * self.samples(context)

    def samples(self, context: Context) -> int:
        """Count what a mean over the joint batch is multiplied by."""
        return context.samples_in_step if self.hyperparameters.reduction == "sum" else 1

    # The coefficients --------------------------------------------------------------------------------------------

    def modulate_gradients(self, outputs: Outputs, batch: Batch, context: Context) -> None:
        """Leave the network's gradients as they are, and step the coefficients by those of both losses."""
        hp, coeffs = self.hyperparameters, self.coefficients
        logits = [z.detach() for z in (*outputs.unimodal_logits, outputs.logits)]
        ratio = self.measured_ratio(logits, batch, context) * hp.target_scale
        (of_loss,) = torch.autograd.grad(modulated_loss(logits, coeffs, batch.labels, "mean"), [coeffs])
        local = of_loss + norm_loss_grad(logits, coeffs, ratio, "mean")
        coeffs.grad = context.mean(local) * self.samples(context)
        told = {
            "coefficient": coeffs.detach().clone(),
            "norm": _norms(logits).mean(1) * coeffs.detach(),
            "target": ratio,
        }
        for name, values in told.items():
            for head, value in zip(self.head_names, values, strict=True):
                context.log(f"{name}_{head}", value)
        context.side_optimizer("coefficients", [coeffs], "adam", lr=hp.coeff_lr).step()
        if hp.coeff_min > 0:
            with torch.no_grad():
                coeffs.clamp_(min=hp.coeff_min)

    @torch.no_grad()
    def measured_ratio(self, logits: list[Tensor], batch: Batch, context: Context) -> Tensor:
        """Compute r, [K], from the losses of the joint batch and of the next held-out one."""
        train_now, val_now = self.losses_now(logits, batch, context)
        if context.epoch == 1:
            self.set_initial(train_now, val_now, context.step)
        if self.hyperparameters.ratio == "loss":
            return loss_ratio(self.train_init, train_now)
        rates = progress_rates(self.train_init, train_now, self.val_init, val_now)
        for head, generalised, overfitted in zip(self.head_names, *rates, strict=True):
            context.log(f"generalised_{head}", generalised)
            context.log(f"overfitted_{head}", overfitted)
        return target_ratio(*rates, self.hyperparameters.eps)

    def losses_now(self, logits: list[Tensor], batch: Batch, context: Context) -> tuple[Tensor, Tensor]:
        """Compute each head's loss, [K], on the joint batch and on the next held-out one."""
        held = next(self.held_out_batches(context))
        with evaluating(self), context.autocast():
            outputs = self.training_outputs(held, context)
        found = []
        for each, of in ((logits, batch), ([*outputs.unimodal_logits, outputs.logits], held)):
            sums = head_losses(each, self.coefficients, of.labels, "sum")
            found += [sums, torch.full_like(sums[:1], len(of))]
        train, train_size, val, val_size = context.sum(torch.cat(found)).split([len(self.head_names), 1] * 2)
        summed = self.hyperparameters.reduction == "sum"
        return (train, val) if summed else (train / train_size, val / val_size)

    def set_initial(self, train_now: Tensor, val_now: Tensor, step: int) -> None:
        """Take the losses of a step of the first epoch, counted from 0, into those that progress is counted from."""
        mode = self.hyperparameters.init_mode
        weight = {"last": 1.0, "first": float(step == 0), "mean": 1 / (step + 1)}[mode]
        self.train_init.lerp_(train_now, weight)
        self.val_init.lerp_(val_now, weight)

    def held_out_batches(self, context: Context) -> Iterator[Batch]:
        """Give the iterator of this epoch's held-out batches, one a step: all samples in turns, in one random order."""
        if self._held is None:
            held, size = context.held_out, min(context.batch_size, len(context.held_out))
            turns = torch.arange(context.step * size, (context.step + context.steps_in_epoch) * size) % len(held)
            order = torch.randperm(len(held), generator=context.generator("olm held out"))
            # Moved to the device at once: a step waits for nothing.
            self._held = context.train_batches(size, index=held[order[turns]])
        return self._held

    def on_epoch_start(self, context: Context) -> None:
        self._held = None

    def on_epoch_end(self, context: Context) -> None:
        self._held = None

    def diagnostics(self) -> dict[str, float]:
        """Means over the epoch's samples, for each modality's head and the fused one (multi): its coefficient, its norm
        times that, the share of the mean norm to which this is drawn; with ratio gen how far it has generalised and
        overfitted."""
        return super().diagnostics()
