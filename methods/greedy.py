"""Greedy: where one branch learns faster from the other modality than from its own, that is taken from it for a while.

Wu, Jastrzebski, Cho, Geras, "Characterizing and overcoming the greedy nature of learning in multi-modal deep neural
networks", ICML 2022.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from data.base import Batch
from methods.base import MULTI, Context, Method, MethodError, Outputs, Validation, evaluating
from methods.base.delayed import DelayedNumbers
from methods.base.hyperparameters import Hyperparameters, Integer, LogUniform, hyper, in_epochs
from methods.base.modulation import trained_parameters
from models.fusion import GateRecord, MMTMFusion

# Equations -----------------------------------------------------------------------------------------------------


def update_magnitude(weights: Sequence[Tensor], gradients: Sequence[Tensor]) -> Tensor:
    """μ = |g|² / |θ|² over a whole set of tensors, 0-d. Raises ValueError where all weights are zero."""
    if not any(bool(weight.any()) for weight in weights):
        raise ValueError("the weights are all zero, so there is nothing that an update could be compared with")
    return _magnitude(weights, gradients)


def _magnitude(weights: Sequence[Tensor], gradients: Sequence[Tensor]) -> Tensor:
    return (nn.utils.get_total_norm(gradients) / nn.utils.get_total_norm(weights)).square()


def conditional_learning_speed(bypass_total: float, main_total: float) -> float:
    """s = log10(Σ μ(θ') / Σ μ(θ)), of the fusion parameters that act on a branch and of those of the branch itself."""
    return math.log10(bypass_total / main_total)


def speed_gap(bypass_totals: Sequence[float], main_totals: Sequence[float]) -> float:
    """d = s(1 | 0) - s(0 | 1): above 0 where branch 0 leans more on the other modality. Two floats each."""
    first, second = map(conditional_learning_speed, bypass_totals, main_totals)
    return first - second


def frozen_branch(gap: float, alpha: float) -> int | None:
    """Tell whose gate is frozen: 0 above alpha, 1 below -alpha, else None."""
    if abs(gap) <= alpha:
        return None
    return 0 if gap > 0 else 1


def running_gate(mean: Tensor, gate: Tensor, count: int | Tensor) -> Tensor:
    """Take a batch of gates [B, C] into the mean [C] of ``count`` batches before it."""
    return (gate.mean(0) + mean * count) / (count + 1)


def conditional_utilization(accuracy_full: float, accuracy_cut: float) -> float:
    """u = (A(y) - A(y')) / A(y): what a branch loses of its accuracy without the other modality; 0 where A(y) is 0."""
    return (accuracy_full - accuracy_cut) / accuracy_full if accuracy_full else 0.0


# Method --------------------------------------------------------------------------------------------------------


class GreedyHyperparameters(Hyperparameters):
    alpha: float = hyper(0.01, symbol="α", low=0.0, search=LogUniform(1e-3, 1.0), only_if=("policy", "guided"))
    """gap between the learning speeds above which the branches are rebalanced"""
    window: int = hyper(5, symbol="Q", low=1, search=Integer(1, 20), only_if=("policy", "guided"))
    """steps in which a gate stays frozen"""
    start_epoch: float = hyper(1.0, low=0.0, epochs=True)
    """first epoch in which a gate may be frozen, counted from 0"""
    policy: Literal["guided", "random"] = hyper("guided")
    """freeze by learning speed; or, as a control, each step none or either gate by chance"""
    mmtm_ratio: int = hyper(4, low=1, symbol="r")
    """what the joint squeeze divides the channels by"""
    mmtm_stages: list[int] = hyper([2, 3, 4])
    """encoder stages, from 1, after which there are gates (beyond the last: the last)"""
    utilization: bool = hyper(True)
    """compute the conditional utilization rates after the last epoch"""
    allow_more: bool = hyper(False)
    """three and more modalities, by our own extension: the gate of the largest learning speed is frozen"""

    @property
    def mixes_channels(self) -> str | None:
        return "mmtm"


class Greedy(Method[GreedyHyperparameters]):
    """Two branches tell each other by gates (MMTM) what their channels hold. A network is greedy: it learns from the
    modality that is faster to learn, and leaves the other unused. Which branch leans on the other modality shows in how
    fast the parameters of its gates move, compared with its own. Where the branches differ too much, the gate of the
    one that leans is frozen to its running mean for a few steps, so that it has to learn from its own modality.

    Source: Wu et al., ICML 2022, by its official code. For three and more modalities there is none: ``allow_more`` is
    our extension, which for two is the paper's method.

    Departures from the official code: each gate has a running mean of its own (a slip fills the second branch's with
    the first's), of training steps alone, kept by a resumed run, and read as it stood before the step. A decision takes
    effect one step later, so that no step waits for the device. Encoders without stages have one set of gates, on their
    features.

    Cost: one forward and one backward a step, as joint training, and the norms of all parameters and gradients; after
    the last epoch, for the utilization rates, a pass over the training data and one over the validation data for each
    modality. A branch's own prediction has seen the other modalities through its gates, so it says more than the
    modality alone.

    State: sums of the updates, running means of the gates, and the window that is open."""

    name = "greedy"
    title = "Balancing by conditional learning speed"
    paper = "Wu, Jastrzebski, Cho, Geras: the Greedy Nature of Learning, ICML 2022"
    stages = ("feed-forward",)
    reads_in_a_step = 1
    helpers = ("totals", "gate_means", "gate_count", "_extra_state")
    totals: Tensor
    gate_means: Tensor
    gate_count: Tensor

    @classmethod
    def check(cls, hyperparameters: GreedyHyperparameters, modalities: tuple[str, ...]) -> None:
        super().check(hyperparameters, modalities)
        if min(hyperparameters.mmtm_stages, default=0) < 1:
            raise MethodError(f"greedy: mmtm_stages are numbered from 1, got {hyperparameters.mmtm_stages}")
        if len(modalities) > 2 and not hyperparameters.allow_more:
            raise MethodError(
                f"greedy is defined for two modalities, the dataset gives {len(modalities)}: {', '.join(modalities)}; "
                "allow_more: true trains our own extension"
            )

    def build(self) -> None:
        hp = self.hyperparameters
        encoders: list[nn.Module] = list(self.encoders.values())
        self.fusion = MMTMFusion(
            encoders, self.num_classes, mmtm_ratio=hp.mmtm_ratio, mmtm_stages=hp.mmtm_stages, owns_encoders=False
        )
        gates: list[Any] = list(self.fusion.gates.values())
        self._widths = [layer.out_features for each in gates for layer in each.excite]
        count = len(self.modalities)
        self.register_buffer("totals", torch.zeros(2, count, dtype=torch.float64))
        self.register_buffer("gate_means", torch.zeros(sum(self._widths)))
        self.register_buffer("gate_count", torch.zeros(()))
        self.first_epoch = in_epochs(hp.start_epoch, self.epochs) + 1
        self._decisions, self._frozen, self._left = DelayedNumbers(), -1, 0
        self._utilization: dict[str, float] = {}

    # Whose gate is frozen ----------------------------------------------------------------------------------------

    def choose_frozen(self, context: Context) -> None:
        """Open a window where the step before the last asks for one, close one that is over."""
        if self.hyperparameters.policy == "random":
            drawn = torch.randint(len(self.modalities) + 1, (), generator=context.generator("greedy", context.step))
            self._frozen = int(drawn) - 1 if context.step and context.epoch >= self.first_epoch else -1
            return
        if self._left == 0:
            self._frozen = -1
            decided = self._decisions.take()
            if decided is not None and decided >= 0:
                self._frozen, self._left = decided, self.hyperparameters.window
                self._decisions.forget()
        self._left -= self._left > 0

    def decision(self) -> Tensor:
        """Number the branch whose gate is to be frozen, -1 for none; 0-d int64, on the device."""
        bypass, main = self.totals
        speeds = (bypass / main).log10()
        return torch.where(speeds.max() - speeds.min() > self.hyperparameters.alpha, speeds.argmax(), -1)

    @contextmanager
    def gates_of_the_step(self) -> Iterator[dict[str, GateRecord]]:
        """Record the gates of forward passes inside, and let the running mean stand for the frozen ones."""
        with self.fusion.recorded() as found:
            if self._frozen < 0:
                yield found
                return
            means = self.gate_means.split(self._widths)
            count, names = len(self.modalities), list(self.fusion.gates)
            frozen = {name: {self._frozen: means[n * count + self._frozen]} for n, name in enumerate(names)}
            with self.fusion.replaced(gates=frozen):
                yield found

    # Training ----------------------------------------------------------------------------------------------------

    def training_outputs(self, batch: Batch, context: Context) -> Outputs:
        self.choose_frozen(context)
        with self.gates_of_the_step() as records:
            outputs = self(batch)
        outputs.extra["gates"] = torch.cat([g.float() for each in records.values() for g in each.gates], 1)
        return outputs

    def forward(self, batch: Batch) -> Outputs:
        features = self.encode(batch)
        logits = self.fusion.native_logits(features)
        return Outputs(features, torch.stack(logits).mean(0), logits)

    def loss(self, outputs: Outputs, batch: Batch, context: Context) -> Tensor:
        """Add up the cross-entropies of the branches."""
        return torch.stack([F.cross_entropy(logits, batch.labels) for logits in outputs.unimodal_logits]).sum()

    @torch.no_grad()
    def modulate_gradients(self, outputs: Outputs, batch: Batch, context: Context) -> None:
        """Change no gradient; take the gates into their means, and outside windows the updates into their sums."""
        mean = context.mean(outputs.extra["gates"].mean(0)).unsqueeze(0)
        self.gate_means.copy_(running_gate(self.gate_means, mean, self.gate_count))
        self.gate_count += 1
        for position, modality in enumerate(self.modalities):
            context.log(f"frozen_{modality}", float(position == self._frozen))
        if self._frozen >= 0:
            return
        sets = [[self.bypass(m) for m in range(len(self.modalities))], [self.branch(m) for m in self.modalities]]
        self.totals += torch.stack([torch.stack([_moved(each) for each in row]) for row in sets])
        for modality, speed in zip(self.modalities, (self.totals[0] / self.totals[1]).log10(), strict=True):
            context.log(f"speed_{modality}", speed)
        if self.hyperparameters.policy == "guided" and context.epoch >= self.first_epoch:
            self._decisions.put(self.decision())

    def branch(self, modality: str) -> list[nn.Parameter]:
        """List the parameters of a branch, θ: encoder and head."""
        head = self.fusion.heads[self.modalities.index(modality)]
        return [*trained_parameters(self.encoders[modality]), *trained_parameters(head)]

    def bypass(self, position: int) -> list[nn.Parameter]:
        """List the fusion parameters that act on a branch, θ': what all squeeze, and its own excitations."""
        gates: list[Any] = list(self.fusion.gates.values())
        return [p for each in gates for layer in (each.squeeze, each.excite[position]) for p in layer.parameters()]

    # Inference ---------------------------------------------------------------------------------------------------

    def encode(self, batch: Batch, present: Sequence[str] | None = None) -> list[Tensor]:
        """Give the features [B, d_m]; of modalities that are not ``present`` (default: all are) the others know
        nothing."""
        return self.fusion.encode(
            [batch.inputs[m] for m in self.modalities], [present is None or m in present for m in self.modalities]
        )

    def classify(self, features: list[Tensor]) -> dict[str, Tensor]:
        logits = self.fusion.native_logits(features)
        return {MULTI: torch.stack(logits).mean(0), **dict(zip(self.modalities, logits, strict=True))}

    def predict(self, batch: Batch, present: Sequence[str] | None = None) -> dict[str, Tensor]:
        return self.classify(self.encode(batch, present))

    # Utilization -------------------------------------------------------------------------------------------------

    def on_validation(self, validation: Validation, context: Context) -> None:
        """Compute the conditional utilization rates, after the last epoch."""
        if not self.hyperparameters.utilization or context.epoch < context.epochs:
            return
        means = self.mean_squeezes(context)
        for position, modality in enumerate(self.modalities):
            full = validation.scores[f"validation_accuracy_{modality}"]
            cut = self.accuracy_without_others(position, means, context)
            self._utilization[f"utilization_of_others_{modality}"] = conditional_utilization(full, cut)

    @torch.no_grad()
    def mean_squeezes(self, context: Context) -> dict[str, list[Tensor]]:
        """Average the squeezed maps over the training samples: name of a stage -> [C_m] a modality."""
        sums = [torch.zeros(width, dtype=torch.float64, device=context.device) for width in self._widths]
        with evaluating(self), self.fusion.recorded() as records:
            for batch in filter(len, context.train_batches()):
                with context.autocast():
                    self.encode(batch)
                seen = [x for name in self.fusion.gates for x in records[name].squeezes]
                for total, each in zip(sums, seen, strict=True):
                    total += each.double().sum(0)
        samples = context.train_size - len(context.held_out)
        means = [part.float() for part in (context.sum(torch.cat(sums)) / samples).split(self._widths)]
        count = len(self.modalities)
        return {name: means[n * count : (n + 1) * count] for n, name in enumerate(self.fusion.gates)}

    @torch.no_grad()
    def accuracy_without_others(self, position: int, means: dict[str, list[Tensor]], context: Context) -> float:
        """Compute a branch's accuracy on validation data where it learns nothing of the other modalities: mean maps
        stand for theirs."""
        given = {name: {m: x for m, x in enumerate(each) if m != position} for name, each in means.items()}
        right = torch.zeros(2, dtype=torch.float64, device=context.device)
        with evaluating(self), self.fusion.replaced(squeezes=given):
            for batch in filter(len, context.validation_batches()):
                with context.autocast():
                    logits = self.fusion.native_logits(self.encode(batch))[position]
                hits = (logits.argmax(-1) == batch.labels).sum()
                right += torch.stack([hits.double(), torch.full_like(hits, len(batch)).double()])
        hits, samples = context.sum(right).tolist()
        return float(hits / samples)

    # State, diagnostics ------------------------------------------------------------------------------------------

    def get_extra_state(self) -> list[Any]:
        return [self._frozen, self._left, self._decisions.state_dict()]

    def set_extra_state(self, state: Any) -> None:
        self._frozen, self._left, decisions = state
        self._decisions.load_state_dict(decisions)

    def diagnostics(self) -> dict[str, float]:
        """After the last epoch, for each branch: the share of its accuracy that it owes to the other modalities
        (utilization of others). Logged: its conditional learning speed, and the share of the steps in which its gate
        was frozen."""
        return dict(self._utilization)


def _moved(parameters: list[nn.Parameter]) -> Tensor:
    """Compute μ of parameters and their gradients, 0-d and in double precision."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    return _magnitude(parameters, gradients).double()
