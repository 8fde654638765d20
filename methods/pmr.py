"""PMR: the modality that lags learns to lie near the mean features of its classes, by a loss of its own.

Fan, Xu, Wang, Wang, Guo, "PMR: Prototypical Modal Rebalance for Multimodal Learning", CVPR 2023.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from data.base import Batch
from methods.base import Context, MethodError, Outputs, evaluating
from methods.base.fused import FusedMethod
from methods.base.fusion_hyperparameters import FusionHyperparameters, check_fused_loss_alone
from methods.base.hyperparameters import LogUniform, Uniform, epoch_window, hyper, in_epochs
from methods.equations import prediction_entropy
from models import unknown

Coefficients = Literal["clip", "constant"]
_UNSEEN = -1e4
"""Logit of a class without prototype: its probability is 0, and the entropy stays finite."""

# Equations -----------------------------------------------------------------------------------------------------


def class_prototypes(features: Tensor, labels: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
    """Average the features of each class: [N, D] and int64 [N] -> means [C, D] and int64 counts [C].

    A class without samples has a row of zeros and the count 0."""
    sums, counts = _class_sums(features, labels, num_classes)
    return _means(sums, counts), counts


def _class_sums(features: Tensor, labels: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
    members = F.one_hot(labels, num_classes)
    return members.T.to(features.dtype) @ features, members.sum(0)


def _means(sums: Tensor, counts: Tensor) -> Tensor:
    return sums / counts.clamp_min(1).unsqueeze(1)


def update_prototypes(old: Tensor | None, new: Tensor, counts: Tensor, epsilon: float) -> Tensor:
    """Compute ε c_old + (1 - ε) c_new, [C, D]. Classes whose new count [C] is 0 keep the old row; ``new`` where there
    is no old one at all. A class that is seen for the first time needs its new row in ``old``, too."""
    if old is None:
        return new
    return torch.where((counts > 0).unsqueeze(1), epsilon * old + (1 - epsilon) * new, old)


def prototype_logits(features: Tensor, prototypes: Tensor) -> Tensor:
    """Compute minus the Euclidean distance of each feature to each prototype: [B, D] and [C, D] -> [B, C].

    At distance 0 it is -1e-6, and the gradient 0 instead of NaN."""
    # From the differences: the expanded square loses the digits of small distances.
    squares = (features.unsqueeze(1) - prototypes).square().sum(-1)
    return -squares.clamp_min(1e-12).sqrt()


def imbalance_ratio(logits: list[Tensor], labels: Tensor) -> Tensor:
    """Compute ρ = Σ_i p^0_i[y_i] / Σ_i p^1_i[y_i] of two modalities' prototype logits, [B, C] each; 0-d.

    labels: int64 [B]. Both sums are at least 1e-12."""
    first, second = (_scores(-_losses(each, labels)) for each in logits)
    return first / second


def _losses(logits: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(logits, labels, reduction="none")


def _scores(log_probabilities: Tensor) -> Tensor:
    return log_probabilities.exp().sum().clamp_min(1e-12)


def loss_coefficients(ratio: Any, mode: str = "clip") -> tuple[Any, Any]:
    """Compute (β, γ), the weights of the prototype losses of modality 0 and 1, from the ratio ρ of their scores.

    clip: clip(1/ρ - 1, 0, 1) and clip(ρ - 1, 0, 1), of which at most one is positive. constant (official code): 1 for
    the modality that lags, 0 for the other, both 0 at ρ = 1. Floats give floats, tensors tensors. Raises ValueError for
    another mode."""
    if mode not in get_args(Coefficients):
        raise unknown("mode of coefficients", mode, get_args(Coefficients))
    if not isinstance(ratio, Tensor):
        beta, gamma = loss_coefficients(torch.tensor(ratio, dtype=torch.float64), mode)
        return float(beta), float(gamma)
    if mode == "constant":
        return (ratio < 1).to(ratio.dtype), (ratio > 1).to(ratio.dtype)
    return (1 / ratio - 1).clamp(0, 1), (ratio - 1).clamp(0, 1)


def modality_coefficients(scores: Tensor, mode: str = "clip") -> tuple[Tensor, Tensor]:
    """Compute the weights of the prototype losses and of the entropies of any number of modalities, [M] each, from
    their scores [M] > 0. Two modalities have (β, γ) and (γ, β); for more it is our own extension."""
    return loss_coefficients(scores / scores.max(), mode)[0], loss_coefficients(scores / scores.min(), mode)[1]


def prototypical_entropy(logits: Tensor) -> Tensor:
    """Compute the mean entropy in nats of the softmax of prototype logits, [B, C] -> 0-d."""
    return prediction_entropy(logits).mean()


def total_loss(
    ce: Tensor, pce: list[Tensor], entropy: list[Tensor], beta: Any, gamma: Any, alpha: float, mu: float
) -> Tensor:
    """Compute L_CE + α (β L^0_PCE + γ L^1_PCE) - μ (γ H^0 + β H^1): the weight of the modality that lags is that of the
    other one's entropy. pce, entropy: two 0-d tensors each, in modality order."""
    return _weighted(ce, pce, entropy, (beta, gamma), (gamma, beta), alpha, mu)


def _weighted(
    ce: Tensor,
    pce: Sequence[Tensor],
    entropy: Sequence[Tensor],
    pulls: Sequence[Any],
    blunts: Sequence[Any],
    alpha: float,
    mu: float,
) -> Tensor:
    pulled = torch.stack([w * each for w, each in zip(pulls, pce, strict=True)]).sum()
    blunted = torch.stack([w * each for w, each in zip(blunts, entropy, strict=True)]).sum()
    return ce + alpha * pulled - mu * blunted


# Prototypes ----------------------------------------------------------------------------------------------------


class Prototypes(nn.Module):
    """The prototypes of each modality, buffers [C, d_m], and which classes have one, bool [C]."""

    seen: Tensor

    def __init__(self, dims: Sequence[int], num_classes: int) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(num_classes, dtype=torch.bool))
        for position, dim in enumerate(dims):
            self.register_buffer(f"of_{position}", torch.zeros(num_classes, dim))

    def update(self, means: list[Tensor], counts: Tensor, epsilon: float) -> None:
        """Move to new class means [C, d_m] of ``counts`` [C] samples, with momentum where a class has been seen."""
        for position, new in enumerate(means):
            held = self.get_buffer(f"of_{position}")
            old = torch.where(self.seen.unsqueeze(1), held, new)
            held.copy_(update_prototypes(old, new, counts, epsilon))
        self.seen |= counts > 0

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """Give the prototype logits [B, C] of features [B, d_m], in single precision."""
        found = [prototype_logits(f.float(), self.get_buffer(f"of_{k}")) for k, f in enumerate(features)]
        return [logits.masked_fill(~self.seen, _UNSEEN) for logits in found]


# Method --------------------------------------------------------------------------------------------------------


class PMRHyperparameters(FusionHyperparameters):
    alpha: float = hyper(1.0, symbol="α", low=0.0, search=Uniform(0.1, 3.0))
    """weight of the prototype loss of the modality that lags"""
    mu: float = hyper(0.01, symbol="μ", low=0.0, search=LogUniform(1e-4, 1e-1))
    """weight of the entropy of the other modality's prototype distribution"""
    momentum: float = hyper(0.2, symbol="ε", low=0.0, high=1.0, search=Uniform(0.0, 0.9))
    """share of the last epoch's prototypes in the new ones"""
    proto_fraction: float = hyper(0.1, above=0.0, high=1.0)
    """share of the training samples, drawn anew each epoch, that prototypes are made of"""
    reg_epochs: float = hyper(0.1, symbol="E_r", low=0.0, search=Uniform(0.0, 0.3), epochs=True)
    """first epochs, in which alone the entropy counts"""
    start_epoch: float = hyper(0.0, low=0.0, epochs=True)
    """first epoch with prototypes, counted from 0"""
    end_epoch: float | None = hyper(0.7, low=0.0, epochs=True)
    """last epoch with prototypes, counted from 0 (null: the end)"""
    allow_more: bool = hyper(False)
    """three and more modalities, by our own extension: each is compared with the best and with the worst"""

    # Only to train as the official code does.
    coefficients: Coefficients = hyper("clip")
    """weights of the two losses: they grow with the lag up to 1, or are 1 at once (official code)"""


class PMR(FusedMethod[PMRHyperparameters]):
    """The gradient of the fused loss points away from what the weak modality needs, so enlarging it helps little. PMR
    gives that modality a target of its own, past fusion and head: the cross-entropy of its distances to class
    prototypes, which are mean features, made anew at each epoch's start. The larger the lag in a batch, the more this
    loss counts. In the first epochs the other modality is kept from becoming too sure: the entropy of its prototype
    distribution is held up.

    Source: Fan et al., CVPR 2023; ``reg_epochs``, which the paper leaves open, is a choice of ours. For three and more
    modalities there is none: ``allow_more`` is our extension, which for two is the paper's method.

    Departures from the official code: weights grow with the lag (``coefficients: constant`` is the code's), and the
    entropy counts, which the code lacks. Prototypes are always made of training samples; the code takes evaluation data
    on two datasets. Momentum begins with the second set of prototypes. A class that the drawn samples lack keeps its
    prototype, and has none of the loss before it was seen once. The last epoch, 70 of 100 there, is a share of the
    budget.

    Cost: one forward and one backward a step, as joint training; at the start of each epoch with prototypes
    ``proto_fraction`` of a forward epoch more.

    State: prototypes, and which classes have been seen."""

    name = "pmr"
    title = "Prototypical modal rebalance"
    paper = "Fan, Xu, Wang, Wang, Guo: Prototypical Modal Rebalance, CVPR 2023"
    stages = ("objective",)
    capturable = True
    computes_with_features = True
    helpers = ("prototypes",)

    def build(self) -> None:
        super().build()
        hp = self.hyperparameters
        self.prototypes = Prototypes(self.dims, self.num_classes)
        self.window = epoch_window(hp.start_epoch, hp.end_epoch, self.epochs)
        self.regularised = in_epochs(hp.reg_epochs, self.epochs)

    # Epoch start -------------------------------------------------------------------------------------------------

    def on_epoch_start(self, context: Context) -> None:
        if context.epoch - 1 in self.window:
            self.prototypes.update(*self.measured_prototypes(context), self.hyperparameters.momentum)

    @torch.no_grad()
    def measured_prototypes(self, context: Context) -> tuple[list[Tensor], Tensor]:
        """Give the mean features [C, d_m] of each class, and the counts [C], of training samples drawn for the epoch;
        without augmentation, in evaluation mode."""
        size = max(1, round(self.hyperparameters.proto_fraction * context.train_size))
        drawn = torch.randperm(context.train_size, generator=context.generator("prototypes", context.epoch))[:size]
        sums = [torch.zeros(self.num_classes, dim, device=context.device) for dim in self.dims]
        counts = torch.zeros(self.num_classes, dtype=torch.int64, device=context.device)
        with evaluating(self):
            for batch in filter(len, context.train_batches(index=drawn)):
                with context.autocast():
                    features = self.encode(batch)
                for total, each in zip(sums, features, strict=True):
                    total += _class_sums(each.float(), batch.labels, self.num_classes)[0]
                counts += F.one_hot(batch.labels, self.num_classes).sum(0)
        counts = context.sum(counts)
        return [_means(context.sum(total), counts) for total in sums], counts

    # Step --------------------------------------------------------------------------------------------------------

    def objective_logits(self, features: list[Tensor]) -> list[Tensor]:
        """Give none: modalities are compared by their prototypes."""
        return []

    def loss(self, outputs: Outputs, batch: Batch, context: Context) -> Tensor:
        """Compute the fused cross-entropy, and in the window the losses and entropies that prototypes give."""
        hp = self.hyperparameters
        ce = F.cross_entropy(outputs.logits, batch.labels)
        if context.epoch - 1 not in self.window:
            return ce
        logits = self.prototypes(outputs.features)
        known = self.prototypes.seen[batch.labels].float()
        losses = [_losses(each, batch.labels) for each in logits]
        pulls, blunts = modality_coefficients(self.scores(losses, known, context), hp.coefficients)
        self.log(logits, pulls, batch, context)
        mu = hp.mu if context.epoch <= self.regularised else 0.0
        entropies = [prototypical_entropy(each) for each in logits]
        # Over the whole batch: a class without prototype adds nothing to the sum.
        pce = [(each * known).mean() for each in losses]
        return _weighted(ce, pce, entropies, pulls.unbind(), blunts.unbind(), hp.alpha, mu)

    @torch.no_grad()
    def scores(self, losses: list[Tensor], known: Tensor, context: Context) -> Tensor:
        """Sum each modality's probability of the right prototype over the joint batch, [M]."""
        sums = torch.stack([(known * (-each).exp()).sum() for each in losses])
        return context.sum(sums).clamp_min(1e-12)

    @torch.no_grad()
    def log(self, logits: list[Tensor], pulls: Tensor, batch: Batch, context: Context) -> None:
        for modality, each, pull in zip(self.modalities, logits, pulls, strict=True):
            right = each.log_softmax(-1).gather(1, batch.labels.unsqueeze(1))
            context.log(f"prototype_score_{modality}", right.exp().mean())
            context.log(f"prototype_accuracy_{modality}", (each.argmax(-1) == batch.labels).float().mean())
            context.log(f"coefficient_{modality}", pull)

    # Checks, warnings, diagnostics -------------------------------------------------------------------------------

    @classmethod
    def check(cls, hyperparameters: PMRHyperparameters, modalities: tuple[str, ...]) -> None:
        super().check(hyperparameters, modalities)
        check_fused_loss_alone(cls.name, hyperparameters)
        if len(modalities) > 2 and not hyperparameters.allow_more:
            raise MethodError(
                f"pmr is defined for two modalities, the dataset gives {len(modalities)}: {', '.join(modalities)}; "
                "allow_more: true trains our own extension"
            )

    def on_fit_start(self, context: Context) -> None:
        if not self.window:
            context.warn("pmr: end_epoch comes before start_epoch, so there are no prototypes")
        if self.hyperparameters.fusion == "channel":
            context.warn("pmr: with fusion: channel a modality's prototype loss reaches the others' encoders, too")

    def diagnostics(self) -> dict[str, float]:
        """Means over the samples of each epoch with prototypes, for each modality: probability of the right prototype
        (score), share of samples whose nearest prototype is the right one, weight of its prototype loss."""
        return super().diagnostics()
