"""CGGM: classifiers of the single modalities say how fast each of them improves, and modulate size and direction of the
gradients.

Guo, Jin, Chen, Zhao, "Classifier-guided Gradient Modulation for Enhanced Multimodal Learning", NeurIPS 2024.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from data.base import Batch
from methods.base import Context, MethodError, Outputs
from methods.base.fused import FusedMethod, build_fusion
from methods.base.fusion_hyperparameters import FusionHyperparameters, check_late_is_joint
from methods.base.hyperparameters import Choice, Integer, LogUniform, Uniform, hyper
from methods.base.modulation import modulate_encoders
from methods.base.phase import EVERYTHING
from models import linear
from models.fusion import Source

Heard = list[tuple[Tensor, Tensor]]
"""Of each classifier: logits [B, C], and what its last layer reads."""
_SHOWN = 10.0
"""Bound of the terms in diagnostics: one term of a step without improvement would be all that a mean shows."""

# Equations -----------------------------------------------------------------------------------------------------


def balancing_terms(previous: Tensor, current: Tensor, eps: float = 1e-8) -> Tensor:
    """Compute the others' share of the improvement, B_m = (D - d_m) / D, from accuracies [M] of two steps -> [M].

    d is the difference of the two, D = Σ d + eps. The terms sum to M - 1 unless D is nearly 0: then they are huge, and
    negative where a modality improves against the sum. Without any improvement all are 1. Computed in float64."""
    improvement = (current - previous).double()
    total = improvement.sum() + eps
    return ((total - improvement) / total).to(current.dtype)


def head_gradient(logits: Tensor, labels: Tensor, features: Tensor) -> Tensor:
    """Compute the gradient of the mean cross-entropy for the weight of a linear layer: [B, C], int64 [B], [B, D] ->
    (softmax(z) - onehot(y))ᵀ h / B, [C, D].

    logits: what is made of the layer's output; features: what it reads. Differentiable in both."""
    errors = logits.softmax(-1) - F.one_hot(labels, logits.shape[-1]).to(logits.dtype)
    return errors.T @ features / len(features)


def gradient_similarity(unimodal: list[Tensor], fusion: list[Tensor]) -> Tensor:
    """Compute the cosine of each pair of tensors of one shape, flattened: M and M of them -> [M]; 0 of a zero tensor.
    Differentiable."""
    return torch.stack([_unit(u).dot(_unit(w)).clamp(-1, 1).to(w.dtype) for u, w in zip(unimodal, fusion, strict=True)])


def _unit(vector: Tensor) -> Tensor:
    """Normalise in float64: squares of small gradients underflow in single precision."""
    flat = vector.double().flatten()
    square = flat.dot(flat)
    return flat / torch.where(square > 0, square, torch.ones_like(square)).sqrt()


def direction_loss(terms: Tensor, similarities: Tensor) -> Tensor:
    """Compute L_gm = 1/M Σ (|B_m| - B_m sim_m) of two tensors [M], 0-d and never negative."""
    return (terms.abs() - terms * similarities).mean()


# Method --------------------------------------------------------------------------------------------------------


class CGGMHyperparameters(FusionHyperparameters):
    grad_scale: float = hyper(1.3, symbol="ρ", low=0.0, search=Uniform(0.8, 2.0))
    """factor of all encoders' gradients, beside each modality's balancing term"""
    lam: float = hyper(0.2, symbol="λ", low=0.0, search=LogUniform(0.01, 1.0))
    """weight of the direction loss"""
    # Below, classifiers hardly learn in a short run, and the sum of improvements is noise around 0 throughout.
    cls_lr: float = hyper(5e-4, above=0.0, search=LogUniform(5e-4, 1e-2))
    """learning rate of the classifiers' Adam"""
    cls_layers: int = hyper(2, low=1, high=2, search=Integer(1, 2))
    """linear layers of a classifier"""
    grad_clip: float | None = hyper(0.8, above=0.0)
    """largest norm of the model's gradient after modulation, in the place of the recipe's (null: the recipe's)"""
    direction: Literal["gradient", "weight", "none"] = hyper("gradient", search=Choice(("gradient", "weight", "none")))
    """what the direction loss compares: gradients of the last layers, their weights (official code), or nothing"""
    coeff_clip: float | None = hyper(None, above=0.0)
    """bound of the balancing terms' size (null: none, as published)"""
    unimodal_source: Literal["native", "zero", "aux"] | None = hyper(None)
    """where unimodal logits come from (null, aux: the classifiers)"""


class Classifier(nn.Module):
    """A classifier of one modality's features: [B, inputs] -> logits [B, C], and what its last layer reads [B, width].

    layers: 1, or 2 with a ReLU between. One layer reads the features themselves, so there inputs and width agree."""

    def __init__(self, inputs: int, width: int, num_classes: int, layers: int) -> None:
        super().__init__()
        self.hidden = nn.Sequential(linear(inputs, width), nn.ReLU()) if layers == 2 else nn.Identity()
        self.last = linear(width, num_classes)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.hidden(features)
        return self.last(hidden), hidden


class CGGM(FusedMethod[CGGMHyperparameters]):
    """A classifier is trained beside the model on the features of each encoder, which it does not touch. How much its
    accuracy improves from step to step tells how fast the modality learns. The larger its share of all improvement, the
    smaller the gradient of its encoder (magnitude). A loss turns the gradient of the fusion's last layer towards those
    of the lagging modalities' classifiers (direction).

    Source: Guo et al., NeurIPS 2024, and its official code; the paper's text could not be had, and what the two
    gradients are is read from the code's names. For pooled features a classifier has linear layers in the place of
    transformer layers.

    Departures from the official code: the direction loss compares gradients, in closed form, so that it reaches head,
    fusion and encoders in this step. The code compares weights, and adds the result to the next step's loss
    (``direction: weight``). A fusion with a part for each modality is compared part by part, any other by its last
    layer, which is the same for all. Classifiers are the unimodal predictions.

    Batch accuracies go up and down, so the sum of improvements is often near 0, and the balancing terms huge or
    negative. The published guard is the clipped norm alone; ``coeff_clip`` bounds the terms. Neither keeps an encoder
    from going uphill: of 160 steps on av_digits a fifth to a quarter did, and the network was underfitted in the end.

    Cost: one forward and one backward a step, and those of the classifiers on features that are there already. The loss
    on record is the task's.

    State: classifiers and their optimizer, accuracies and terms of the last step."""

    name = "cggm"
    title = "Classifier-guided gradient modulation"
    paper = "Guo, Jin, Chen, Zhao: Classifier-guided Gradient Modulation, NeurIPS 2024"
    stages = ("objective", "optimization")
    capturable = True
    computes_with_features = True
    helpers = ("accuracies", "last_terms")
    accuracies: Tensor
    last_terms: Tensor

    def build(self) -> None:
        hp, encoders = self.hyperparameters, list(self.encoders.values())
        self.source: Source = hp.unimodal_source or "aux"
        # The classifiers stand for auxiliary heads: the fusion needs none.
        own = hp.model_copy(update={"unimodal_source": None})
        self.fusion = build_fusion(own, self.modalities, self.dims, self.num_classes, encoders=encoders)
        widths = [weight.shape[1] for weight in self.last_weights()]
        if hp.cls_layers == 1 and hp.direction != "none" and widths != self.dims:
            raise MethodError(
                f"cggm: one layer reads features of widths {self.dims}, but the last layer of fusion {hp.fusion} has "
                f"{widths[0]} columns, so they cannot be compared; use cls_layers: 2 or direction: none"
            )
        widths = widths if hp.cls_layers == 2 else self.dims
        shapes = zip(self.dims, widths, strict=True)
        self.classifiers = nn.ModuleList(Classifier(d, w, self.num_classes, hp.cls_layers) for d, w in shapes)
        self.register_buffer("accuracies", torch.zeros(len(self.dims), dtype=torch.float64))
        self.register_buffer("last_terms", torch.zeros(len(self.dims), dtype=torch.float64))

    def groups(self) -> dict[str, list[nn.Module | nn.Parameter]]:
        """Name the model without the classifiers, which have an optimizer of their own."""
        return {EVERYTHING: [self.encoders, self.fusion]}

    # The fusion's last layer -------------------------------------------------------------------------------------

    def last_weights(self) -> list[Tensor]:
        """Give what each modality's features meet last: its head [C, d_m], its columns of a common one, or all of that
        [C, D]."""
        fusion: Any = self.fusion
        if hasattr(fusion, "heads"):
            return [head.weight for head in fusion.heads]
        weight: Tensor = fusion.head.weight
        return (
            list(weight.split(self.dims, 1)) if self.hyperparameters.fusion == "concat" else [weight] * len(self.dims)
        )

    def forward(self, batch: Batch) -> Outputs:
        """Give features and fused logits, and in ``extra`` what a last layer reads that is not the features."""
        if self.hyperparameters.fusion == "concat" or hasattr(self.fusion, "heads"):
            return super().forward(batch)
        seen: list[Tensor] = []
        head: Any = self.fusion.head
        handle = head.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
        try:
            outputs = super().forward(batch)
        finally:
            handle.remove()
        outputs.extra["last input"] = seen[0]
        return outputs

    def objective_logits(self, features: list[Tensor]) -> list[Tensor]:
        """Give none: the step runs the classifiers itself."""
        return []

    # Step --------------------------------------------------------------------------------------------------------

    def training_step(self, batch: Batch, context: Context) -> Tensor:
        hp = self.hyperparameters
        context.zero_grad()
        with context.autocast():
            outputs = self.training_outputs(batch, context)
            task = F.cross_entropy(outputs.logits, batch.labels)
            pairs = zip(self.classifiers, outputs.features, strict=True)
            heard = [classifier(f.detach()) for classifier, f in pairs]
            own = torch.stack([F.cross_entropy(logits, batch.labels) for logits, _ in heard]).sum()
        accuracies = self.measured_accuracies(heard, batch, context)
        terms = self.terms(accuracies, context)
        guide = self.guide(terms, outputs, heard, batch, context)
        context.backward(task if guide is None else task + hp.lam * guide)
        self.train_classifiers(own, context)
        modulate_encoders(self.encoders.values(), hp.grad_scale * terms)
        if hp.grad_clip is not None:
            nn.utils.clip_grad_norm_([*self.encoders.parameters(), *self.fusion.parameters()], hp.grad_clip)
        context.optimizer_step(clipped=hp.grad_clip is not None)
        self.accuracies.copy_(accuracies)
        self.last_terms.copy_(terms)
        return task.detach()

    @torch.no_grad()
    def measured_accuracies(self, heard: Heard, batch: Batch, context: Context) -> Tensor:
        """Compute each classifier's accuracy on the joint batch, float64 [M]: from counts, alike for any number of
        workers, as small differences of accuracies decide."""
        right = [(logits.argmax(-1) == batch.labels).sum() for logits, _ in heard]
        counts = context.sum(torch.stack([*right, torch.ones_like(batch.labels).sum()]).double())
        return counts[:-1] / counts[-1]

    @torch.no_grad()
    def terms(self, accuracies: Tensor, context: Context) -> Tensor:
        """Compute the balancing terms of the step, [M], bounded where ``coeff_clip`` says so."""
        bound = self.hyperparameters.coeff_clip
        found = balancing_terms(self.accuracies, accuracies)
        terms = found if bound is None else found.clamp(-bound, bound)
        for m, accuracy, term, unbound in zip(self.modalities, accuracies, terms, found, strict=True):
            context.log(f"classifier_accuracy_{m}", accuracy)
            context.log(f"balancing_term_{m}", term.clamp(-_SHOWN, _SHOWN))
            context.log(f"uphill_{m}", (term < 0).float())
            if bound is not None:
                context.log(f"bounded_{m}", (unbound.abs() > bound).float())
        context.log("no_improvement", ((accuracies - self.accuracies).sum().abs() < 1e-6).float())
        return terms

    def guide(self, terms: Tensor, outputs: Outputs, heard: Heard, batch: Batch, context: Context) -> Tensor | None:
        """Compute the direction loss of the joint batch; None where there is none. heard: what the classifiers say."""
        kind = self.hyperparameters.direction
        if kind == "none":
            return None
        if kind == "weight":
            terms = self.last_terms
            heads: list[Any] = list(self.classifiers)
            similarities = gradient_similarity([each.last.weight.detach() for each in heads], self.last_weights())
        else:
            with torch.no_grad():
                own = [head_gradient(logits.float(), batch.labels, hidden.float()) for logits, hidden in heard]
                targets = [context.mean(each) for each in own]
            similarities = gradient_similarity(targets, self.fusion_gradients(outputs, batch, context))
        loss = direction_loss(terms.to(similarities.dtype), similarities)
        for m, similarity in zip(self.modalities, similarities.detach(), strict=True):
            context.log(f"similarity_{m}", similarity)
        context.log("direction_loss", loss.detach().clamp_max(_SHOWN))
        return loss

    def fusion_gradients(self, outputs: Outputs, batch: Batch, context: Context) -> list[Tensor]:
        """Compute the gradient of the joint batch's task loss for each of :meth:`last_weights`. Differentiable."""
        last = outputs.extra.get("last input")
        inputs = outputs.features if last is None else [last]
        rows = context.gather(torch.cat([outputs.logits.float(), *(x.float() for x in inputs)], 1))
        logits, *seen = rows.split([self.num_classes, *(x.shape[1] for x in inputs)], 1)
        labels = context.gather(batch.labels)
        found = [head_gradient(logits, labels, x) for x in seen]
        return found if last is None else found * len(self.dims)

    def train_classifiers(self, loss: Tensor, context: Context) -> None:
        """Step the classifiers on the sum of their losses."""
        parameters = list(self.classifiers.parameters())
        for parameter, gradient in zip(parameters, context.gradients(loss, parameters), strict=True):
            parameter.grad = gradient
        context.side_optimizer("classifiers", parameters, "adam", lr=self.hyperparameters.cls_lr).step()

    # Inference, checks, diagnostics ------------------------------------------------------------------------------

    def unimodal_logits(self, features: list[Tensor]) -> list[Tensor]:
        if self.source != "aux":
            return super().unimodal_logits(features)
        return [classifier(f)[0] for classifier, f in zip(self.classifiers, features, strict=True)]

    @classmethod
    def check(cls, hyperparameters: CGGMHyperparameters, modalities: tuple[str, ...]) -> None:
        super().check(hyperparameters, modalities)
        check_late_is_joint(cls.name, hyperparameters)
        if hyperparameters.aux_detach:
            raise MethodError("cggm: its classifiers never reach the encoders; leave aux_detach at false")

    def diagnostics(self) -> dict[str, float]:
        """Means over the epoch's samples, for each modality: accuracy of its classifier, balancing term, share with a
        negative one, whose encoder goes uphill, share of terms that ``coeff_clip`` bounds, cosine of the two gradients
        (or weights). Beside them the direction loss, and the share of steps in which all improvements cancel out. Terms
        and direction loss are cut off at 10 here, not in training."""
        return super().diagnostics()
