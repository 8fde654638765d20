"""MMCosine: a part of the logits for each modality, which its norms cannot make larger than another's.

Xu, Feng, Zhang, Hu, "MMCosine: Multi-Modal Cosine Loss Towards Balanced Audio-Visual Fine-Grained Learning",
ICASSP 2023.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from data.base import Batch
from methods.base import MULTI, Context, MethodError, Outputs
from methods.base.fused import LINEAR_HEADS, FusedMethod, linear_head
from methods.base.fusion_hyperparameters import FusionHyperparameters, check_fused_loss_alone
from methods.base.hyperparameters import LogUniform, hyper

_SURE = 0.99

# Equations -----------------------------------------------------------------------------------------------------


def cosine_logits(feature: Tensor, weight: Tensor, scale: float = 10.0) -> Tensor:
    """Compute s cos(W_c, z), the part of one modality: [B, D] and [C, D] -> [B, C], of single precision at least.

    Norms are at least 1e-12; a row of zeros gives zeros."""
    return scale * F.linear(_directions(feature), _directions(weight))


def _directions(rows: Tensor) -> Tensor:
    rows = rows.to(torch.promote_types(rows.dtype, torch.float32))
    norms = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    # A row of zeros is divided by 1: by 1e-12 its gradient would be huge.
    return rows / torch.where(norms > 0, norms.clamp_min(1e-12), torch.ones_like(norms))


def mmcosine_logits(features: list[Tensor], weight: Tensor, scale: float = 10.0) -> tuple[Tensor, list[Tensor]]:
    """Compute the joint logits, [B, C], and the parts that add up to them, M tensors [B, C], by :func:`cosine_logits`.

    features: M tensors [B, D_m]; weight: [C, Σ D_m], with the columns in their order. Raises ValueError where the
    widths do not fit."""
    widths = [feature.shape[1] for feature in features]
    if sum(widths) != weight.shape[1]:
        raise ValueError(f"features of widths {widths} do not fit a weight of {weight.shape[1]} columns")
    blocks = weight.split(widths, dim=1)
    parts = [cosine_logits(feature, block, scale) for feature, block in zip(features, blocks, strict=True)]
    return torch.stack(parts).sum(0), parts


def mmcosine_loss(features: list[Tensor], weight: Tensor, target: Tensor, scale: float = 10.0) -> Tensor:
    """Compute the mean cross-entropy of the joint logits of :func:`mmcosine_logits`; target: int64 [B]."""
    return F.cross_entropy(mmcosine_logits(features, weight, scale)[0], target)


def scale_lower_bound(num_classes: int, num_modalities: int, prob: float) -> float:
    """Compute the scale from which the right class can have the probability P: (C - 1) / (M C) ln((C - 1) P / (1 - P)).

    Of C class centres that lie at equal angles, with every feature on its own: M s there, -M s / (C - 1) for each other
    class. Raises ValueError for less than two classes or one modality, and for P outside (0, 1)."""
    if num_classes < 2 or num_modalities < 1 or not 0 < prob < 1:
        raise ValueError(
            "scale_lower_bound needs two classes, one modality and a probability in (0, 1), "
            f"got {num_classes}, {num_modalities} and {prob}"
        )
    others = num_classes - 1
    return others / (num_modalities * num_classes) * math.log(others * prob / (1 - prob))


# Method --------------------------------------------------------------------------------------------------------


class MMCosineHyperparameters(FusionHyperparameters):
    scale: float = hyper(10.0, symbol="s", above=0.0, search=LogUniform(2.0, 64.0))
    """factor of the cosines: largest logit that one modality can give"""


class MMCosine(FusedMethod[MMCosineHyperparameters]):
    """The logits of a linear head on concatenated features are a sum of one part a modality. The modality that learns
    faster grows larger features and weights, its part outgrows the others, and they learn no more. Here the features
    and the class weights of each modality are normalised by themselves, so that every part is a cosine times the same
    ``scale``: no modality can take over by its norm.

    Source: Xu et al., ICASSP 2023. The bound below which a warning calls ``scale`` too small follows from the same
    equations for class centres at equal angles.

    Departures from the official code: predictions come from the cosines on which the network was trained; one of its
    two scripts scores the plain linear head, with a bias that was never trained. The head has no bias. Features may
    have any width, and any number of modalities is summed. A contrastive term of the code, which turns batches of one
    class into NaN whatever its weight, is no part of the method. The head of ``fusion: sum`` is that of ``concat`` in
    blocks; fusions whose head is not linear in the features of each modality are refused.

    Cost: one forward and one backward a step, as joint training, and the norms of features and weights.

    State: none."""

    name = "mmcosine"
    title = "Multimodal cosine loss"
    paper = "Xu, Feng, Zhang, Hu: MMCosine, ICASSP 2023"
    stages = ("objective",)
    capturable = True

    @classmethod
    def check(cls, hyperparameters: MMCosineHyperparameters, modalities: tuple[str, ...]) -> None:
        super().check(hyperparameters, modalities)
        check_fused_loss_alone(cls.name, hyperparameters)
        if hyperparameters.fusion not in LINEAR_HEADS:
            raise MethodError(
                f"mmcosine normalises a head that is linear in each modality's features, which fusion "
                f"{hyperparameters.fusion} does not have; use concat or sum"
            )

    def build(self) -> None:
        super().build()
        for layer in self.fusion.head_layers:
            layer.register_parameter("bias", None)

    @property
    def weight(self) -> Tensor:
        """Give the weight of the head, [C, Σ d_m]."""
        return linear_head(self.fusion)[0]

    def forward(self, batch: Batch) -> Outputs:
        features = self.encode(batch)
        joint, parts = mmcosine_logits(features, self.weight, self.hyperparameters.scale)
        return Outputs(features, joint, parts)

    def classify(self, features: list[Tensor]) -> dict[str, Tensor]:
        joint, parts = mmcosine_logits(features, self.weight, self.hyperparameters.scale)
        return {MULTI: joint, **dict(zip(self.modalities, parts, strict=True))}

    def loss(self, outputs: Outputs, batch: Batch, context: Context) -> Tensor:
        """Compute :func:`mmcosine_loss` of the logits that are there."""
        blocks = self.weight.detach().split(self.dims, dim=1)
        for m, part, block in zip(self.modalities, outputs.unimodal_logits, blocks, strict=True):
            of_true_class = part.detach().gather(1, batch.labels.unsqueeze(1))
            context.log(f"cosine_{m}", of_true_class.mean() / self.hyperparameters.scale)
            context.log(f"weight_norm_{m}", block.norm())
        return F.cross_entropy(outputs.logits, batch.labels)

    # Warnings, diagnostics ---------------------------------------------------------------------------------------

    def on_fit_start(self, context: Context) -> None:
        bound = scale_lower_bound(self.num_classes, len(self.modalities), _SURE)
        if self.hyperparameters.scale < bound:
            context.warn(
                f"mmcosine: at scale {self.hyperparameters.scale:g} the right one of {self.num_classes} classes can "
                f"hardly have a probability of {_SURE}; that takes {bound:.2g}"
            )

    def diagnostics(self) -> dict[str, float]:
        """Means over the epoch's samples, for each modality: cosine of its features and the weights of the right class;
        norm of its weights, which would count in a plain head."""
        return super().diagnostics()
