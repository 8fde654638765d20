"""The method AUG."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from data.base import Batch
from methods.aug.equations import (
    assign_classifiers,
    boosting_loss,
    merge_logits,
    true_class_probability,
)
from methods.aug.hyperparameters import AUGHyperparameters
from methods.base import MULTI, Context, Method, MethodError, Outputs
from methods.base.hyperparameters import in_epochs
from methods.equations.entropy import prediction_entropy
from models import linear, unknown


class AUG(Method[AUGHyperparameters]):
    """A modality is weak because its classifier is, so it gets more of them. All classifiers of a modality read the
    same encoder through a private layer each and end in one head that every modality shares; their logits add up. The
    newest fits what the earlier ones leave over, all learn together, and from time to time the modality whose
    predictions are less sure of the truth receives another one.

    Source: Jiang, Huang, Yang, NeurIPS 2025, sections 3.2 (eqs. 2 to 6) and 3.3. The loss is the sum over modalities of
    ε + ε_o + ε_p, and plain cross-entropy while a modality has a single classifier. Three and more modalities: each one
    is compared with the mean of the others (the paper names no rule; σ = 1.25, τ_d = 0 is the official one for three).

    Departures from the official code: added classifiers are trained (there the optimizer never learns of them); one
    step on all modalities (``update: alternate`` steps one by one); scores are compared by difference (``criterion:
    ratio``), every ``assign_every`` epochs (``assign_first_epoch: true`` adds the first), and modalities are merged
    alike (``alpha: 0.4``). A classifier is new at the end of an epoch, so that epoch's validation sees it untrained.

    Cost: one forward and one backward pass a step, as late fusion; scores come from the same forward. A classifier adds
    D · 256 + 256 parameters for features of width D.

    State: the modality of every classifier, in order of creation."""

    name = "aug"
    title = "Adaptive unimodal gradient boosting"
    paper = "Jiang, Huang, Yang: Mitigating Classification Ability Disproportion, NeurIPS 2025"
    stages = ("optimization",)
    capturable = True
    min_modalities = 1

    def build(self) -> None:
        hp, count = self.hyperparameters, len(self.dims)
        self.assign_every = in_epochs(hp.assign_every, self.epochs)
        alpha = [1 / count] * count if hp.alpha is None else hp.alpha
        self.merge_weights = alpha if isinstance(alpha, list) else [alpha, 1 - alpha]
        self.shared_head = linear(hp.hidden_dim, self.num_classes)
        self.classifiers = nn.ModuleList()
        self.owners: list[int] = []
        extra = [self.modalities.index(str(hp.fixed_modality))] * (hp.n_fixed - 1) if hp.assignment == "fixed" else []
        for owner in [*range(count), *extra]:
            self.append_classifier(owner)

    # The loss ----------------------------------------------------------------------------------------------------

    def head_logits(self, owner: int, feature: Tensor) -> Tensor:
        """Give the logits of each classifier of a modality by creation, in full precision: [B, D] -> [n, B, C]."""
        layers = [layer for layer, of in zip(self.classifiers, self.owners, strict=True) if of == owner]
        return torch.stack([self.shared_head(layer(feature).relu()) for layer in layers]).float()

    def loss(self, outputs: Outputs, batch: Batch, context: Context) -> Tensor:
        losses = [self.modality_loss(m, outputs.extra[m], batch.labels, context) for m in self.modalities]
        return torch.stack(losses).sum()

    def modality_loss(self, modality: str, head_logits: Tensor, labels: Tensor, context: Context) -> Tensor:
        """Compute L of one modality (0-d) from its classifiers' logits [n, B, C], and log its terms."""
        hp = self.hyperparameters
        losses = boosting_loss(head_logits, labels, hp.lam, hp.use_eps, hp.use_eps_o, hp.use_eps_p)
        with torch.no_grad():
            score = self.score(head_logits.sum(0), labels)
        context.log(f"{hp.score}_{modality}", score)
        if len(head_logits) > 1:
            for term in ("eps", "eps_o", "eps_p"):
                context.log(f"{term}_{modality}", losses[term])
        return losses["total"]

    # Who gets another classifier ---------------------------------------------------------------------------------

    def on_epoch_end(self, context: Context) -> None:
        """Compare the scores of the epoch's training batches and add classifiers where they call for it."""
        means = context.logged()
        scores = [means[f"{self.hyperparameters.score}_{m}"] for m in self.modalities]
        for owner in self.assigned(torch.tensor(scores, dtype=torch.float64), context.epoch):
            self.add_classifier(owner, context)

    def score(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Compute the batch mean (0-d) of what ``score`` names, from the combined logits [B, C] of a modality."""
        if self.hyperparameters.score == "confidence":
            return true_class_probability(logits, labels).mean()
        if self.hyperparameters.score == "entropy":
            return prediction_entropy(logits).mean()
        return F.cross_entropy(logits, labels)

    def assigned(self, scores: Tensor, epoch: int) -> list[int]:
        """Tell which modalities grow at the end of an epoch with these mean scores [M], by position."""
        hp = self.hyperparameters
        due = epoch % self.assign_every == 0 or (hp.assign_first_epoch and epoch == 1)
        if hp.assignment == "fixed" or not due:
            return []
        # Entropy and loss are the larger the weaker a modality is.
        strength = scores if hp.score == "confidence" else scores.reciprocal()
        grown = assign_classifiers(strength.tolist(), hp.sigma, hp.dead_zone, hp.criterion)
        return [o for o in grown if hp.max_heads is None or self.owners.count(o) < hp.max_heads]

    def add_classifier(self, owner: int, context: Context) -> None:
        """Give a modality one more classifier that is trained, alike on all workers."""
        random = context.generator("aug classifier", context.epoch, owner, self.owners.count(owner))
        layer = self.append_classifier(owner)
        with torch.no_grad():
            layer.weight.copy_(nn.init.xavier_normal_(torch.empty(layer.weight.shape), generator=random))

    def append_classifier(self, owner: int) -> nn.Linear:
        """Make a private layer D -> hidden_dim for the modality at position ``owner``, unknown to any optimizer."""
        layer = linear(self.dims[owner], self.hyperparameters.hidden_dim).to(self.shared_head.weight)
        self.classifiers.append(layer)
        self.owners.append(owner)
        return layer

    # Forward passes and inference --------------------------------------------------------------------------------

    def forward(self, batch: Batch) -> Outputs:
        """Keep the logits of every classifier by modality, [n, B, C], in ``extra``."""
        features = self.encode(batch)
        heads = [self.head_logits(owner, feature) for owner, feature in enumerate(features)]
        unimodal = [each.sum(0) for each in heads]
        return Outputs(features, self.merge(unimodal), unimodal, dict(zip(self.modalities, heads, strict=True)))

    def classify(self, features: list[Tensor]) -> dict[str, Tensor]:
        unimodal = [self.head_logits(owner, feature).sum(0) for owner, feature in enumerate(features)]
        return {MULTI: self.merge(unimodal), **dict(zip(self.modalities, unimodal, strict=True))}

    def predict(self, batch: Batch, present: Sequence[str] | None = None) -> dict[str, Tensor]:
        """Leave modalities not in ``present`` out of the sum: classifiers of a zero feature still have biases."""
        logits = super().predict(batch, present)
        return logits | {MULTI: self.merge([logits[m] for m in self.modalities], present)}

    def merge(self, unimodal: list[Tensor], present: Sequence[str] | None = None) -> Tensor:
        """Add up the modalities that are present, weighted (default: all), [B, C] each -> [B, C]."""
        named = zip(self.modalities, self.merge_weights, strict=True)
        return merge_logits(torch.stack(unimodal), [w if present is None or m in present else 0.0 for m, w in named])

    # As the official code steps ----------------------------------------------------------------------------------

    def training_step(self, batch: Batch, context: Context) -> Tensor:
        if self.hyperparameters.update == "joint":
            return super().training_step(batch, context)
        return self._alternating_step(batch, context)

    def _alternating_step(self, batch: Batch, context: Context) -> Tensor:
        """Step for each modality, one after the other, as the official code does. Returns the sum of their losses."""
        losses = []
        for owner, modality in enumerate(self.modalities):
            context.zero_grad()
            with context.autocast():
                logits = self.head_logits(owner, self.feature_of(modality, batch))
                loss = self.modality_loss(modality, logits, batch.labels, context)
            context.backward(loss)
            context.optimizer_step()
            losses.append(loss.detach())
        return torch.stack(losses).sum()

    # Checks, state, diagnostics ----------------------------------------------------------------------------------

    @classmethod
    def check(cls, hyperparameters: AUGHyperparameters, modalities: tuple[str, ...]) -> None:
        super().check(hyperparameters, modalities)
        hp, count = hyperparameters, len(modalities)
        if not (hp.use_eps or hp.use_eps_o or hp.use_eps_p):
            raise MethodError("aug: switch on at least one of use_eps, use_eps_o and use_eps_p")
        if isinstance(hp.alpha, list) and len(hp.alpha) != count:
            raise MethodError(f"aug: alpha lists {len(hp.alpha)} weights, the dataset gives {', '.join(modalities)}")
        if isinstance(hp.alpha, float | int) and count != 2:
            raise MethodError(f"aug: a single alpha is defined for two modalities, not {count}: list a weight for each")
        if hp.assignment == "fixed" and hp.fixed_modality is None:
            raise MethodError(f"aug: assignment fixed needs fixed_modality, one of {', '.join(modalities)}")
        if hp.assignment == "fixed" and hp.fixed_modality not in modalities:
            raise MethodError(f"aug: fixed_modality: {unknown('modality', hp.fixed_modality, modalities)}")
        if hp.assignment == "adaptive" and hp.score != "confidence" and hp.criterion != "ratio":
            raise MethodError(f"aug: score {hp.score} has no scale that a dead zone could fit: set criterion: ratio")

    def get_extra_state(self) -> Tensor:
        """Give the position of each classifier's modality, int64: a tensor, as weight files hold nothing else."""
        return torch.tensor(self.owners)

    def set_extra_state(self, state: Any) -> None:
        """Build the classifiers whose weights are about to be loaded; torch loads submodules after this."""
        if state.tolist() != self.owners:
            self.classifiers, self.owners = nn.ModuleList(), []
            for owner in state.tolist():
                self.append_classifier(owner)

    def diagnostics(self) -> dict[str, float]:
        """Classifiers of each modality from now on. Logged: its mean score (confidence, entropy or loss) and, where it
        had two or more classifiers, the terms of its loss."""
        return {f"classifiers_{m}": float(self.owners.count(o)) for o, m in enumerate(self.modalities)}
