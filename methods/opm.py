"""OPM: drop the feature of the modality that predicts better from randomly chosen samples.

Wei, Hu, Du, Wen, "On-the-fly Modulation for Balanced Multimodal Learning", TPAMI 2024.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from data.base import Batch
from methods.base import Context, Outputs
from methods.base.fused import FusedMethod
from methods.base.fusion_hyperparameters import FusionHyperparameters, check_fused_loss_alone, check_fusion
from methods.base.hyperparameters import Uniform, epoch_window, hyper
from methods.equations import discrepancy_ratios, unimodal_scores
from models.fusion import Source

__all__ = [
    "OPM",
    "OPMHyperparameters",
    "apply_drop",
    "discrepancy_ratios",
    "drop_probabilities",
    "drop_scale",
    "dropped_features",
    "unimodal_scores",
]

_OWN_LOGITS = ("concat", "sum", "late")

# Equations -----------------------------------------------------------------------------------------------------


def drop_probabilities(ratios: Tensor, q_base: float, lam: float) -> Tensor:
    """Compute q = q_base (1 + λ tanh(ρ - 1)), clipped to [0, 1], where the ratio ρ is above 1, else 0: [M] -> [M]."""
    raised = (q_base * (1 + lam * torch.tanh(ratios - 1))).clamp(0, 1)
    return torch.where(ratios > 1, raised, torch.zeros_like(raised))


def drop_scale(drop_probs: Tensor, widths: Sequence[int]) -> Tensor:
    """Compute 1 / (1 - θ), 0-d, with the mean dropped share θ = Σ d_m q_m / Σ d_m; 1 - θ is at least 1e-6.

    drop_probs: q, [M]; widths: d, of the features."""
    theta = torch.stack([width * q for width, q in zip(widths, drop_probs, strict=True)]).sum() / sum(widths)
    return 1 / (1 - theta).clamp_min(1e-6)


def dropped_features(features: list[Tensor], keep: Tensor, scale: float | Tensor) -> list[Tensor]:
    """Multiply features, M tensors [B, D_m], by the keep bits [M, B] (0 and 1, of any type) and the common scale."""
    return [x * (bits.to(x.dtype) * scale).unsqueeze(1) for x, bits in zip(features, keep, strict=True)]


def apply_drop(features: list[Tensor], keep: Tensor, scale: float | Tensor) -> tuple[list[Tensor], Tensor]:
    """Drop as :func:`dropped_features`, then leave out the rows of which no modality is kept.

    Returns M tensors [B', D_m], in the order of the rows, and which rows these are, bool [B]."""
    rows = (keep != 0).any(0)
    return [x[rows] for x in dropped_features(features, keep, scale)], rows


# Method --------------------------------------------------------------------------------------------------------


class OPMHyperparameters(FusionHyperparameters):
    q_base: float = hyper(0.5, symbol="q_base", low=0.0, high=1.0, search=Uniform(0.1, 0.8))
    """smallest probability with which a sample loses the better modality"""
    lam: float = hyper(0.5, symbol="λ", low=0.0, search=Uniform(0.0, 1.0))
    """how much the probability grows with the lead"""
    p_exe: float = hyper(0.7, low=0.0, high=1.0, search=Uniform(0.3, 1.0))
    """probability that a batch has samples dropped at all (in the official code alone; 1: always)"""
    warmup_epochs: float = hyper(0.06, low=0.0, search=Uniform(0.0, 0.1), epochs=True)
    """epochs without drop at first (in the official code alone; 0: none)"""
    q_from: Literal["previous", "current"] = hyper("previous")
    """ratios that the probabilities come from: of the step before, or of this one (official code)"""
    rescale: bool = hyper(True)
    """scale all features up by what is dropped on average (in the official code alone)"""
    start_epoch: float = hyper(0.0, low=0.0, epochs=True)
    """first epoch with drop, counted from 0"""
    end_epoch: float | None = hyper(None, low=0.0, epochs=True)
    """last epoch with drop, counted from 0 (null: the end)"""


class OPM(FusedMethod[OPMHyperparameters]):
    """The fused prediction is made of unimodal parts, so the modality that leads can carry it alone. From randomly
    chosen samples of each batch its feature is dropped: there prediction and error have to come from the others. The
    probability follows the lead as each batch shows it; the modality that predicts worst is never dropped.

    Source: Wei et al., TPAMI 2024: ratio and drop probability, with those of the step before. Common scale, share of
    batches and warm-up are those of the official code, as the paper leaves them open.

    Departures from the official code: the probabilities are the paper's, of the last step (``q_from: current`` is the
    code's reading). Six warm-up epochs are a share of the budget. Widths of features may differ. No sample loses all
    modalities, as the one with the smallest score is always kept; so no row leaves the batch (:func:`apply_drop` says
    what would). Fusions without a part for each modality are beyond the paper: there the modalities' own logits are the
    fused ones with the other features zeroed, and the run's log says so. ``fusion: channel`` is refused, as a dropped
    modality would live on in the others' features.

    Cost: one forward and one backward a step, as joint training. Beside them each modality's logits without gradient,
    and the fusion a second time.

    State: the probabilities of the last step."""

    name = "opm"
    title = "On-the-fly prediction modulation"
    paper = "Wei, Hu, Du, Wen: On-the-fly Modulation, TPAMI 2024"
    stages = ("feed-forward",)
    capturable = True
    computes_with_features = True
    helpers = ("drop_probabilities",)
    drop_probabilities: Tensor

    def build(self) -> None:
        super().build()
        hp = self.hyperparameters
        window = epoch_window(hp.start_epoch, hp.end_epoch, self.epochs)
        warm = epoch_window(hp.warmup_epochs, None, self.epochs)
        self.window = range(max(window.start, warm.start), window.stop)
        self.register_buffer("drop_probabilities", torch.zeros(len(self.dims)))

    def usual_source(self) -> Source:
        return "native" if self.hyperparameters.fusion in _OWN_LOGITS else "zero"

    def objective_logits(self, features: list[Tensor]) -> list[Tensor]:
        """Give those that the scores are made of, without gradient."""
        with torch.no_grad():
            return self.unimodal_logits(features)

    def loss(self, outputs: Outputs, batch: Batch, context: Context) -> Tensor:
        """Compute the cross-entropy of the fused logits, of what is kept of the features."""
        found = self.measured_probabilities(outputs, batch, context)
        outputs.extra["drop_probabilities"] = found
        if context.epoch - 1 not in self.window:
            return F.cross_entropy(outputs.logits, batch.labels)
        probabilities = self.drop_probabilities if self.hyperparameters.q_from == "previous" else found
        features = self.modulated_features(outputs.features, probabilities, context)
        return F.cross_entropy(self.fusion.fuse(features).logits, batch.labels)

    @torch.no_grad()
    def measured_probabilities(self, outputs: Outputs, batch: Batch, context: Context) -> Tensor:
        """Compute each modality's drop probability, [M], from its lead in the joint batch."""
        ratios = discrepancy_ratios(context.sum(unimodal_scores(outputs.unimodal_logits, batch.labels)))
        for m, ratio in zip(self.modalities, ratios, strict=True):
            context.log(f"ratio_{m}", ratio)
        return drop_probabilities(ratios, self.hyperparameters.q_base, self.hyperparameters.lam)

    def modulated_features(self, features: list[Tensor], probabilities: Tensor, context: Context) -> list[Tensor]:
        """Drop features by the keep bits of the step's samples, in a share of the steps; else leave them as they are.

        Decided on the device: a step does not wait for it."""
        hp = self.hyperparameters
        executes = context.step_numbers("opm execution", lambda random: torch.rand((), generator=random)) < hp.p_exe
        probabilities = torch.where(executes, probabilities, torch.zeros_like(probabilities))
        keep = (context.sample_numbers("opm keep", len(features)) >= probabilities).T
        for m, bits in zip(self.modalities, keep, strict=True):
            context.log(f"dropped_{m}", 1 - bits.float().mean())
        return dropped_features(features, keep, drop_scale(probabilities, self.dims) if hp.rescale else 1.0)

    def modulate_gradients(self, outputs: Outputs, batch: Batch, context: Context) -> None:
        """Leave the gradients as they are, and remember the probabilities for the next step."""
        self.drop_probabilities.copy_(outputs.extra["drop_probabilities"])

    # Checks, warnings, diagnostics -----------------------------------------------------------------------------

    @classmethod
    def check(cls, hyperparameters: OPMHyperparameters, modalities: tuple[str, ...]) -> None:
        super().check(hyperparameters, modalities)
        check_fusion(hyperparameters, modalities)
        check_fused_loss_alone(cls.name, hyperparameters)

    def on_fit_start(self, context: Context) -> None:
        if self.source == "zero":
            context.warn("opm: a modality's own logits are the fused ones with the features of all others zeroed")
        if not self.window:
            context.warn("opm: end_epoch comes before start_epoch or within the warm-up, so nothing is dropped")

    def diagnostics(self) -> dict[str, float]:
        """Logged, as means over the epoch's samples: each modality's discrepancy ratio and, from the first epoch with
        drop on, the share of samples that lost it."""
        return super().diagnostics()
