"""Joint training: every encoder, one fusion module, one loss. The reference of every comparison."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from data.base import Batch
from methods.base import Context, MethodError, Outputs
from methods.base.branches import check_branches
from methods.base.fused import FusedMethod
from methods.base.fusion_hyperparameters import FusionHyperparameters, FusionName
from methods.base.hyperparameters import Choice, Uniform, hyper
from methods.base.modulation import modulate_encoders
from models import fusion as fusions


class JointHyperparameters(FusionHyperparameters):
    fusion: FusionName = hyper("concat", search=Choice(fusions.NAMES))
    """how the modalities' features become one prediction"""
    unimodal_loss_weight: float = hyper(0.0, low=0.0, search=Uniform(0.0, 2.0))
    """weight of the sum of the modalities' own losses beside the fused one (1 with unimodal_source: aux: the uniform
    baseline)"""
    gradient_scale: list[Annotated[float, Field(ge=0)]] | None = hyper(None)
    """factor of the gradient of each modality's encoder, in the dataset's order (null: gradients as they are)"""


class Joint(FusedMethod[JointHyperparameters]):
    """One network, one loss: that of the fusion, plus ``unimodal_loss_weight`` times the sum of the unimodal
    cross-entropies. ``gradient_scale`` multiplies the encoders' gradients by constants, as in the first experiment of
    Yang et al., TPAMI 2025 (AMSS).

    Cost: one forward and one backward a step, what the methods' costs are compared with."""

    name = "joint"
    title = "Joint training"
    paper = "naive baseline: one loss on the fused prediction"
    stages = ()
    capturable = True
    replaces_fusion_loss = False

    @classmethod
    def check(cls, hyperparameters: JointHyperparameters, modalities: tuple[str, ...]) -> None:
        super().check(hyperparameters, modalities)
        if (scales := hyperparameters.gradient_scale) is not None:
            check_branches("joint with gradient_scale", hyperparameters)
            if len(scales) != len(modalities):
                raise MethodError(f"joint: gradient_scale needs one entry for each of {', '.join(modalities)}")

    def build(self) -> None:
        super().build()
        self.weight = self.hyperparameters.unimodal_loss_weight

    def objective_logits(self, features: list[Tensor]) -> list[Tensor]:
        return self.unimodal_logits(features) if self.weight > 0 else []

    def loss(self, outputs: Outputs, batch: Batch, context: Context) -> Tensor:
        loss = super().loss(outputs, batch, context)
        if self.weight > 0:
            own = [F.cross_entropy(logits, batch.labels) for logits in outputs.unimodal_logits]
            loss = loss + self.weight * torch.stack(own).sum()
        return loss

    def modulate_gradients(self, outputs: Outputs, batch: Batch, context: Context) -> None:
        if self.hyperparameters.gradient_scale is not None:
            modulate_encoders(self.encoders.values(), self.hyperparameters.gradient_scale)

    def on_fit_start(self, context: Context) -> None:
        if self.source == "aux" and self.weight == 0:
            context.warn(
                "unimodal_source: aux, but unimodal_loss_weight is 0, so the auxiliary heads learn nothing and the "
                "modalities' own metrics mean nothing; set unimodal_loss_weight (with aux_detach: true, probes only)"
            )
