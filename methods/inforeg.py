"""InfoReg: hold back, while it learns fastest, the encoder of a modality that is ahead of another.

Huang, Wei, Yang, Hu, "Adaptive Unimodal Regulation for Balanced Multimodal Information Acquisition", CVPR 2025.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from data.base import Batch
from methods.base import Context, MethodError, Outputs
from methods.base.fused import FusedMethod
from methods.base.fusion_hyperparameters import FusionHyperparameters, check_late_is_joint
from methods.base.hyperparameters import Choice, LogUniform, Uniform, hyper
from methods.base.modulation import parameters_in_scope, trained_parameters
from models import unknown
from models.fusion import Source

Score = Literal["log_probability", "probability_sum"]
Reduction = Literal["sum", "layer_mean"]
Strength = Literal["paper", "code"]
_OWN_LOGITS = ("concat", "sum", "late", "channel")

# Equations -----------------------------------------------------------------------------------------------------


def performance_scores(logits: list[Tensor], labels: Tensor, kind: str = "log_probability") -> Tensor:
    """Score each modality's logits [B, C] on a batch, [M], higher for the better one; labels: int64 [B].

    log_probability: mean over the batch of log softmax(z_i)[y_i] (eq. 8, without its minus); probability_sum: sum of
    softmax(z_i)[y_i] (official code). Raises ValueError for another kind."""
    if kind not in get_args(Score):
        raise unknown("kind of score", kind, get_args(Score))
    rows = [z.to(torch.promote_types(z.dtype, torch.float32)).log_softmax(-1) for z in logits]
    right = torch.stack([each.gather(-1, labels.unsqueeze(-1)).squeeze(-1) for each in rows])
    return right.mean(1) if kind == "log_probability" else right.exp().sum(1)


def performance_gaps(scores: Tensor) -> Tensor:
    """Average, for each modality, its lead over those with a smaller score, [M] -> [M]; 0 where there is none."""
    leads = scores.unsqueeze(1) - scores
    ahead = leads > 0
    return (leads * ahead).sum(1) / ahead.sum(1).clamp_min(1)


def fisher_trace(gradients: Sequence[Tensor], reduction: str = "sum") -> Tensor:
    """Compute the trace of the Fisher information from gradients of any shapes, 0-d: the sum of all squared entries.

    layer_mean: the sum over tensors of the mean squared entry (official code). Raises ValueError for another one."""
    if reduction not in get_args(Reduction):
        raise unknown("reduction", reduction, get_args(Reduction))
    squares = [g.square().sum() if reduction == "sum" else g.square().mean() for g in gradients]
    return torch.stack(squares).sum() if squares else torch.zeros(())


def relative_trace_change(history: Sequence[float], window: int = 1) -> float | None:
    """Compute (T_t - T_{t-1}) / T_t of the last two traces, oldest first; 0 where T_t is 0, None of fewer than two.

    window n > 1 (official code): means over n values, of a history with n zeros before it; 1 of an empty one. Raises
    ValueError for a window below 1."""
    if window < 1:
        raise ValueError(f"a window has at least 1 value, got {window}")
    if window == 1 and len(history) < 2:
        return None
    if not history:
        return 1.0
    padded = [0.0] * window + list(history) if window > 1 else list(history)
    last, before = math.fsum(padded[-window:]) / window, math.fsum(padded[-window - 1 : -1]) / window
    return (last - before) / last if last else 0.0


def regulation_strength(gap: Any, beta: float, variant: str = "paper") -> Any:
    """Compute how strongly a lead is held back: exp(β tanh Δ), from 1 to e^β.

    code: β exp(tanh Δ). Floats give floats, tensors tensors. Raises ValueError for another variant."""
    if variant not in get_args(Strength):
        raise unknown("variant of strength", variant, get_args(Strength))
    tanh: Any = torch.tanh if isinstance(gap, Tensor) else math.tanh
    exp: Any = torch.exp if isinstance(gap, Tensor) else math.exp
    return exp(beta * tanh(gap)) if variant == "paper" else beta * exp(tanh(gap))


def regulated_gradient(grad: Tensor, weight: Tensor, anchor: Tensor, strength: float | Tensor) -> Tensor:
    """Add the gradient of the penalty a/2 |w - w_start|² to a gradient: g + a (w - w_start), as a new tensor.

    All three of one shape; strength: a, a float or 0-d tensor."""
    return grad + strength * (weight - anchor)


# Method --------------------------------------------------------------------------------------------------------


class InfoRegHyperparameters(FusionHyperparameters):
    beta: float = hyper(0.9, symbol="β", low=0.0, search=Uniform(0.1, 2.0))
    """how much a lead strengthens the regulation"""
    threshold: float = hyper(0.04, symbol="K", low=0.0, search=LogUniform(0.005, 0.2))
    """relative growth of an encoder's Fisher trace in an epoch above which its learning window is open"""
    unimodal_loss: bool = hyper(False, search=Choice((False, True)))
    """add the cross-entropies of all modalities' own logits (InfoReg*)"""
    when: Literal["window", "always", "outside"] = hyper("window")
    """when a leading encoder is regulated: in its learning window, in every epoch, or from the third epoch on outside
    its window"""

    # Only to train as the official code does.
    trace_window: int = hyper(1, low=1)
    """epochs over which traces are averaged before they are compared (official code: 10)"""
    strength: Strength = hyper("paper")
    """strength of a lead Δ: exp(β tanh Δ), or β exp(tanh Δ) (official code)"""
    trace_reduction: Reduction = hyper("sum")
    """squared gradients: all summed, or averaged in each weight of a layer (official code)"""
    score: Score = hyper("log_probability")
    """what modalities are compared by: mean log-probabilities, or sums of probabilities (official code)"""


class InfoReg(FusedMethod[InfoRegHyperparameters]):
    """The Fisher information of an encoder, its squared gradient norm, rises in the first epochs, and mostly for the
    easy modality: there it learns what the others then no longer get to learn. InfoReg slows it down in that window
    alone. Where a modality is ahead of another in a batch, a quadratic penalty pulls its encoder back to where it stood
    at the epoch's start, the harder the larger its lead.

    Source: Huang et al., CVPR 2025. With three and more modalities all but the worst are ahead of another, and each is
    held back in its own window.

    Departures from the official code: strength, window and trace are the paper's, each encoder's window its own. The
    code looks at audio's trace for both, over ten epochs; ``trace_window``, ``strength``, ``trace_reduction`` and
    ``score`` are its readings, with one ``beta`` for its two constants. It always adds the unimodal losses
    (``unimodal_loss``). Equation 8 stands without its minus, so that the better modality scores higher, as paper and
    code say elsewhere. Traces are those of the whole loss, before the penalty, which the code counts in. Fusions
    without a part for each modality take the fused logits with the other features zeroed, as the authors do, and the
    run's log says so.

    Cost: one forward and one backward a step, as joint training; beside them each modality's logits, and one more copy
    of the encoders' weights. Optimizers such as Adam rescale the penalty as any gradient; the equations assume SGD.

    State: the mean trace of each encoder in each epoch."""

    name = "inforeg"
    title = "Adaptive regulation of information acquisition (InfoReg)"
    paper = "Huang, Wei, Yang, Hu: Adaptive Unimodal Regulation, CVPR 2025"
    stages = ("optimization",)
    capturable = True
    helpers = ("traces",)
    traces: Tensor
    trace_sums: Tensor

    def build(self) -> None:
        super().build()
        count = len(self.modalities)
        self.register_buffer("traces", torch.zeros(self.epochs, count, dtype=torch.float64))
        self.register_buffer("trace_sums", torch.zeros(count, dtype=torch.float64), persistent=False)
        for m, encoder in self.encoders.items():
            for position, parameter in enumerate(trained_parameters(encoder)):
                self.register_buffer(f"start_{m}_{position}", parameter.detach().clone(), persistent=False)
        self.changes: dict[str, float | None] = dict.fromkeys(self.modalities)
        self.regulated = dict.fromkeys(self.modalities, False)
        self._diagnostics: dict[str, float] = {}

    def weights(self, modality: str) -> list[tuple[nn.Parameter, Tensor]]:
        """Pair the trained parameters of an encoder with what they were at the epoch's start."""
        return [
            (p, self.get_buffer(f"start_{modality}_{k}"))
            for k, p in enumerate(trained_parameters(self.encoders[modality]))
        ]

    # Epochs ------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def on_epoch_start(self, context: Context) -> None:
        self.trace_sums.zero_()
        for position, m in enumerate(self.modalities):
            for parameter, start in self.weights(m):
                start.copy_(parameter)
            history = self.traces[: context.epoch - 1, position].tolist()
            self.changes[m] = relative_trace_change(history, self.hyperparameters.trace_window)
            self.regulated[m] = self.regulates(self.changes[m])

    def regulates(self, change: float | None) -> bool:
        """Tell whether an encoder whose trace has changed so is held back in this epoch, where it leads."""
        hp = self.hyperparameters
        if hp.when == "always":
            return True
        return change is not None and (change > hp.threshold) == (hp.when == "window")

    @torch.no_grad()
    def on_epoch_end(self, context: Context) -> None:
        traces = self.trace_sums / max(1, context.steps_in_epoch)
        self.traces[context.epoch - 1] = traces
        for m, trace in zip(self.modalities, traces.tolist(), strict=True):
            moved = [(parameter - start).square().sum() for parameter, start in self.weights(m)]
            change = self.changes[m]
            self._diagnostics |= {f"trace_{m}": trace} | ({} if change is None else {f"trace_change_{m}": change})
            self._diagnostics |= {f"regulated_{m}": float(self.regulated[m]), f"distance_{m}": float(sum(moved)) ** 0.5}

    # Steps -------------------------------------------------------------------------------------------------------

    def usual_source(self) -> Source:
        hp = self.hyperparameters
        return "native" if hp.fusion in _OWN_LOGITS or (hp.fusion == "weight" and hp.additive) else "zero"

    def objective_logits(self, features: list[Tensor]) -> list[Tensor]:
        with nullcontext() if self.hyperparameters.unimodal_loss else torch.no_grad():
            return self.unimodal_logits(features)

    def loss(self, outputs: Outputs, batch: Batch, context: Context) -> Tensor:
        loss = F.cross_entropy(outputs.logits, batch.labels)
        if self.hyperparameters.unimodal_loss:
            own = [F.cross_entropy(logits, batch.labels) for logits in outputs.unimodal_logits]
            loss = loss + torch.stack(own).sum()
        return loss

    @torch.no_grad()
    def modulate_gradients(self, outputs: Outputs, batch: Batch, context: Context) -> None:
        """Count the traces, then pull each leading encoder back to the epoch's start where it is regulated."""
        hp = self.hyperparameters
        self.trace_sums += torch.stack([self.trace(encoder) for encoder in self.encoders.values()])
        gaps = performance_gaps(self.scores(outputs, batch, context))
        strengths = torch.where(gaps > 0, regulation_strength(gaps, hp.beta, hp.strength), torch.zeros_like(gaps))
        for m, gap, strength in zip(self.modalities, gaps, strengths, strict=True):
            context.log(f"gap_{m}", gap)
            context.log(f"strength_{m}", strength if self.regulated[m] else 0.0 * strength)
            if not self.regulated[m]:
                continue
            for parameter, start in self.weights(m):
                if parameter.grad is not None:
                    parameter.grad = regulated_gradient(parameter.grad, parameter, start, strength)

    def trace(self, encoder: nn.Module) -> Tensor:
        """Compute the Fisher trace of an encoder from the joint batch's gradient; 0-d."""
        reduction = self.hyperparameters.trace_reduction
        counted = parameters_in_scope(encoder, "all" if reduction == "sum" else "matrix")
        gradients = [p.grad for p in counted if p.grad is not None]
        return fisher_trace(gradients, reduction) if gradients else self.trace_sums.new_zeros(())

    def scores(self, outputs: Outputs, batch: Batch, context: Context) -> Tensor:
        """Score the modalities on the joint batch, [M]."""
        kind = self.hyperparameters.score
        scores = performance_scores(outputs.unimodal_logits, batch.labels, kind)
        return context.mean(scores) if kind == "log_probability" else context.sum(scores)

    # Checks, warnings, diagnostics -------------------------------------------------------------------------------

    @classmethod
    def check(cls, hyperparameters: InfoRegHyperparameters, modalities: tuple[str, ...]) -> None:
        super().check(hyperparameters, modalities)
        hp = hyperparameters
        check_late_is_joint(cls.name, hp)
        if hp.unimodal_source == "aux" and not hp.unimodal_loss:
            raise MethodError("inforeg trains auxiliary heads with unimodal_loss: true alone; else use native or zero")

    def on_fit_start(self, context: Context) -> None:
        hp = self.hyperparameters
        if self.source == "zero":
            context.warn("inforeg: a modality's own logits are the fused ones with the features of all others zeroed")
        if hp.when != "always" and hp.trace_window == 1 and self.epochs < 3:
            context.warn("inforeg: traces of two epochs are compared, so no encoder is regulated before the third")

    def diagnostics(self) -> dict[str, float]:
        """For each modality: mean Fisher trace of its encoder, its relative growth before the epoch (from the third
        on), whether it was regulated, how far its encoder has moved in the epoch; as means over the epoch's samples its
        lead (gap), and the strength with which it was pulled back."""
        return dict(self._diagnostics)
