"""MLA: modalities take turns within a batch, and share one head that is kept from forgetting the modality before.

Zhang, Yoon, Bansal, Yao, "Multimodal Representation Learning by Alternating Unimodal Adaptation", CVPR 2024.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from data.base import Batch
from methods.base import MULTI, Context, Method, MethodError, Outputs
from methods.base.hyperparameters import Choice, Hyperparameters, LogUniform, hyper
from methods.equations.entropy import fuse_logits, fusion_weights, prediction_entropy
from models import linear, unknown

__all__ = [
    "MLA",
    "MLAHyperparameters",
    "fuse_logits",
    "fusion_weights",
    "prediction_entropy",
    "project_gradient",
    "projection_alpha",
    "update_projection",
]

# Equations: those of the fusion at inference lie in methods.equations.entropy ----------------------------------


def projection_alpha(batch_index: int, num_batches: int, base: float = 0.1) -> float:
    """a = base^(1 + b / n): from ``base`` in an epoch's first batch, b = 0, towards its square."""
    return float(base ** (1 + batch_index / num_batches))


def update_projection(proj: Tensor, feature_mean: Tensor, alpha: float, normalize: bool = False) -> Tensor:
    """P - (P h)(hᵀ P) / (a + hᵀ P h), symmetrised: [d, d] and [d] -> [d, d], a new tensor.

    Shrinks what P keeps of the direction h: the more, the smaller ``alpha``. normalize: divide the result by its
    Frobenius norm. Raises ValueError where alpha is not positive."""
    if alpha <= 0:
        raise ValueError(f"alpha must be above 0, got {alpha}")
    image = proj @ feature_mean
    updated = proj - torch.outer(image, feature_mean @ proj) / (alpha + feature_mean @ image)
    updated = (updated + updated.T) / 2
    return updated / updated.norm() if normalize else updated


def project_gradient(grad: Tensor, proj: Tensor) -> Tensor:
    """G Pᵀ, [C, d] and [d, d] -> [C, d]: what the gradient of a head keeps."""
    return grad @ proj.T.to(grad.dtype)


# Method --------------------------------------------------------------------------------------------------------


class MLAHyperparameters(Hyperparameters):
    alpha: float = hyper(
        0.1, symbol="a", above=0.0, search=LogUniform(1e-3, 10.0), only_if=("gradient_modification", True)
    )
    """how much of the directions of earlier features the head may still move in (towards 0: nothing)"""
    alpha_decay: bool = hyper(True, search=Choice((True, False)), only_if=("gradient_modification", True))
    """a falls within each epoch from alpha to its square, as in the official code, or is constant, as in the paper"""
    gradient_modification: bool = hyper(True, search=Choice((True, False)))
    """project the head's gradient away from the features of modalities before"""
    dynamic_fusion: bool = hyper(True, search=Choice((True, False)))
    """weigh the modalities by the entropy of their predictions, or by fixed_weights"""
    fixed_weights: list[float] | None = hyper(None, only_if=("dynamic_fusion", False))
    """weight of each modality, in the dataset's order (null: the same for all; published for three: 0.35, 0.25, 0.4)"""
    modality_order: list[str] | None = hyper(None)
    """the order in which modalities take turns (null: the dataset's)"""
    reset_projection: Literal["never", "epoch", "batch"] = hyper(
        "never", search=Choice(("never", "epoch", "batch")), only_if=("gradient_modification", True)
    )
    """when all directions are free again"""

    # Only to train as the official code was meant to.
    projection_from: Literal["previous", "current"] = hyper("previous", only_if=("gradient_modification", True))
    """last modality whose features are projected away: the one before, or the one that is stepping"""
    normalize_projection: bool = hyper(False, only_if=("gradient_modification", True))
    """divide the projection by its Frobenius norm at each update"""


class MLA(Method[MLAHyperparameters]):
    """Each batch is shown to one modality after the other: its encoder and a head that all share make a step on its own
    cross-entropy. There is no joint loss, so no modality can hold another back. So that the head does not forget the
    modality before, its gradient is projected away from the directions that features have had so far. At inference the
    modalities' logits are added, the surer of its prediction a modality is, the more it counts.

    Source: Zhang et al., CVPR 2024, Section 3; the projection is that of orthogonal weight modification.

    Departures from the official code: there the projection never runs, as it looks for the head's weight under a name
    that it does not have: ``gradient_modification: false`` is what was released. If it ran, it would divide element by
    element by a matrix; here by the paper's scalar. Entropies are of each sample, where the code takes one of the whole
    batch. Encoders of another width than the widest get a linear map to it.

    Cost: as joint training, with a step of the optimizer for each modality and products with a [d, d] matrix.

    State: the projection."""

    name = "mla"
    title = "Alternating unimodal adaptation"
    paper = "Zhang, Yoon, Bansal, Yao: Alternating Unimodal Adaptation, CVPR 2024"
    stages = ("feed-forward", "optimization")
    helpers = ("projection",)
    projection: Tensor

    @classmethod
    def check(cls, hyperparameters: MLAHyperparameters, modalities: tuple[str, ...]) -> None:
        super().check(hyperparameters, modalities)
        weights, order = hyperparameters.fixed_weights, hyperparameters.modality_order
        if weights is not None:
            told = ", ".join(modalities)
            if len(weights) != len(modalities):
                raise MethodError(f"mla: fixed_weights lists {len(weights)} weights, the dataset gives {told}")
            if min(weights) <= 0 or abs(sum(weights) - 1) > 1e-6:
                raise MethodError(f"mla: fixed_weights must be above 0 and add up to 1, got {weights}")
        if order is not None:
            for each in order:
                if each not in modalities:
                    raise MethodError(f"mla: modality_order: {unknown('modality', each, modalities)}")
            if sorted(order) != sorted(modalities):
                raise MethodError(f"mla: modality_order must name each of {', '.join(modalities)} once, got {order}")

    def build(self) -> None:
        width = max(self.dims)
        self.adapters = nn.ModuleDict(
            {m: linear(dim, width) for m, dim in zip(self.modalities, self.dims, strict=True) if dim != width}
        )
        self.head = linear(width, self.num_classes)
        self.register_buffer("projection", torch.eye(width))
        weights = self.hyperparameters.fixed_weights or [1 / len(self.dims)] * len(self.dims)
        self.fixed_weights = dict(zip(self.modalities, weights, strict=True))
        self._batch = 0

    # Training ----------------------------------------------------------------------------------------------------

    def on_epoch_start(self, context: Context) -> None:
        self._batch = 0
        if self.hyperparameters.reset_projection == "epoch":
            self.free_directions()

    def free_directions(self) -> None:
        """Let the head move in every direction again."""
        self.projection.copy_(torch.eye(len(self.projection)))

    def training_step(self, batch: Batch, context: Context) -> Tensor:
        """Step for each modality in turn. Returns the mean of their losses."""
        if self.hyperparameters.reset_projection == "batch":
            self.free_directions()
        turns = self.hyperparameters.modality_order or self.modalities
        losses = [self.step_of(modality, batch, context) for modality in turns]
        self._batch += 1
        return torch.stack(losses).mean()

    def step_of(self, modality: str, batch: Batch, context: Context) -> Tensor:
        """Train one modality's encoder and the head on a batch; the other encoders rest. Returns its detached loss."""
        hp, first = self.hyperparameters, context.step == 0
        context.zero_grad()
        with context.autocast():
            feature = self.adapted(modality, self.feature_of(modality, batch))
            loss = F.cross_entropy(self.head(feature), batch.labels)
        context.backward(loss)
        if hp.gradient_modification:
            mean = context.mean(feature.detach().float().mean(0))
            if hp.projection_from == "current":
                self.project_away(mean, context)
            if not first:
                self.project_head(modality, context)
            if hp.projection_from == "previous":
                self.project_away(mean, context)
        context.optimizer_step()
        return loss.detach()

    def project_away(self, feature_mean: Tensor, context: Context) -> None:
        """Take the direction of a batch's mean feature, [d], out of those in which the head may move."""
        hp = self.hyperparameters
        alpha = projection_alpha(self._batch, context.steps_in_epoch, hp.alpha) if hp.alpha_decay else hp.alpha
        self.projection.copy_(update_projection(self.projection, feature_mean, alpha, hp.normalize_projection))

    def project_head(self, modality: str, context: Context) -> None:
        """Project the gradient of the head's weight; its bias keeps its own."""
        gradient = self.head.weight.grad
        assert gradient is not None
        kept = project_gradient(gradient, self.projection)
        context.log(f"kept_{modality}", kept.norm() / gradient.norm().clamp_min(1e-12))
        self.head.weight.grad = kept

    # Forward passes and inference --------------------------------------------------------------------------------

    def adapted(self, modality: str, feature: Tensor) -> Tensor:
        """Bring a modality's feature to the width of the head, [B, d_m] -> [B, d]."""
        return self.adapters[modality](feature) if modality in self.adapters else feature

    def forward(self, batch: Batch) -> Outputs:
        features = self.encode(batch)
        logits = self.classify(features)
        return Outputs(features, logits[MULTI], [logits[m] for m in self.modalities])

    def classify(self, features: list[Tensor]) -> dict[str, Tensor]:
        return self.weighted(features, self.modalities)

    def predict(self, batch: Batch, present: Sequence[str] | None = None) -> dict[str, Tensor]:
        return self.weighted(self.present_features(batch, present), self.modalities if present is None else present)

    def weighted(self, features: list[Tensor], present: Sequence[str]) -> dict[str, Tensor]:
        """Give the logits of each modality, and their weighted sum over those that are ``present`` (none: zeros)."""
        named = zip(self.modalities, features, strict=True)
        unimodal = {m: self.head(self.adapted(m, feature)) for m, feature in named}
        voting = {m: z.float() for m, z in unimodal.items() if m in present}
        if not voting:
            return {MULTI: torch.zeros_like(unimodal[self.modalities[0]]), **unimodal}
        logits = list(voting.values())
        if self.hyperparameters.dynamic_fusion:
            return {MULTI: fuse_logits(logits, fusion_weights(logits)), **unimodal}
        total = sum(self.fixed_weights[m] for m in voting)
        fused = torch.stack([self.fixed_weights[m] / total * z for m, z in voting.items()]).sum(0)
        return {MULTI: fused, **unimodal}

    def diagnostics(self) -> dict[str, float]:
        """Share of the directions in which the head may still move (trace of P over d); logged, as means over the
        epoch's steps: what the projection keeps of the norm of the head's gradient, by modality."""
        if not self.hyperparameters.gradient_modification:
            return {}
        return {"free_directions": float(self.projection.trace()) / len(self.projection)}
