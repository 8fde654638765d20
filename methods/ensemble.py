"""Ensemble: one model a modality, each trained on its own, their predictions pooled.

No paper of its own. As a reference: Kontras, Strypsteen, Chatzichristos, Liang, Blaschko, De Vos, "Balancing Multimodal
Training Through Game-Theoretic Regularization", NeurIPS 2025.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from data.base import Batch
from methods.base import MULTI, Context, Method, Outputs
from methods.base.hyperparameters import Choice, Hyperparameters, hyper
from models import linear, unknown

Pool = Literal["log_probs", "probs"]
EM_STEPS = 200
"""Steps of expectation maximisation that fit the weights of probabilities."""
NEWTON_STEPS = 100
"""Steps of Newton's method, at most, that fit the weights of log-probabilities; a few are enough."""
HALVINGS = 40
"""Halvings of a step, at most."""
FLAT, NEAR_ZERO, ROUNDING = 1e-10, 1e-6, 1e-15
"""Projected gradient at which the weights of log-probabilities are found; weight that counts as 0 where it would fall;
difference of objectives that float64 cannot tell."""

# Equations -----------------------------------------------------------------------------------------------------


def combine(logits: list[Tensor], pool: str = "log_probs", weights: Tensor | None = None) -> Tensor:
    """Pool the predictions of M members, logits [B, C] each, to log-probabilities [B, C].

    log_probs: log-softmax(Σ_m w_m log p_m); probs: log(Σ_m w_m p_m / Σ_m w_m). weights: w, [M], 0 or more (None: all
    1); a weight of 0 leaves the member out, and with log_probs zeros alone give equal probabilities. Raises ValueError
    for another pool, no members, another number of weights, a negative one, and zeros alone with probs."""
    if pool not in get_args(Pool):
        raise unknown("pool", pool, get_args(Pool))
    if not logits:
        raise ValueError("an ensemble needs at least one member")
    if weights is not None:
        if tuple(weights.shape) != (len(logits),):
            raise ValueError(f"{len(logits)} members need as many weights, got {list(weights.shape)}")
        if bool((weights < 0).any()):
            raise ValueError(f"a weight is negative: {weights.tolist()}")
        if pool == "probs" and not bool(weights.any()):
            raise ValueError("all weights are 0: no probabilities are left to average")
    return _pooled(torch.stack([_log_probabilities(each) for each in logits]), pool, weights)


def _pooled(logs: Tensor, pool: str, weights: Tensor | None) -> Tensor:
    """Pool log-probabilities [M, B, C] by weights [M] that fit the pool."""
    weights = logs.new_ones(len(logs)) if weights is None else weights.to(logs)
    of_rows = weights.view(-1, 1, 1)
    # Selected, for 0 times an infinite log-probability is no number.
    if pool == "log_probs":
        return torch.where(of_rows > 0, of_rows * logs, 0.0).sum(0).log_softmax(-1)
    weighted = torch.where(of_rows > 0, of_rows.log() + logs, -torch.inf)
    return weighted.logsumexp(0) - weights.sum().log()


def _log_probabilities(logits: Tensor) -> Tensor:
    return (logits if logits.dtype == torch.float64 else logits.float()).log_softmax(-1)


def member_losses(logits: list[Tensor], labels: Tensor) -> Tensor:
    """Compute the mean cross-entropy of each member, [M], from logits [B, C] each and labels, int64 [B]."""
    return torch.stack([F.cross_entropy(each, labels) for each in logits])


def scale_weights(logits: list[Tensor]) -> Tensor:
    """Compute w_m = 1 / s_m, [M]: s_m is the sample deviation (n - 1) of all entries of the member's logits [n, C];
    where it is below 1e-12, w_m = 0."""
    deviations = torch.stack([each.float().std() for each in logits])
    return torch.where(deviations < 1e-12, 0.0, 1 / deviations)


def fit_weights(logits: list[Tensor], labels: Tensor, pool: str = "log_probs", ridge: float = 1e-3) -> Tensor:
    """Fit the weights of the members, float32 [M], to the labels, int64 [n], of samples that did not train them.

    probs: expectation maximisation of the mixture's likelihood, EM_STEPS from equal weights, which add up to 1.
    log_probs: the minimum over w of 0 and more of the pool's mean negative log-likelihood + ridge Σ_m (w_m - 1)².
    Computed in float64; without samples all weights are 1. Raises ValueError for another pool."""
    if pool not in get_args(Pool):
        raise unknown("pool", pool, get_args(Pool))
    if not len(labels):
        return torch.ones(len(logits))
    logs = torch.stack([each.detach().double().cpu().log_softmax(-1) for each in logits])
    rows, labels = torch.arange(len(labels)), labels.cpu()
    found = _fitted_mixture(logs[:, rows, labels]) if pool == "probs" else _fitted_product(logs, labels, ridge)
    return found.float()


def _fitted_mixture(true: Tensor) -> Tensor:
    """Fit the weights of a mixture to log-probabilities of the true classes, [M, n]."""
    weights = true.new_full((len(true),), 1 / len(true))
    for _ in range(EM_STEPS):
        weights = (weights.log().unsqueeze(1) + true).softmax(0).mean(1)
    return weights


def _fitted_product(logs: Tensor, labels: Tensor, ridge: float) -> Tensor:
    """Fit the exponents of a product of log-probabilities [M, n, C] by Newton's method, projected to 0 and more."""
    rows, weights = torch.arange(len(labels)), logs.new_ones(len(logs))

    def objective(w: Tensor) -> Tensor:
        pooled = torch.einsum("m,mnc->nc", w, logs).log_softmax(-1)
        return -pooled[rows, labels].mean() + ridge * (w - 1).square().sum()

    value = objective(weights)
    for _ in range(NEWTON_STEPS):
        probabilities = torch.einsum("m,mnc->nc", weights, logs).softmax(-1)
        expected = torch.einsum("nc,mnc->mn", probabilities, logs)
        gradient = (expected - logs[:, rows, labels]).mean(1) + 2 * ridge * (weights - 1)
        residual = float((weights - (weights - gradient).clamp_min(0)).norm())
        if residual < FLAT:
            break
        centred = logs - expected.unsqueeze(-1)
        curvature = torch.einsum("nc,mnc,knc->mk", probabilities, centred, centred) / len(labels)
        curvature += (2 * ridge + ROUNDING) * torch.eye(len(weights), dtype=weights.dtype)
        # Weights at the bound stay out of the system, else a step that is cut there may lead upwards (Bertsekas 1982).
        free = (weights > min(NEAR_ZERO, residual)) | (gradient < 0)
        step = gradient / curvature.diagonal()
        step[free] = torch.linalg.solve(curvature[free][:, free], gradient[free])
        for halvings in range(HALVINGS):
            tried = (weights - step / 2**halvings).clamp_min(0)
            reached = objective(tried)
            if reached <= value + ROUNDING:
                break
        weights, value = tried, reached
    return weights


def alternate_samples(labels: Tensor) -> Tensor:
    """Tell which samples have an even place within their class, bool [n]; labels: int64 [n], places from 0."""
    places = F.one_hot(labels).cumsum(0).gather(1, labels.unsqueeze(1)).squeeze(1) - 1
    return places % 2 == 0


# Method --------------------------------------------------------------------------------------------------------


class EnsembleHyperparameters(Hyperparameters):
    pool: Pool = hyper("log_probs", search=Choice(get_args(Pool)))
    """what is added up over members: log-probabilities, or probabilities"""
    weights: Literal["equal", "scale", "fitted"] = hyper("equal", symbol="w")
    """weights of the members: all 1, inverse deviations of their validation logits, or fitted to validation labels"""
    member_epoch: Literal["own", "common"] = hyper("own")
    """whether each member predicts as at its own best validation epoch so far, or all as at one common epoch"""
    ridge: float = hyper(1e-3, above=0.0, only_if=("weights", "fitted"))
    """pull of fitted weights of log-probabilities towards 1"""


@dataclass(frozen=True)
class KeptMember:
    """A member at its best validation epoch so far: accuracy, weights (on the host) and validation logits [n, C]."""

    accuracy: float
    state: dict[str, Tensor]
    logits: Tensor


class Ensemble(Method[EnsembleHyperparameters]):
    """Each modality's encoder and linear head are trained by their own cross-entropy, and share nothing: the unimodal
    models, trained side by side. The prediction pools theirs. Where joint training does not beat this pool, training
    jointly has bought nothing.

    Source: no paper. MCR (Kontras et al., NeurIPS 2025) holds an ensemble of unimodal models against all balancing
    methods: the sum of logits, in one released configuration standardised (``pool: log_probs, weights: scale``).

    Departures from the official code: MCR loads models of separate runs; here the members are trained in one run, at
    one learning rate, and ``member_epoch: own`` takes each at the epoch that is best for it. MCR standardises over the
    batch at hand, so that a prediction depends on its neighbours; here the deviation is that of the validation split.
    What fitted weights gain is measured by cross-fitting: they are fitted to one half of the validation samples and
    scored on the other. Absent modalities leave the pool.

    Cost: one forward and one backward of each encoder a step, as joint training. ``member_epoch: own`` keeps the
    weights once more, on the host.

    State: each member at its best epoch, and the weights. The recipe's ``gradient_clip`` bounds the norm of each member
    alone; patience waits until no member gains. A plateau schedule falls by the sum of the losses, and so couples the
    members."""

    name = "ensemble"
    title = "Ensemble of unimodal models"
    paper = "naive baseline: unimodal models, pooled"
    stages = ()
    capturable = True
    min_modalities = 1
    clips_apart = True
    helpers = ("_extra_state",)
    weights: Tensor

    def build(self) -> None:
        sizes = zip(self.modalities, self.dims, strict=True)
        self.heads = nn.ModuleDict({modality: linear(size, self.num_classes) for modality, size in sizes})
        self.register_buffer("weights", torch.ones(len(self.dims)))
        self.kept: dict[str, KeptMember] = {}
        self.gained = False

    def groups(self) -> Mapping[str, Sequence[nn.Module | nn.Parameter]]:
        return {m: [self.encoders[m], self.heads[m]] for m in self.modalities}

    def classify(self, features: list[Tensor]) -> dict[str, Tensor]:
        return self.pooled(features, self.modalities)

    def predict(self, batch: Batch, present: Sequence[str] | None = None) -> dict[str, Tensor]:
        return self.pooled(self.present_features(batch, present), self.modalities if present is None else present)

    def pooled(self, features: list[Tensor], present: Sequence[str]) -> dict[str, Tensor]:
        """Give the logits of each member, and the pool of those ``present``: equal probabilities where none is, or none
        that counts."""
        members = {m: self.heads[m](x) for m, x in zip(self.modalities, features, strict=True)}
        logs = torch.stack([_log_probabilities(logits) for logits in members.values()])
        known = torch.tensor([m in present for m in self.modalities]).to(self.weights)
        found = _pooled(logs, self.hyperparameters.pool, self.weights * known)
        counts = (self.weights * known).any()
        return {MULTI: torch.where(counts, found, torch.zeros_like(found).log_softmax(-1)), **members}

    def loss(self, outputs: Outputs, batch: Batch, context: Context) -> Tensor:
        """Compute the sum of the members' cross-entropies."""
        return member_losses(outputs.unimodal_logits, batch.labels).sum()

    def forward(self, batch: Batch) -> Outputs:
        """Give features and logits; the pool is of members as they are now, each counting alike."""
        features = self.encode(batch)
        logits = [self.heads[m](x) for m, x in zip(self.modalities, features, strict=True)]
        return Outputs(features, torch.stack(logits).sum(0), logits)

    # After each epoch --------------------------------------------------------------------------------------------

    def amend(self, predictions: dict[str, Tensor], labels: Tensor, context: Context) -> dict[str, Tensor]:
        """Let the members predict as at their best epochs, weigh them, and pool them anew."""
        hp = self.hyperparameters
        logits = {m: predictions[m] for m in self.modalities}
        if hp.member_epoch == "own":
            gains = [self._keep(m, logits[m], labels) for m in self.modalities]
            self.gained = any(gains)
            logits = {m: self.kept[m].logits for m in self.modalities}
        members = list(logits.values())
        if hp.weights == "scale":
            self.weights.copy_(scale_weights(members))
        elif hp.weights == "fitted":
            self.weights.copy_(fit_weights(members, labels, hp.pool, hp.ridge))
            return {MULTI: self._cross_fitted(members, labels), **logits}
        return {MULTI: combine(members, hp.pool, self.weights), **logits}

    def _keep(self, modality: str, logits: Tensor, labels: Tensor) -> bool:
        """Keep a member where no epoch before had its accuracy; tell whether it was kept."""
        accuracy = float((logits.argmax(1) == labels).float().mean())
        if modality in self.kept and accuracy <= self.kept[modality].accuracy:
            return False
        own = (f"encoders.{modality}.", f"heads.{modality}.")
        state = {key: x.to("cpu", copy=True) for key, x in super().inference_state().items() if key.startswith(own)}
        self.kept[modality] = KeptMember(accuracy, state, logits)
        return True

    def _cross_fitted(self, members: list[Tensor], labels: Tensor) -> Tensor:
        """Pool each half of the samples by weights that were fitted to the other."""
        hp, found = self.hyperparameters, torch.empty_like(members[0])
        half = alternate_samples(labels)
        for scored in (half, ~half):
            fitted = fit_weights([x[~scored] for x in members], labels[~scored], hp.pool, hp.ridge)
            found[scored] = combine([x[scored] for x in members], hp.pool, fitted.to(found))
        return found

    @property
    def finished(self) -> bool | None:
        """False where a member gained in this epoch."""
        return False if self.gained else None

    def inference_state(self) -> dict[str, Any]:
        """Give the members as they predict: each at its best epoch so far, unless one epoch is common to all."""
        best = {key: value for member in self.kept.values() for key, value in member.state.items()}
        return super().inference_state() | best

    # State, diagnostics ------------------------------------------------------------------------------------------

    def get_extra_state(self) -> dict[str, Any]:
        return {"kept": {m: vars(member) for m, member in self.kept.items()}}

    def set_extra_state(self, state: Any) -> None:
        self.kept = {m: KeptMember(**member) for m, member in state["kept"].items()}

    def diagnostics(self) -> dict[str, float]:
        """For each member its weight in the pool and, where epochs are its own, its best validation accuracy so far."""
        weights = dict(zip((f"weight_{m}" for m in self.modalities), self.weights.tolist(), strict=True))
        return weights | {f"best_accuracy_{m}": member.accuracy for m, member in self.kept.items()}
