"""AUG: one more classifier for the modality that classifies worse, again and again during training.

Jiang, Huang, Yang, "Rethinking Multimodal Learning from the Perspective of Mitigating Classification Ability
Disproportion", NeurIPS 2025."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from pydantic import field_validator
from torch import Tensor, nn
from torch.nn import functional as F

from data.base import Batch
from methods.base import MULTI, Context, Method, MethodError, Outputs
from methods.hyperparameters import Hyperparameters, Integer, LogUniform, Uniform, hyper, in_epochs
from methods.mla import prediction_entropy
from models import linear, unknown

# Equations -----------------------------------------------------------------------------------------------------


def residual_target(labels: Tensor, prev_logits: Tensor, lam: float) -> Tensor:
    """ŷ = y - λ y ⊙ softmax(prev), section 3.2: what the earlier classifiers leave of the one-hot labels y.

    labels: int64 [B]; prev_logits: sum of the earlier classifiers' logits [B, K] -> [B, K], without gradient. The true
    class holds 1 - λ p in [1 - λ, 1], all others 0. Raises ValueError for ``lam`` outside [0, 1]."""
    if not 0 <= lam <= 1:
        raise ValueError(f"lam must lie in [0, 1], got {lam}")
    prev = prev_logits.detach()
    return F.one_hot(labels, prev.shape[-1]) * (1 - lam * prev.softmax(-1))


def boosting_loss(
    head_logits: Tensor,
    labels: Tensor,
    lam: float,
    use_eps: bool = True,
    use_eps_o: bool = True,
    use_eps_p: bool = True,
) -> dict[str, Tensor]:
    """Loss of one modality (eqs. 2 to 6) and its terms, batch means (0-d), by name.

    head_logits: [n, B, K] of its classifiers by creation, the newest last; labels: int64 [B]. eps: cross-entropy of the
    newest on the residual labels; eps_o: of all together; eps_p: of all but the newest; total: the sum of the terms
    switched on. A single classifier has its cross-entropy as eps_o and total, whatever the switches, and 0 for the
    others. Raises ValueError for ``lam`` outside [0, 1]."""
    newest, prev = head_logits[-1], head_logits[:-1].sum(0)
    residual = residual_target(labels, prev, lam)
    together = F.cross_entropy(head_logits.sum(0), labels)
    none = torch.zeros_like(together)
    if len(head_logits) == 1:
        return {"eps": none, "eps_o": together, "eps_p": none, "total": together}
    terms = {"eps": F.cross_entropy(newest, residual), "eps_o": together, "eps_p": F.cross_entropy(prev, labels)}
    switches = (use_eps, use_eps_o, use_eps_p)
    return terms | {"total": sum((term for term, on in zip(terms.values(), switches, strict=True) if on), none)}


def confidence_score(logits: Tensor, labels: Tensor) -> float:
    """s, section 3.3: mean softmax probability of the true class, combined logits [N, K] and labels int64 [N]."""
    return float(true_class_probability(logits, labels).mean())


def true_class_probability(logits: Tensor, labels: Tensor) -> Tensor:
    """Softmax probability of each sample's label: [N, K] and int64 [N] -> [N]."""
    return logits.softmax(-1).gather(-1, labels.unsqueeze(-1)).squeeze(-1)


def assign_classifiers(
    scores: list[float], sigma: float = 1.0, dead_zone: float = 0.01, criterion: str = "difference"
) -> list[int]:
    """Positions, ascending, of the modalities that get one more classifier, by score (higher: stronger).

    difference, two modalities: d = s_0 - σ s_1 > τ gives [1], d < -τ gives [0] (section 3.3); more: each o where the
    mean of the others' scores - σ s_o > τ. ratio (appendix C.7): s_0 / s_1 against σ + τ and σ - τ; more: the mean of
    the others over s_o against σ + τ. A modality of score 0 has an infinite ratio, unless the others' is 0 too. All
    comparisons are strict. None grows of a single modality or where a score is NaN. Raises ValueError for another
    criterion."""
    if criterion not in ("difference", "ratio"):
        raise unknown("criterion", criterion, ("difference", "ratio"))
    if len(scores) < 2 or any(math.isnan(score) for score in scores):
        return []

    def lead(others: float, own: float) -> float:
        """How far the others are ahead of a modality."""
        if criterion == "difference":
            return others - sigma * own
        if own == 0:
            return math.inf if others > 0 else math.nan
        return others / own

    centre = 0.0 if criterion == "difference" else sigma
    low, high = centre - dead_zone, centre + dead_zone
    if len(scores) == 2:
        ahead = lead(*scores)
        return [1] if ahead > high else [0] if ahead < low else []
    others = [[score for j, score in enumerate(scores) if j != o] for o in range(len(scores))]
    return [o for o, own in enumerate(scores) if lead(sum(others[o]) / len(others[o]), own) > high]


def merge_logits(logits: Tensor, weights: list[float] | None = None) -> Tensor:
    """Weighted sum over modalities, [M, B, K] -> [B, K]; the mean without ``weights``. Raises ValueError for a number
    of weights other than M."""
    if weights is None:
        return logits.mean(0)
    if len(weights) != len(logits):
        raise ValueError(f"{len(logits)} modalities need as many weights, got {len(weights)}")
    return torch.stack([weight * each for weight, each in zip(weights, logits, strict=True)]).sum(0)


# Method --------------------------------------------------------------------------------------------------------


class AUGHyperparameters(Hyperparameters):
    lam: float = hyper(
        0.5, symbol="λ", low=0.0, high=1.0, search=Uniform(0.0, 1.0), only_if=("use_eps", True),
        meaning="share of the earlier classifiers' confidence that is taken off the newest one's labels",
    )  # fmt: skip
    assignment: Literal["adaptive", "fixed"] = hyper(
        "adaptive", meaning="classifiers are added by score during training, or given to one modality from the start"
    )
    sigma: float = hyper(
        1.0, symbol="σ", low=1.0, search=Uniform(1.0, 1.75), only_if=("assignment", "adaptive"),
        meaning="factor of the score that is compared with the others' (of two modalities the second one's)",
    )  # fmt: skip
    dead_zone: float = hyper(
        0.01, symbol="τ_d", low=0.0, search=LogUniform(1e-3, 0.1), only_if=("assignment", "adaptive"),
        meaning="difference of scores up to which nothing is added",
    )  # fmt: skip
    assign_every: float = hyper(
        10, symbol="t_N", above=0.0, search=Integer(1, 20), only_if=("assignment", "adaptive"), epochs=True,
        meaning="epochs from one comparison of the scores to the next",
    )  # fmt: skip
    assign_first_epoch: bool = hyper(
        False, only_if=("assignment", "adaptive"), meaning="compare after the first epoch too (official code)"
    )
    criterion: Literal["difference", "ratio"] = hyper(
        "difference", only_if=("assignment", "adaptive"), meaning="how scores are compared"
    )
    score: Literal["confidence", "entropy", "loss"] = hyper(
        "confidence", only_if=("assignment", "adaptive"),
        meaning="strength of a modality: mean probability of the true class, or one over the mean entropy or "
        "cross-entropy of its predictions (criterion: ratio)",
    )  # fmt: skip
    max_heads: int | None = hyper(
        None, low=1, only_if=("assignment", "adaptive"), meaning="most classifiers of a modality; null: no limit"
    )
    n_fixed: int = hyper(
        10, symbol="n", low=1, only_if=("assignment", "fixed"), meaning="classifiers of fixed_modality"
    )
    fixed_modality: str | None = hyper(
        None, only_if=("assignment", "fixed"), meaning="the modality with n_fixed classifiers; must be given"
    )
    alpha: float | list[float] | None = hyper(
        None, search=Uniform(0.2, 0.8),
        meaning="inference: weight of the first of two modalities, or of each; null: all alike",
    )  # fmt: skip
    hidden_dim: int = hyper(256, low=1, meaning="width between a classifier's own layer and the shared head")
    use_eps: bool = hyper(True, symbol="ε", meaning="the newest classifier learns the residual labels")
    use_eps_o: bool = hyper(True, symbol="ε_o", meaning="all classifiers together learn the labels")
    use_eps_p: bool = hyper(True, symbol="ε_p", meaning="all classifiers but the newest learn the labels")
    update: Literal["joint", "alternate"] = hyper(
        "joint", meaning="one step on the modalities' losses together, or one after the other (official code)"
    )

    @field_validator("assign_every")
    @classmethod
    def _whole_or_share(cls, value: float) -> float:
        in_epochs(value, 1)
        return value

    @field_validator("alpha")
    @classmethod
    def _weights(cls, value: float | list[float] | None) -> float | list[float] | None:
        if isinstance(value, float | int) and not 0 <= value <= 1:
            raise ValueError(f"the weight of the first of two modalities lies in [0, 1], got {value}")
        if isinstance(value, list) and (min(value, default=0) < 0 or sum(value) <= 0):
            raise ValueError(f"weights are not negative, and one of them is positive; got {value}")
        return value


class AUG(Method):
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
    min_modalities = 1
    Hyperparameters = AUGHyperparameters
    hyperparameters: AUGHyperparameters
    _sums: Tensor

    def __init__(
        self, encoders: Mapping[str, nn.Module], num_classes: int, hyperparameters: AUGHyperparameters, epochs: int
    ) -> None:
        super().__init__(encoders, num_classes, hyperparameters, epochs)
        hp, count = hyperparameters, len(self.dims)
        self.assign_every = in_epochs(hp.assign_every, epochs)
        alpha = [1 / count] * count if hp.alpha is None else hp.alpha
        self.merge_weights = alpha if isinstance(alpha, list) else [alpha, 1 - alpha]
        self.shared_head = linear(hp.hidden_dim, num_classes)
        # The last module, so that parameters() has them in the order in which the optimizer met them.
        self.classifiers = nn.ModuleList()
        self.owners: list[int] = []
        extra = [self.modalities.index(str(hp.fixed_modality))] * (hp.n_fixed - 1) if hp.assignment == "fixed" else []
        for owner in [*range(count), *extra]:
            self.append_classifier(owner)
        self.register_buffer("_sums", torch.zeros(count, 5, dtype=torch.float64), persistent=False)
        self._diagnostics: dict[str, float] = {}

    @classmethod
    def check(cls, hyperparameters: Any, modalities: tuple[str, ...]) -> None:
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

    # Classifiers -----------------------------------------------------------------------------------------------

    def append_classifier(self, owner: int) -> nn.Linear:
        """A private layer D -> hidden_dim for the modality at position ``owner``, unknown to any optimizer."""
        layer = linear(self.dims[owner], self.hyperparameters.hidden_dim).to(self.shared_head.weight)
        self.classifiers.append(layer)
        self.owners.append(owner)
        return layer

    def add_classifier(self, owner: int, context: Context) -> None:
        """One more trained classifier for a modality, alike on all workers."""
        random = context.generator("aug classifier", context.epoch, owner, self.owners.count(owner))
        layer = self.append_classifier(owner)
        with torch.no_grad():
            layer.weight.copy_(nn.init.xavier_normal_(torch.empty(layer.weight.shape), generator=random))
        context.add_parameters(list(layer.parameters()))

    def get_extra_state(self) -> Tensor:
        """Position of the modality that each classifier belongs to, int64 (a tensor, as weight files hold nothing
        else)."""
        return torch.tensor(self.owners)

    def set_extra_state(self, state: Any) -> None:
        """Build the classifiers whose weights are about to be loaded; torch loads submodules after this."""
        if state.tolist() != self.owners:
            self.classifiers, self.owners = nn.ModuleList(), []
            for owner in state.tolist():
                self.append_classifier(owner)

    def head_logits(self, owner: int, feature: Tensor) -> Tensor:
        """Logits of each classifier of a modality by creation, in full precision: [B, D] -> [n, B, C]."""
        layers = [layer for layer, of in zip(self.classifiers, self.owners, strict=True) if of == owner]
        return torch.stack([self.shared_head(layer(feature).relu()) for layer in layers]).float()

    # Feed-forward ----------------------------------------------------------------------------------------------

    def forward(self, batch: Batch) -> Outputs:
        """``extra``: the logits of every classifier by modality, [n, B, C]."""
        features = self.encode(batch)
        heads = [self.head_logits(owner, feature) for owner, feature in enumerate(features)]
        unimodal = [each.sum(0) for each in heads]
        return Outputs(features, self.merge(unimodal), unimodal, dict(zip(self.modalities, heads, strict=True)))

    def classify(self, features: list[Tensor]) -> dict[str, Tensor]:
        unimodal = [self.head_logits(owner, feature).sum(0) for owner, feature in enumerate(features)]
        return {MULTI: self.merge(unimodal), **dict(zip(self.modalities, unimodal, strict=True))}

    def predict(self, batch: Batch, present: Sequence[str] | None = None) -> dict[str, Tensor]:
        """As every method's, but modalities not in ``present`` are left out of the sum: classifiers of a zero feature
        still have biases."""
        logits = super().predict(batch, present)
        return logits | {MULTI: self.merge([logits[m] for m in self.modalities], present)}

    def merge(self, unimodal: list[Tensor], present: Sequence[str] | None = None) -> Tensor:
        """Weighted sum of the modalities that are present (default: all), [B, C] each -> [B, C]."""
        named = zip(self.modalities, self.merge_weights, strict=True)
        return merge_logits(torch.stack(unimodal), [w if present is None or m in present else 0.0 for m, w in named])

    # Objective and optimization --------------------------------------------------------------------------------

    def loss(self, outputs: Outputs, batch: Batch, context: Context) -> Tensor:
        return torch.stack([self.modality_loss(m, outputs.extra[m], batch.labels) for m in self.modalities]).sum()

    def modality_loss(self, modality: str, head_logits: Tensor, labels: Tensor) -> Tensor:
        """L of one modality (0-d) from its classifiers' logits [n, B, C]; adds score and terms to the epoch's sums."""
        hp = self.hyperparameters
        losses = boosting_loss(head_logits, labels, hp.lam, hp.use_eps, hp.use_eps_o, hp.use_eps_p)
        with torch.no_grad():
            score = self.score(head_logits.sum(0), labels)
            terms = [score, *(losses[term] for term in ("eps", "eps_o", "eps_p")), torch.ones_like(score)]
            self._sums[self.modalities.index(modality)] += torch.stack(terms) * len(labels)
        return losses["total"]

    def score(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Batch mean (0-d) of what ``score`` names, from the combined logits [B, C] of a modality."""
        if self.hyperparameters.score == "confidence":
            return true_class_probability(logits, labels).mean()
        if self.hyperparameters.score == "entropy":
            return prediction_entropy(logits).mean()
        return F.cross_entropy(logits, labels)

    def training_step(self, batch: Batch, context: Context) -> Tensor:
        if self.hyperparameters.update == "joint":
            return super().training_step(batch, context)
        losses = []
        for owner, (modality, encoder) in enumerate(self.encoders.items()):
            context.optimizer.zero_grad(set_to_none=True)
            with context.autocast():
                logits = self.head_logits(owner, encoder(batch.inputs[modality]))
                loss = self.modality_loss(modality, logits, batch.labels)
            context.backward(loss)
            context.optimizer_step()
            losses.append(loss.detach())
        return torch.stack(losses).sum()

    def on_epoch_start(self, context: Context) -> None:
        self._sums.zero_()

    def on_epoch_end(self, context: Context) -> None:
        """Compare the scores of the epoch's training batches and add classifiers where they call for it."""
        sums = context.sum(self._sums)
        means = sums[:, :4] / sums[:, 4:]
        self._diagnostics = {}
        for owner, (modality, (score, *terms)) in enumerate(zip(self.modalities, means.tolist(), strict=True)):
            self._diagnostics[f"{self.hyperparameters.score}_{modality}"] = score
            if self.owners.count(owner) > 1:
                named = zip(("eps", "eps_o", "eps_p"), terms, strict=True)
                self._diagnostics |= {f"{term}_{modality}": value for term, value in named}
        for owner in self.assigned(means[:, 0], context.epoch):
            self.add_classifier(owner, context)

    def assigned(self, scores: Tensor, epoch: int) -> list[int]:
        """Positions of the modalities that grow at the end of an epoch with these mean scores [M]."""
        hp = self.hyperparameters
        due = epoch % self.assign_every == 0 or (hp.assign_first_epoch and epoch == 1)
        if hp.assignment == "fixed" or not due:
            return []
        # Entropy and loss are the larger the weaker a modality is.
        strength = scores if hp.score == "confidence" else scores.reciprocal()
        grown = assign_classifiers(strength.tolist(), hp.sigma, hp.dead_zone, hp.criterion)
        return [o for o in grown if hp.max_heads is None or self.owners.count(o) < hp.max_heads]

    def diagnostics(self) -> dict[str, float]:
        """Classifiers of each modality from now on; of the last epoch its mean score (confidence, entropy or loss) and,
        where it had two or more classifiers, the terms of its loss."""
        counts = {f"classifiers_{m}": float(self.owners.count(o)) for o, m in enumerate(self.modalities)}
        return counts | self._diagnostics
