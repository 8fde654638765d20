"""G-Blend: weigh the losses of the joint and of each modality's classifier by how they generalise and overfit.

Wang, Tran, Feiszli, "What Makes Training Multi-Modal Classification Networks Hard?", CVPR 2020.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from data.base import Batch
from methods.base import MULTI, Context, DivergedError, MethodError, Outputs, Phase, mean_loss
from methods.base.fused import FusedMethod, build_fusion
from methods.base.fusion_hyperparameters import (
    FusionHyperparameters,
    check_fusion,
    check_late_is_joint,
    check_own_heads,
)
from methods.base.hyperparameters import Choice, Integer, Uniform, hyper, in_epochs
from models import unknown
from models.fusion.base import apply, heads

# Equations -----------------------------------------------------------------------------------------------------


def gap_changes(
    train_before: Tensor, val_before: Tensor, train_after: Tensor, val_after: Tensor
) -> tuple[Tensor, Tensor]:
    """Compute what each classifier gains, G = V(n0) - V(n1), and overfits, dO = (V - T)(n1) - (V - T)(n0), [K] each.

    T, V: mean losses [K] of K classifiers on what they are trained on and on what is held out, at both epochs."""
    return val_before - val_after, (val_after - train_after) - (val_before - train_before)


def ogr(train_before: Tensor, val_before: Tensor, train_after: Tensor, val_after: Tensor) -> Tensor:
    """Compute the ratio of overfitting to generalisation, |dO / G|, [K]; infinite where G is 0. Arguments: see
    :func:`gap_changes`."""
    gain, overfitting = gap_changes(train_before, val_before, train_after, val_after)
    return torch.where(gain == 0, torch.inf, (overfitting / gain).abs())


def gb_weights(
    train_before: Tensor,
    val_before: Tensor,
    train_after: Tensor,
    val_after: Tensor,
    negative: str = "clamp",
    eps: float = 1e-8,
) -> Tensor:
    """Compute the weights w_k = G_k / dO_k² / Z, [K], with sum 1; 1/K each where no classifier gains.

    negative: a loss on held-out data that has grown counts as no gain (clamp), or as one of its size (abs). eps:
    smallest dO². Arguments: see :func:`gap_changes`. Raises ValueError for another ``negative``, and for losses that
    are not finite."""
    if negative not in ("clamp", "abs"):
        raise unknown("negative", negative, ("clamp", "abs"))
    losses = torch.stack([train_before, val_before, train_after, val_after])
    if not losses.isfinite().all():
        raise ValueError(f"losses must be finite, got {losses.tolist()}")
    gain, overfitting = gap_changes(*losses)
    raw = (gain.clamp_min(0) if negative == "clamp" else gain.abs()) / overfitting.square().clamp_min(eps)
    total = raw.sum()
    return torch.where(total > 0, raw / total, torch.full_like(raw, 1 / len(raw)))


def needs_estimate(epoch: int, mode: str, super_epoch: int) -> bool:
    """Tell whether weights are estimated before an epoch, counted from 0: before the first (offline), or before every
    ``super_epoch``-th (online). Raises ValueError for another mode."""
    if mode not in ("offline", "online"):
        raise unknown("mode", mode, ("offline", "online"))
    return epoch == 0 if mode == "offline" else epoch % super_epoch == 0


def blended_loss(losses: Tensor, weights: Tensor) -> Tensor:
    """Compute Σ_k w_k L_k, 0-d, of losses [K] and of weights [K], which get no gradient."""
    return (losses * weights.detach()).sum()


# Method --------------------------------------------------------------------------------------------------------


class CopiedNetwork(nn.Module):
    """Copies of encoders, heads and fusion, of which one classifier at a time is trained to estimate its weight."""

    def __init__(self, *network: nn.Module) -> None:
        super().__init__()
        self.encoders: Any
        self.heads: Any
        self.fusion: Any
        self.encoders, self.heads, self.fusion = (copy.deepcopy(part) for part in network)

    def take(self, *network: nn.Module) -> None:
        """Begin anew with the network's weights."""
        for own, part in zip((self.encoders, self.heads, self.fusion), network, strict=True):
            own.load_state_dict(part.state_dict())

    def logits(self, name: str, batch: Batch) -> Tensor:
        """Give the logits [B, C] of the modality called ``name`` alone, or of the joint classifier (multi)."""
        wanted = list(self.encoders) if name == MULTI else [name]
        features = [batch.zero_absent(m, self.encoders[m](batch.inputs[m])) for m in wanted]
        if name == MULTI:
            return self.fusion.fuse(features, batch.presence(wanted) if batch.present else None).logits
        return self.heads[list(self.encoders).index(name)](features[0])


class GBlendHyperparameters(FusionHyperparameters):
    mode: Literal["online", "offline"] = hyper("online", search=Choice(("online", "offline")))
    """weights estimated anew before every super-epoch, or once before training"""
    super_epoch: float = hyper(
        10, symbol="n", above=0.0, search=Integer(2, 20), only_if=("mode", "online"), epochs=True
    )
    """epochs for which estimated weights hold, and over which they are estimated"""
    holdout: float = hyper(0.1, above=0.0, high=0.5, search=Uniform(0.05, 0.2))
    """share of the training samples on which generalisation is measured"""
    fixed_weights: list[Annotated[float, Field(ge=0)]] | None = hyper(None, symbol="w")
    """weight of each modality's loss, in the dataset's order, and of the joint one, as they are (null: estimated)"""
    eps: float = hyper(1e-8, above=0.0)
    """smallest squared growth of overfitting"""

    # Only to weigh as re-implementations do.
    negative: Literal["clamp", "abs"] = hyper("clamp")
    """a classifier that gets worse on held-out samples counts for nothing, or as if it had got better"""


class GBlend(FusedMethod[GBlendHyperparameters]):
    """Modalities overfit and generalise at different rates, so one loss on the joint prediction is good for none of
    them. Each has a classifier of its own beside the joint one. To find what their losses should weigh, a copy of each
    classifier with its encoders is trained alone for some epochs: the more its loss on held-out samples falls, and the
    less it falls behind that on training samples, the larger its weight. With these the network is trained.

    Source: Wang, Tran, Feiszli, CVPR 2020: weights by Proposition 1 as measured at two epochs. They sum to 1, as all
    that the paper prints, where its constant would make the sum 2.

    Departures from the official code: it holds training with given weights alone (``fixed_weights``). How to take a
    classifier that gets worse is not said in the paper: here it gets no weight, in re-implementations that of its
    distance (``negative: abs``). Losses are means over all samples, before and after the epochs of an estimate; online
    estimates are trained at the rate that the run has reached. Online, the samples held out are never trained on; else
    the network is trained on all.

    A weight of 0 takes a classifier's gradient away, but not its momentum: under SGD the branch runs on unbraked until
    the next estimate.

    Cost: a step of the budget has one forward and one backward, as joint training, and M linear heads. Estimates train
    as many epochs as the budget has: two more forwards and backwards, one through all encoders together and one
    through each alone, so that a run costs three times joint training; measuring adds four forwards an estimate. A copy
    of the network is held. With ``fixed_weights`` all this falls away.

    State: the weights, the copy, the losses measured so far, and what the last estimate found."""

    name = "gblend"
    title = "Gradient blending"
    paper = "Wang, Tran, Feiszli: What Makes Training Multi-Modal Classification Networks Hard?, CVPR 2020"
    stages = ("objective",)
    capturable = True
    computes_with_features = True
    helpers = ("copied", "weights", "measured", "changes")
    weights: Tensor
    """Of the losses, [K], the joint one last."""
    measured: Tensor
    """Mean losses of the copies, float64 [4, K]: of training and held-out samples before an estimate, and after it."""
    changes: Tensor
    """Gain and growth of overfitting, float64 [2, K], of the last estimate that has ended; NaN before there is one."""

    @classmethod
    def check(cls, hyperparameters: GBlendHyperparameters, modalities: tuple[str, ...]) -> None:
        super().check(hyperparameters, modalities)
        check_fusion(hyperparameters, modalities)
        check_late_is_joint(cls.name, hyperparameters)
        check_own_heads(cls.name, hyperparameters)
        weights, wanted = hyperparameters.fixed_weights, [*modalities, MULTI]
        if weights is not None and (len(weights) != len(wanted) or not any(weights)):
            raise MethodError(
                f"gblend: fixed_weights needs one for each of {', '.join(wanted)}, not all 0; got {weights}"
            )

    @classmethod
    def phases_of(cls, hyperparameters: GBlendHyperparameters, modalities: tuple[str, ...], epochs: int) -> list[Phase]:
        hp, share = hyperparameters, 1 / len(modalities)
        if hp.fixed_weights is not None:
            return [Phase("training", epochs)]
        super_epoch = in_epochs(hp.super_epoch, epochs)
        starts = [epoch for epoch in range(epochs) if needs_estimate(epoch, hp.mode, super_epoch)]
        online: dict[str, Any] = {"schedule": "training", "holds_rate": True} if hp.mode == "online" else {}
        aside: dict[str, Any] = {"selectable": "none", "budget": False, "validate": False, **online}
        found = []
        for start, end in zip(starts, [*starts[1:], epochs], strict=True):
            at = f", epochs {start + 1} to {end}"
            for m in modalities:
                groups = {f"copied {m}": 1.0, f"copied head of {m}": 1.0}
                found.append(Phase(f"estimate {m}{at}", end - start, groups, passes=share, info=m, **aside))
            groups = {**{f"copied {m}": 1.0 for m in modalities}, "copied fusion": 1.0}
            found.append(Phase(f"estimate {MULTI}{at}", end - start, groups, info=MULTI, **aside))
            found.append(Phase(f"training{at}", end - start, {"network": 1.0}, optimizer="training"))
        return found

    def build(self) -> None:
        hp, count = self.hyperparameters, len(self.dims) + 1
        self.source = None
        own = hp.model_copy(update={"unimodal_source": None})
        self.fusion = build_fusion(own, self.modalities, self.dims, self.num_classes)
        self.heads = heads(self.dims, self.num_classes)
        self.register_buffer("weights", torch.tensor(hp.fixed_weights or [1 / count] * count))
        self.register_buffer("measured", torch.zeros(4, count, dtype=torch.float64))
        self.register_buffer("changes", torch.full((2, count), torch.nan, dtype=torch.float64))
        self.copied = CopiedNetwork(self.encoders, self.heads, self.fusion) if hp.fixed_weights is None else None

    def groups(self) -> Mapping[str, Sequence[nn.Module | nn.Parameter]]:
        network = {"network": [self.encoders, self.heads, self.fusion]}
        if self.copied is None:
            return network
        encoders = {f"copied {m}": [encoder] for m, encoder in self.copied.encoders.items()}
        own = {f"copied head of {m}": [head] for m, head in zip(self.modalities, self.copied.heads, strict=True)}
        return {**network, **encoders, **own, "copied fusion": [self.copied.fusion]}

    def on_fit_start(self, context: Context) -> None:
        if self.holdout and not len(context.held_out):
            raise MethodError(f"gblend: a share of {self.holdout:g} of each class holds out no sample; raise holdout")

    # Estimates ---------------------------------------------------------------------------------------------------

    def on_phase_start(self, context: Context) -> None:
        """Begin an estimate with a fresh copy, or training with the weights that were estimated."""
        if self.copied is None:
            return
        if context.phase.info is not None:
            self.copied.take(self.encoders, self.heads, self.fusion)
            self.measure(self.copied, context, after=False)
            return
        if not self.measured.isfinite().all():
            raise DivergedError("a classifier whose weight is estimated has diverged: its loss is not finite")
        hp, (train_before, val_before, train_after, val_after) = self.hyperparameters, self.measured
        found = gb_weights(train_before, val_before, train_after, val_after, hp.negative, hp.eps)
        self.weights.copy_(found)
        self.changes.copy_(torch.stack(gap_changes(*self.measured)))

    def on_epoch_end(self, context: Context) -> None:
        if self.copied is not None and context.phase.info is not None and context.phase_epoch == context.phase.epochs:
            self.measure(self.copied, context, after=True)

    def measure(self, copied: CopiedNetwork, context: Context, after: bool) -> None:
        """Take down the mean loss of a copied classifier on the samples that train it, and on those held out."""
        name, passes = context.phase.info, context.phase.passes
        for row, index in enumerate((None, context.held_out), 2 * after):
            batches = context.train_batches(index=index, passes=passes)
            found = mean_loss(copied, partial(copied.logits, name), batches, context)
            self.measured[row, [*self.modalities, MULTI].index(name)] = found

    # Training ----------------------------------------------------------------------------------------------------

    def sampler(self, context: Context) -> Tensor:
        trains_on_all = context.phase.info is None and self.hyperparameters.mode == "offline"
        return self.shuffled(context, with_held_out=trains_on_all)

    @property
    def holdout(self) -> float:
        return self.hyperparameters.holdout if self.hyperparameters.fixed_weights is None else 0.0

    def training_outputs(self, batch: Batch, context: Context) -> Outputs:
        """Give what the blended loss needs, or in an estimate the logits of the copied classifier in training."""
        if self.copied is None or context.phase.info is None:
            return super().training_outputs(batch, context)
        return Outputs([], self.copied.logits(context.phase.info, batch))

    def unimodal_logits(self, features: list[Tensor]) -> list[Tensor]:
        return apply(self.heads, features)

    def loss(self, outputs: Outputs, batch: Batch, context: Context) -> Tensor:
        """Compute the blended loss, or in an estimate that of the copied classifier."""
        joint = F.cross_entropy(outputs.logits, batch.labels)
        if context.phase.info is not None:
            return joint
        own = [F.cross_entropy(logits, batch.labels) for logits in outputs.unimodal_logits]
        return blended_loss(torch.stack([*own, joint]), self.weights)

    def diagnostics(self) -> dict[str, float]:
        """For each modality's classifier and the joint one (multi), from the first estimate on: the weight of its loss
        and, of the last estimate that has ended, its gain on held-out samples and the growth of its overfitting, whose
        ratio is the paper's OGR."""
        if self.copied is None or self.changes.isnan().any():
            return {}
        gain, overfitting = self.changes
        names = [*self.modalities, MULTI]
        rows = {"weight": self.weights, "gain": gain, "overfitting": overfitting}
        return {f"{row}_{names[k]}": value for row, found in rows.items() for k, value in enumerate(found.tolist())}
