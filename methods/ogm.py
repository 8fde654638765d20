"""OGM: slow down, batch by batch, the modality that predicts better on its own.

Peng, Wei, Deng, Wang, Hu, "Balanced Multimodal Learning via On-the-fly Gradient Modulation", CVPR 2022; Wei, Hu, Du,
Wen, "On-the-fly Modulation for Balanced Multimodal Learning", TPAMI 2024.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from data.base import Batch
from methods.base import Context, MethodError, Outputs
from methods.base.fused import FusedMethod
from methods.base.fusion_hyperparameters import FusionHyperparameters, check_fused_loss_alone
from methods.base.hyperparameters import Choice, Uniform, epoch_window, hyper
from methods.base.modulation import Scope, modulate_encoders, modulate_gradient, parameters_in_scope
from methods.equations import discrepancy_ratios, unimodal_scores
from models import unknown
from models.fusion import Source

__all__ = [
    "OGM",
    "OGMHyperparameters",
    "discrepancy_ratios",
    "modulate_gradient",
    "modulation_coefficients",
    "unimodal_scores",
]

Variant = Literal["cvpr2022", "tpami2024"]
_OWN_LOGITS = ("concat", "sum", "late", "channel")

# Equations -----------------------------------------------------------------------------------------------------


def modulation_coefficients(ratios: Tensor, alpha: float, variant: str = "cvpr2022") -> Tensor:
    """Compute the factor k of each modality's gradient, [M] -> [M]; 1 where the ratio ρ is at most 1.

    cvpr2022: 1 - tanh(αρ), for two modalities (CVPR, eq. 10); tpami2024: max(0, 1 - α tanh(ρ - 1)), for any number
    (TPAMI, eq. 11). Raises ValueError for cvpr2022 with more than two, and for another variant."""
    if variant not in get_args(Variant):
        raise unknown("variant", variant, get_args(Variant))
    if variant == "tpami2024":
        slowed = (1 - alpha * torch.tanh(ratios - 1)).clamp_min(0)
    elif len(ratios) > 2:
        raise ValueError(_two_alone(len(ratios)))
    else:
        slowed = 1 - torch.tanh(alpha * ratios)
    return torch.where(ratios > 1, slowed, torch.ones_like(slowed))


def _two_alone(count: int) -> str:
    return f"variant cvpr2022 is defined for two modalities, not for {count}; use variant tpami2024"


# Method --------------------------------------------------------------------------------------------------------


class OGMHyperparameters(FusionHyperparameters):
    alpha: float = hyper(0.8, symbol="α", low=0.0, search=Uniform(0.1, 1.0))
    """how strongly the better modality is slowed down"""
    variant: Variant = hyper("cvpr2022", search=Choice(get_args(Variant)))
    """formula of the factors: of two modalities (CVPR 2022), or of any number (TPAMI 2024)"""
    ge: bool = hyper(True, search=Choice((True, False)))
    """add noise as large as the gradients to those of all encoders (OGM-GE); false: OGM"""
    start_epoch: float = hyper(0.0, low=0.0, epochs=True)
    """first epoch with modulation, counted from 0"""
    end_epoch: float | None = hyper(0.5, low=0.0, search=Uniform(0.1, 0.9), epochs=True)
    """last epoch with modulation, counted from 0 (null: the end)"""

    # Only to train as the official code does.
    scope: Scope = hyper("all")
    """which parameters of an encoder: all, weights of 2-d convolutions (official code), or all but biases and norms"""


class OGM(FusedMethod[OGMHyperparameters]):
    """In joint training, the modality that already predicts well makes the common error small before the others have
    learned. So each batch measures how well every modality predicts on its own, and the gradient of the encoder that
    leads is multiplied by a factor below 1. OGM-GE (``ge``) then adds Gaussian noise of the gradients' own deviation to
    all encoders, to put back what the smaller steps take from the noise of stochastic gradients.

    Source: Peng et al., CVPR 2022: ratio (eq. 9), factor (10), for two modalities; Wei et al., TPAMI 2024: their
    extension to any number (``variant: tpami2024``, eq. 11). Noise as both codes draw it: tensor by tensor.

    Departures from the official code: all parameters of an encoder are modulated (``scope: conv`` is the code's, whose
    batch norms, linear layers and transformers go free); ``tpami2024`` is the paper's formula, where the later code has
    the earlier one. ``end_epoch`` is a share of the budget, as 50 of the first code's 100 epochs are; the later code
    starts after six epochs (``start_epoch: 6``). Fusions without a part for each modality are beyond the papers: there
    the modalities' own logits are the fused ones with the other features zeroed, and the run's log says so.

    Cost: one forward and one backward a step, as joint training. Beside them each modality's logits without gradient;
    with ``ge`` a random number for each parameter of the encoders.

    Optimizers that divide by the gradient's running size, such as Adam, nearly undo a slowly varying factor: there OGM
    acts by its noise alone.

    State: none."""

    name = "ogm"
    title = "On-the-fly gradient modulation (OGM-GE)"
    paper = "Peng, Wei, Deng, Wang, Hu: On-the-fly Gradient Modulation, CVPR 2022"
    stages = ("optimization",)

    def build(self) -> None:
        super().build()
        hp = self.hyperparameters
        self.window = epoch_window(hp.start_epoch, hp.end_epoch, self.epochs)

    def usual_source(self) -> Source:
        return "native" if self.hyperparameters.fusion in _OWN_LOGITS else "zero"

    def objective_logits(self, features: list[Tensor]) -> list[Tensor]:
        """Give those that the scores are made of, without gradient."""
        with torch.no_grad():
            return self.unimodal_logits(features)

    @torch.no_grad()
    def modulate_gradients(self, outputs: Outputs, batch: Batch, context: Context) -> None:
        """Multiply each encoder's gradients by the factor of its modality in the joint batch, and add the noise."""
        hp = self.hyperparameters
        ratios = discrepancy_ratios(context.sum(unimodal_scores(outputs.unimodal_logits, batch.labels)))
        factors = torch.ones_like(ratios)
        if context.epoch - 1 in self.window:
            factors = modulation_coefficients(ratios, hp.alpha, hp.variant)
            generator = context.device_generator("ogm noise", context.step) if hp.ge else None
            modulate_encoders(self.encoders.values(), factors, hp.scope, generator)
        for m, ratio, factor in zip(self.modalities, ratios, factors, strict=True):
            context.log(f"ratio_{m}", ratio)
            context.log(f"coefficient_{m}", factor)

    # Checks, warnings, diagnostics -----------------------------------------------------------------------------

    @classmethod
    def check(cls, hyperparameters: OGMHyperparameters, modalities: tuple[str, ...]) -> None:
        super().check(hyperparameters, modalities)
        check_fused_loss_alone(cls.name, hyperparameters)
        if hyperparameters.variant == "cvpr2022" and len(modalities) > 2:
            raise MethodError(f"ogm: {_two_alone(len(modalities))}")

    def on_fit_start(self, context: Context) -> None:
        if self.source == "zero":
            context.warn("ogm: a modality's own logits are the fused ones with the features of all others zeroed")
        if not self.window:
            context.warn("ogm: end_epoch comes before start_epoch, so no gradient is modulated")
        scope = self.hyperparameters.scope
        bare = [m for m, encoder in self.encoders.items() if not parameters_in_scope(encoder, scope)]
        if bare:
            context.warn(f"ogm: no parameter of {', '.join(bare)} is in scope {scope}")

    def diagnostics(self) -> dict[str, float]:
        """Logged, as means over the epoch's samples: each modality's discrepancy ratio, and the factor by which its
        gradients were multiplied (1 outside start_epoch to end_epoch)."""
        return super().diagnostics()
