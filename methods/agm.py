"""AGM: speed up or slow down each modality by how its lead compares with its average lead so far.

Li, Li, Hu, Lei, Li, Zhou, "Boosting Multi-modal Model Performance with Adaptive Gradient Modulation", ICCV 2023.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from math import factorial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from data.base import Batch
from methods.base import MULTI, Context, Outputs, Phase, evaluating
from methods.base.fused import FusedMethod
from methods.base.fusion_hyperparameters import FusionHyperparameters, check_fused_loss_alone, check_fusion
from methods.base.hyperparameters import Choice, LogUniform, epoch_window, hyper
from methods.base.modulation import modulate_encoders

# Equations -----------------------------------------------------------------------------------------------------


def shapley_contributions(coalition_logits: Mapping[str, Tensor], modalities: Sequence[str]) -> list[Tensor]:
    """Share the logits of all modalities out among them: φ_m = Σ_S |S|! (M - |S| - 1)! / M! (f(S + m) - f(S)).

    coalition_logits: f, [B, C] each; a coalition is called by its modalities' names, in order, joined by "+"; that of
    none counts as 0. Returns M tensors [B, C] that add up to f of all. Differentiable. Raises KeyError for a coalition
    that is missing."""
    count = len(modalities)
    needed = ["+".join(c) for size in range(1, count + 1) for c in combinations(modalities, size)]
    if missing := [name for name in needed if name not in coalition_logits]:
        raise KeyError(f"no logits of coalition {missing[0]!r}")
    found = []
    for m in modalities:
        others = [other for other in modalities if other != m]
        terms = []
        for size in range(count):
            share = factorial(size) * factorial(count - size - 1) / factorial(count)
            for members in combinations(others, size):
                gain = coalition_logits["+".join(each for each in modalities if each == m or each in members)]
                terms.append(share * (gain - coalition_logits["+".join(members)] if members else gain))
        found.append(torch.stack(terms).sum(0))
    return found


def contribution_scores(contributions: list[Tensor], labels: Tensor, floor: float = 1e-8) -> Tensor:
    """Compute each modality's score s_m, the mean over a batch of -log max(softmax(φ_m)[y], floor): the lower the
    better. M tensors [B, C] and int64 [B] -> [M], of single precision at least."""
    rows = [phi.to(torch.promote_types(phi.dtype, torch.float32)).softmax(-1) for phi in contributions]
    return torch.stack([-p.gather(-1, labels.unsqueeze(-1)).clamp_min(floor).log().mean() for p in rows])


def discrepancy_ratios(scores: Tensor) -> Tensor:
    """Compute r_m = exp(M / (M - 1) (mean_j s_j - s_m)), [M] -> [M]: above 1 where m leads."""
    count = len(scores)
    return torch.exp(count / (count - 1) * (scores.mean() - scores))


def modulation_coefficients(scores: Tensor, running_scores: Tensor, alpha: float, cap: float | None = 10.0) -> Tensor:
    """Compute κ_m = exp(α min(τ_m - r_m, cap)), [M], of the present lead r and the lead τ of the running scores.

    Below 1 where a modality leads by more than before. cap: None for no bound."""
    change = discrepancy_ratios(running_scores) - discrepancy_ratios(scores)
    return torch.exp(alpha * (change if cap is None else change.clamp_max(cap)))


def update_running_scores(running_scores: Tensor, scores: Tensor, step: int) -> Tensor:
    """Average the scores of all steps so far: S (n - 1) / n + s / n at step n, counted from 1."""
    return running_scores * ((step - 1) / step) + scores / step


class _ScaledGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, coefficient: float | Tensor) -> Tensor:
        ctx.coefficient = coefficient
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return ctx.coefficient * grad, None


def scale_gradient(x: Tensor, coefficient: float | Tensor) -> Tensor:
    """Return x, with a gradient that is multiplied by ``coefficient`` (float or 0-d tensor) on its way back."""
    scaled: Tensor = _ScaledGradient.apply(x, coefficient)
    return scaled


def clip_by_head(parameters: Iterable[nn.Parameter], head_weights: Iterable[Tensor], trigger: float) -> Tensor:
    """Clip the norm of all gradients to ``trigger`` where an entry of the head's gradients exceeds it.

    Returns whether one does, 0-d and on the device. Parameters without gradient are passed over."""
    held = [p for p in parameters if p.grad is not None]
    largest = torch.stack([w.grad.abs().max() for w in head_weights if w.grad is not None]).max()
    norm = nn.utils.get_total_norm([p.grad for p in held if p.grad is not None])
    exceeds = largest > trigger
    nn.utils.clip_grads_with_norm_(held, trigger, torch.where(exceeds, norm, torch.zeros_like(norm)))
    return exceeds


# Method --------------------------------------------------------------------------------------------------------


class AGMHyperparameters(FusionHyperparameters):
    alpha: float = hyper(1.0, symbol="α", low=0.0, search=LogUniform(0.05, 5.0))
    """how strongly a change of the lead acts"""
    cap: float | None = hyper(10.0, low=0.0)
    """largest change that counts towards speeding up (null: none)"""
    clip_trigger: float | None = hyper(1.0, above=0.0)
    """entry of the head's gradient above which all gradients are clipped, to this norm (null: never)"""
    grad: Literal["response", "encoder"] = hyper("response", search=Choice(("response", "encoder")))
    """what is multiplied: gradients of the responses, which reach the whole network, or of the encoders alone"""
    start_epoch: float = hyper(0.0, low=0.0, epochs=True)
    """first epoch with modulation, counted from 0"""
    end_epoch: float | None = hyper(None, low=0.0, epochs=True)
    """last epoch with modulation, counted from 0 (null: the end)"""
    unimodal_source: Literal["native", "zero", "aux"] | None = hyper(None)
    """where a modality's own predictions come from (null: its response, as the modulation sees it)"""


class AGM(FusedMethod[AGMHyperparameters]):
    """Each modality's response to a sample is its Shapley value: what its input adds to the logits, on average over the
    subsets of the others, where an absent modality has a blank input. So any fusion will do. A modality whose response
    leads by more than it used to is slowed down, one that leads by less is sped up: the gradient that reaches its
    response is multiplied by a factor below or above 1.

    Source: Li et al., ICCV 2023, with the formulas of their official code.

    Departures from the official code: ``cap`` and clipping stand in some of its scripts alone, and are on by default;
    ``clip_trigger`` takes the place of the recipe's ``gradient_clip``. Features are computed once in training mode and
    once in evaluation mode, and those of a blank input for one sample, instead of anew for each subset: encoders run
    by themselves, so the gradients are the same. ``fusion: channel`` is refused, where they do not. ``grad: encoder``
    multiplies the encoders' gradients instead, as re-implementations do. In ``predict(present=...)`` the features of
    absent modalities are zero, as everywhere; a modality's own prediction is its response.

    Cost: two forwards and backwards through the encoders a step, whatever the number of modalities (the official code:
    one for each subset), and the fusion for each subset; with ``grad: encoder`` one backward.

    State: the running scores."""

    name = "agm"
    title = "Adaptive gradient modulation"
    paper = "Li, Li, Hu, Lei, Li, Zhou: Adaptive Gradient Modulation, ICCV 2023"
    stages = ("optimization",)
    computes_with_features = True
    helpers = ("running_scores",)
    running_scores: Tensor

    @classmethod
    def phases_of(cls, hyperparameters: AGMHyperparameters, modalities: tuple[str, ...], epochs: int) -> list[Phase]:
        return [Phase("training", epochs, passes=2.0)]

    def build(self) -> None:
        super().build()
        hp = self.hyperparameters
        self.window = epoch_window(hp.start_epoch, hp.end_epoch, self.epochs)
        self.register_buffer("running_scores", torch.zeros(len(self.dims)))

    # Responses ---------------------------------------------------------------------------------------------------

    def forward(self, batch: Batch) -> Outputs:
        """Give features and fused logits in training mode, and as unimodal logits the responses, which add up to them;
        what these take of subsets is computed in evaluation mode."""
        features = self.encode(batch)
        fused = self.fusion.fuse(features)
        with_graph = torch.is_grad_enabled() and self.hyperparameters.grad == "response"
        with evaluating(self), torch.set_grad_enabled(with_graph):
            responses = self.responses(self.encode(batch), batch, fused.logits)
        return Outputs(features, fused.logits, responses, fused.extra)

    def responses(self, features: list[Tensor], batch: Batch, fused: Tensor) -> list[Tensor]:
        """Compute φ of each modality, [B, C], from its features and the fused logits, those of all modalities."""
        blank = self.blank_features(batch)
        known = dict(zip(self.modalities, zip(features, blank, strict=True), strict=True))
        coalitions = {"+".join(self.modalities): fused.float()}
        for size in range(1, len(known)):
            for members in combinations(self.modalities, size):
                present = [given if m in members else none for m, (given, none) in known.items()]
                # Of differences, so in full precision.
                coalitions["+".join(members)] = self.fusion.fuse(present).logits.float()
        return shapley_contributions(coalitions, self.modalities)

    def blank_features(self, batch: Batch) -> list[Tensor]:
        """Compute each modality's features of a blank input, [B, d_m]: those of one sample for all, so in evaluation
        mode alone."""
        found = []
        for modality, encoder in self.encoders.items():
            sample = batch.inputs[modality][:1]
            blank = getattr(encoder, "blank", torch.zeros_like)(sample)
            found.append(encoder(blank).expand(len(batch), -1))
        return found

    # Modulation --------------------------------------------------------------------------------------------------

    @property
    def clips(self) -> bool:
        return self.hyperparameters.clip_trigger is not None

    def loss(self, outputs: Outputs, batch: Batch, context: Context) -> Tensor:
        """Compute the cross-entropy of the fused logits, as the sum of responses with modulated gradients."""
        hp, responses = self.hyperparameters, outputs.unimodal_logits
        with torch.no_grad():
            scores = context.mean(contribution_scores(responses, batch.labels))
            factors = torch.ones_like(scores)
            if context.epoch - 1 in self.window:
                factors = modulation_coefficients(scores, self.running_scores, hp.alpha, hp.cap)
        outputs.extra |= {"scores": scores, "factors": factors}
        if hp.grad == "encoder":
            return F.cross_entropy(outputs.logits, batch.labels)
        modulated = [scale_gradient(phi, factor) for phi, factor in zip(responses, factors, strict=True)]
        return F.cross_entropy(torch.stack(modulated).sum(0), batch.labels)

    @torch.no_grad()
    def modulate_gradients(self, outputs: Outputs, batch: Batch, context: Context) -> None:
        """Multiply the encoders' gradients where these are what is modulated; clip; move the running scores."""
        hp, scores, factors = self.hyperparameters, outputs.extra["scores"], outputs.extra["factors"]
        if hp.grad == "encoder":
            modulate_encoders(self.encoders.values(), factors)
        if hp.clip_trigger is not None:
            heads = [layer.weight for layer in self.fusion.head_layers]
            context.log("clipped", clip_by_head(self.parameters(), heads, hp.clip_trigger).float())
        for m, ratio, factor in zip(self.modalities, discrepancy_ratios(scores), factors, strict=True):
            context.log(f"ratio_{m}", ratio)
            context.log(f"coefficient_{m}", factor)
        self.running_scores.copy_(update_running_scores(self.running_scores, scores, context.step + 1))

    # Inference ---------------------------------------------------------------------------------------------------

    def predict(self, batch: Batch, present: Sequence[str] | None = None) -> dict[str, Tensor]:
        if present is not None or self.source is not None:
            return super().predict(batch, present)
        features = self.encode(batch)
        fused = self.fusion.fuse(features).logits
        return {MULTI: fused, **dict(zip(self.modalities, self.responses(features, batch, fused), strict=True))}

    # Checks, warnings, diagnostics -------------------------------------------------------------------------------

    @classmethod
    def check(cls, hyperparameters: AGMHyperparameters, modalities: tuple[str, ...]) -> None:
        super().check(hyperparameters, modalities)
        check_fusion(hyperparameters, modalities)
        check_fused_loss_alone(cls.name, hyperparameters)

    def on_fit_start(self, context: Context) -> None:
        if not self.window:
            context.warn("agm: end_epoch comes before start_epoch, so no gradient is modulated")

    def diagnostics(self) -> dict[str, float]:
        """Logged, as means over the epoch's samples: each modality's discrepancy ratio, and the factor of its gradients
        (1 outside start_epoch to end_epoch); the share of steps whose gradients were clipped."""
        return super().diagnostics()
