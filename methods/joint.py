"""Joint training: every encoder, one fusion module, one loss. The reference of every comparison."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from data.base import Batch
from methods.base import MULTI, Context, Outputs
from methods.base.fused import FusedMethod, FusionHyperparameters, FusionName, build_fusion, check_fusion
from methods.base.hyperparameters import Choice, Uniform, hyper
from models import fusion as fusions
from models.fusion import FusionOutput


class JointHyperparameters(FusionHyperparameters):
    fusion: FusionName = hyper(
        "concat", search=Choice(fusions.NAMES), meaning="how the modalities' features become one prediction"
    )
    unimodal_loss_weight: float = hyper(
        0.0, low=0.0, search=Uniform(0.0, 2.0),
        meaning="weight of the sum of the modalities' own losses beside the fused one (1 with unimodal_source: aux: "
        "the uniform baseline)",
    )  # fmt: skip


class Joint(FusedMethod):
    """One network, one loss: that of the fusion, plus ``unimodal_loss_weight`` times the sum of the unimodal
    cross-entropies.

    Cost: one forward and one backward a step, what the methods' costs are compared with."""

    name = "joint"
    title = "Joint training"
    paper = "naive baseline: one loss on the fused prediction"
    stages = ()
    Hyperparameters = JointHyperparameters
    hyperparameters: JointHyperparameters

    def __init__(
        self, encoders: Mapping[str, nn.Module], num_classes: int, hyperparameters: JointHyperparameters, epochs: int
    ) -> None:
        super().__init__(encoders, num_classes, hyperparameters, epochs)
        self.weight = hyperparameters.unimodal_loss_weight
        self.source = hyperparameters.unimodal_source
        self.fusion = build_fusion(
            hyperparameters, self.modalities, self.dims, num_classes, encoders=list(self.encoders.values())
        )

    @classmethod
    def check(cls, hyperparameters: Any, modalities: tuple[str, ...]) -> None:
        super().check(hyperparameters, modalities)
        check_fusion(hyperparameters, modalities, own_loss=True, side_by_side=True)

    def on_fit_start(self, context: Context) -> None:
        if self.source == "aux" and self.weight == 0:
            context.warn(
                "unimodal_source: aux, but unimodal_loss_weight is 0, so the auxiliary heads learn nothing and the "
                "modalities' own metrics mean nothing; set unimodal_loss_weight (with aux_detach: true, probes only)"
            )

    def forward(self, batch: Batch) -> Outputs:
        features = self.encode(batch)
        output = self.fusion.fuse(features)
        unimodal = self.fusion.unimodal_logits(features, self.source) if self.weight > 0 else []
        return Outputs(output.features, output.logits, unimodal, output.extra)

    def classify(self, features: list[Tensor]) -> dict[str, Tensor]:
        unimodal = self.fusion.unimodal_logits(features, self.source)
        return {MULTI: self.fusion.fuse(features).logits, **dict(zip(self.modalities, unimodal, strict=True))}

    def loss(self, outputs: Outputs, batch: Batch, context: Context) -> Tensor:
        output = FusionOutput(outputs.logits, outputs.features, outputs.extra)
        loss = self.fusion.loss(output, batch.labels, context.epoch - 1)
        if self.weight > 0:
            own = [F.cross_entropy(logits, batch.labels) for logits in outputs.unimodal_logits]
            loss = loss + self.weight * torch.stack(own).sum()
        return loss
