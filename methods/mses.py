"""MSES: each modality stops learning when its own validation loss stops falling.

Fujimori, Endo, Kawai, Mochizuki, "Modality-Specific Learning Rate Control for Multimodal Classification", ACPR 2019.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from data.base import Batch
from methods.base import MULTI, Context, Outputs, Validation
from methods.base.branches import branch_groups, check_branches
from methods.base.fused import FusedMethod
from methods.base.fusion_hyperparameters import FusionHyperparameters
from methods.base.hyperparameters import Choice, LogUniform, Uniform, hyper, in_epochs
from models import unknown
from models.fusion import Source

# Equations -----------------------------------------------------------------------------------------------------


def smooth_history(history: Tensor, smooth_weight: float = 0.4, smooth_mode: str = "two_tap") -> Tensor:
    """Smooth losses v, [T, M] with a row an epoch, over epochs; the first row stays. a: ``smooth_weight``.

    smooth_mode: two_tap, (1 - a) v(t-1) + a v(t); ema, (1 - a) s(t-1) + a v(t); none, v(t). Raises ValueError for
    another."""
    a = smooth_weight
    if smooth_mode == "none":
        return history.clone()
    if smooth_mode == "two_tap":
        return torch.cat([history[:1], (1 - a) * history[:-1] + a * history[1:]])
    if smooth_mode == "ema":
        rows = list(history[:1])
        for row in history[1:]:
            rows.append((1 - a) * rows[-1] + a * row)
        return torch.stack(rows) if rows else history.clone()
    raise unknown("smooth_mode", smooth_mode, ("two_tap", "ema", "none"))


def plateau_state(
    history: Tensor,
    patience: int,
    smooth_weight: float = 0.4,
    smooth_mode: str = "two_tap",
    decay: float = 0.0,
) -> dict[str, Tensor]:
    """Find for each modality how its learning rate stands after T epochs of validation losses, ``history`` [T, M].

    A plateau is an epoch that lies more than ``patience`` epochs after the last minimum of the smoothed losses and
    after the last plateau; it multiplies the rate by ``decay``, and with decay 0 the modality's state stays from then
    on. Gives smoothed [T, M]; best_epoch and event_epoch (the last plateau), int64 [M], counted from 1, 0 for none;
    best_value and lr_scale [M]. An equal value is no minimum. Raises ValueError for NaN."""
    if history.isnan().any():
        raise ValueError("a validation loss is not a number")
    smoothed = smooth_history(history, smooth_weight, smooth_mode)
    modalities = smoothed.shape[1]
    best_value, lr_scale = smoothed.new_full((modalities,), torch.inf), smoothed.new_ones(modalities)
    best_epoch = torch.zeros(modalities, dtype=torch.int64, device=smoothed.device)
    event_epoch = best_epoch.clone()
    for epoch, values in enumerate(smoothed, start=1):
        running = lr_scale > 0
        better = running & ((values < best_value) | (epoch == 1))
        best_value = torch.where(better, values, best_value)
        best_epoch = torch.where(better, epoch, best_epoch)
        plateau = running & (epoch - torch.maximum(best_epoch, event_epoch) > patience)
        event_epoch = torch.where(plateau, epoch, event_epoch)
        lr_scale = torch.where(plateau, lr_scale * decay, lr_scale)
    return {
        "smoothed": smoothed,
        "best_epoch": best_epoch,
        "best_value": best_value,
        "event_epoch": event_epoch,
        "lr_scale": lr_scale,
    }


def multitask_loss(multi_loss: Tensor, uni_losses: Tensor, uni_weight: float = 1.0) -> Tensor:
    """Add ``uni_weight`` times the sum of the unimodal losses [M], possibly none, to the joint loss (0-d)."""
    return multi_loss + uni_weight * uni_losses.sum()


# Method --------------------------------------------------------------------------------------------------------


class MSESHyperparameters(FusionHyperparameters):
    branch_patience: float = hyper(0.1, low=0.0, search=Uniform(0.05, 0.5), epochs=True)
    """epochs without a smaller loss that a modality is granted"""
    smooth_weight: float = hyper(0.4, symbol="a", above=0.0, high=1.0, search=Uniform(0.2, 1.0))
    """weight of the newest validation loss in the smoothed one"""
    smooth_mode: Literal["two_tap", "ema", "none"] = hyper("two_tap", search=Choice(("two_tap", "ema", "none")))
    """loss smoothed with the one before, with all before, or as it is"""
    decay: float = hyper(0.0, low=0.0, high=1.0, search=LogUniform(0.05, 0.5))
    """factor of a modality's learning rate at each plateau (0: it stops for good)"""
    uni_weight: float = hyper(1.0, low=0.0, search=LogUniform(0.1, 2.0))
    """weight of the unimodal losses beside the joint one (only other code of the method: 0, with fusion sum)"""
    restore: Literal["branch", "none"] = hyper("branch", search=Choice(("branch", "none")), only_if=("decay", 0.0))
    """what a modality that stops goes back to: its branch at the epoch of its smallest loss, or nothing"""
    stop_when_all: bool = hyper(True)
    """end the training when every modality has stopped; false: the fusion learns on"""
    unimodal_source: Literal["native", "zero", "aux"] | None = hyper(None)
    """where unimodal logits come from (null: a linear head on each modality's feature; those of fusion sum itself where
    uni_weight is 0)"""


class MSES(FusedMethod[MSESHyperparameters]):
    """Every modality has a loss of its own beside the joint one. After each epoch its own validation loss is looked at:
    where the smoothed loss has found no minimum for ``branch_patience`` epochs, the modality overfits. Its branch
    (encoder and head) then goes back to its best epoch and learns no more, while the others go on.

    Source: Fujimori, Endo, Kawai, Mochizuki, ACPR 2019, as far as its abstract tells: multitask training, overfitting
    detected and learning stopped for each modality alone. Weights, smoothing and patience follow the only code known,
    a baseline of AGM's authors.

    Departures from the official code: it is that baseline, which has no unimodal losses (``uni_weight: 0`` with
    ``fusion: sum``); scales gradients, so that momentum still moves what has stopped; goes back with the whole model
    and its optimizer, which undoes the others' progress; selects on the test split.

    Cost: one forward and one backward a step, as joint training, and a head a modality; a branch that has stopped saves
    its backward. A second copy of all branches is kept.

    State: the validation losses of all epochs, the factors, and each branch at its best epoch."""

    name = "mses"
    title = "Modality-specific early stopping"
    paper = "Fujimori, Endo, Kawai, Mochizuki: Modality-Specific Learning Rate Control, ACPR 2019"
    stages = ("optimization",)
    capturable = True
    replaces_fusion_loss = False
    helpers = ("_extra_state", "kept")

    @classmethod
    def check(cls, hyperparameters: MSESHyperparameters, modalities: tuple[str, ...]) -> None:
        super().check(hyperparameters, modalities)
        check_branches("mses", hyperparameters)

    def usual_source(self) -> Source:
        hp = self.hyperparameters
        return "native" if hp.uni_weight == 0 and hp.fusion == "sum" else "aux"

    def build(self) -> None:
        super().build()
        hp = self.hyperparameters
        self.patience = in_epochs(hp.branch_patience, self.epochs)
        self.history: list[list[float]] = []
        self.factors = [1.0] * len(self.modalities)
        self._found: dict[str, float] = {}
        self.kept = nn.ModuleDict()
        if hp.decay == 0 and hp.restore == "branch":
            self.kept.update({modality: copy.deepcopy(self.branch(modality)) for modality in self.modalities})
            self.kept.requires_grad_(False)

    # Branches ----------------------------------------------------------------------------------------------------

    def own_modules(self, position: int) -> list[nn.Module]:
        """List what a modality's own prediction goes through beside its encoder, and the joint one does not."""
        if self.source == "aux":
            assert self.fusion.aux_heads is not None
            return [self.fusion.aux_heads[position]]
        return self.fusion.own_modules(position) if self.source == "native" else []

    def branch(self, modality: str) -> nn.ModuleList:
        return nn.ModuleList([self.encoders[modality], *self.own_modules(self.modalities.index(modality))])

    def groups(self) -> Mapping[str, Sequence[nn.Module | nn.Parameter]]:
        own = [self.own_modules(position) for position in range(len(self.modalities))]
        return branch_groups(dict(self.encoders.items()), own, self.fusion)

    # Training ----------------------------------------------------------------------------------------------------

    def objective_logits(self, features: list[Tensor]) -> list[Tensor]:
        return self.unimodal_logits(features) if self.hyperparameters.uni_weight > 0 else []

    def loss(self, outputs: Outputs, batch: Batch, context: Context) -> Tensor:
        """Compute the joint loss, and those of the modalities that still learn."""
        joint = super().loss(outputs, batch, context)
        if not outputs.unimodal_logits:
            return joint
        running = [x for x, factor in zip(outputs.unimodal_logits, self.factors, strict=True) if factor > 0]
        own = [F.cross_entropy(logits, batch.labels) for logits in running]
        return multitask_loss(joint, torch.stack(own) if own else joint.new_zeros(0), self.hyperparameters.uni_weight)

    # After each epoch --------------------------------------------------------------------------------------------

    def on_validation(self, validation: Validation, context: Context) -> None:
        """Keep the branches at a new minimum, and stop or slow down those on a plateau."""
        hp = self.hyperparameters
        self.history.append([validation.losses[modality] for modality in self.modalities])
        history = torch.tensor(self.history, dtype=torch.float64)
        found = plateau_state(history, self.patience, hp.smooth_weight, hp.smooth_mode, hp.decay)
        before, self.factors = self.factors, found["lr_scale"].tolist()
        for position, modality in enumerate(self.modalities):
            context.rates[modality] = self.factors[position]
            best = int(found["best_epoch"][position])
            if modality in self.kept:
                if best == len(self.history):
                    self.kept[modality].load_state_dict(self.branch(modality).state_dict())
                if self.factors[position] == 0 < before[position]:
                    self.branch(modality).load_state_dict(self.kept[modality].state_dict())
            self._found |= {
                f"rate_factor_{modality}": self.factors[position],
                f"smoothed_loss_{modality}": float(found["smoothed"][-1, position]),
                f"best_epoch_{modality}": float(best),
            }

    @property
    def finished(self) -> bool | None:
        """Tell whether every modality has stopped, and either that is to end the training or nothing is left to
        learn."""
        if any(self.factors):
            return None
        return self.hyperparameters.stop_when_all or not self.groups()[MULTI] or None

    # Warnings, state, diagnostics --------------------------------------------------------------------------------

    def on_fit_start(self, context: Context) -> None:
        if self.hyperparameters.uni_weight == 0 and self.source == "aux":
            context.warn(
                "mses: with uni_weight: 0 the heads of the modalities learn nothing, so their losses say nothing of "
                "overfitting; use fusion sum or late, or unimodal_source native or zero"
            )

    def get_extra_state(self) -> dict[str, Any]:
        return {"history": [list(row) for row in self.history], "factors": list(self.factors)}

    def set_extra_state(self, state: Any) -> None:
        self.history = [list(row) for row in state["history"]]
        self.factors = list(state["factors"])

    def diagnostics(self) -> dict[str, float]:
        """For each modality: factor of its learning rate in the next epoch, smoothed validation loss of its own
        prediction, epoch of the smallest such loss."""
        return dict(self._found)
