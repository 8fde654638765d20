"""DOMFN: modalities are fused only where their predictions do not diverge too much.

Yang et al., "DOMFN: A Divergence-Orientated Multi-Modal Fusion Network for Resume Assessment", ACM Multimedia 2022.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from data.base import Batch
from methods.base import MULTI, Context, Method, MethodError, Outputs, Phase
from methods.base.hyperparameters import Choice, Hyperparameters, LogUniform, Uniform, hyper, in_epochs
from models import linear, unknown
from models.fusion.base import apply, heads

HIDDEN = 64
"""Width of the fused head."""

# Equations -----------------------------------------------------------------------------------------------------


def penalties(uni_probs: list[Tensor], multi_probs: Tensor | None, ref: str = "multi") -> Tensor:
    """Compute e_m = max_c (p_m[c] - q[c])², M probabilities [B, C] and the fused ones [B, C] -> [M, B] in [0, 1].

    ref: the reference q: multi, the fused probabilities; mean, the mean over modalities, for which the fused ones may
    be None. Raises ValueError for another one, or where the reference is missing."""
    return _divergences(uni_probs, _reference(uni_probs, multi_probs, ref))


def _reference(uni_probs: list[Tensor], multi_probs: Tensor | None, ref: str) -> Tensor:
    if ref == "mean":
        return torch.stack(uni_probs).mean(0)
    if ref != "multi":
        raise unknown("ref", ref, ("multi", "mean"))
    if multi_probs is None:
        raise ValueError("with ref multi the fused probabilities are needed")
    return multi_probs


def _divergences(uni_probs: list[Tensor], reference: Tensor) -> Tensor:
    return (torch.stack(uni_probs) - reference).square().amax(-1)


def fuse_gate(penalty: Tensor, tau: float, gamma: float) -> Tensor:
    """Open the gate of the samples of which e_m / τ < γ for every modality: [M, B] -> bool [B]."""
    return (penalty / tau < gamma).all(0)


def amended_loss(ce: Tensor, penalty: Tensor, eta: float) -> Tensor:
    """Compute a = l² / 2 - η e, elementwise."""
    return ce.square() / 2 - eta * penalty


def select_prediction(uni_probs: list[Tensor], multi_probs: Tensor, gate: Tensor) -> Tensor:
    """Take the fused row of each sample whose gate is open, else that of the modality with the largest probability
    (the first of equals): M of [B, C], [B, C] and bool [B] -> [B, C]."""
    return _rows([*uni_probs, multi_probs], _choices(uni_probs, gate))


def _choices(uni_probs: list[Tensor], gate: Tensor) -> Tensor:
    """Tell for each sample which prediction is taken, int64 [B]: the number of a modality, or M for the fused one."""
    certainties = torch.stack([p.amax(-1) for p in uni_probs])
    numbers = torch.arange(len(uni_probs), device=gate.device).unsqueeze(1)
    first = torch.where(certainties == certainties.amax(0), numbers, len(uni_probs)).amin(0)
    return torch.where(gate, len(uni_probs), first)


def _rows(predictions: list[Tensor], choices: Tensor) -> Tensor:
    return torch.stack(predictions)[choices, torch.arange(len(choices), device=choices.device)]


def class_probabilities(logits: Tensor, activation: str) -> Tensor:
    """Turn logits [B, C] into what the gate compares, single precision at least: softmax or sigmoid. Raises ValueError
    for another activation."""
    z = logits.to(torch.promote_types(logits.dtype, torch.float32))
    if activation == "softmax":
        return z.softmax(-1)
    if activation == "sigmoid":
        return z.sigmoid()
    raise unknown("activation", activation, ("softmax", "sigmoid"))


def cross_entropies(logits: Tensor, target: Tensor, activation: str) -> Tensor:
    """Compute the cross-entropy of each sample, [B, C] and int64 [B] -> [B]; for sigmoid, as in the official code, that
    of the sigmoid outputs taken as logits."""
    return F.cross_entropy(
        class_probabilities(logits, activation) if activation == "sigmoid" else logits, target, reduction="none"
    )


def domfn_loss(
    uni_logits: list[Tensor],
    multi_logits: Tensor,
    target: Tensor,
    tau: float = 0.5,
    gamma: float = 0.8,
    eta: float = 0.5,
    activation: str = "softmax",
    ref: str = "multi",
    closed: str = "amended",
) -> tuple[Tensor, Tensor]:
    """Compute the loss of a batch, 0-d, and its gates, bool [B], of M logits [B, C], the fused ones and int64 [B].

    Open: Σ_m a_m + Σ_m l_m + l_*. closed: amended, Σ_m a_m; or ce, Σ_m l_m; there no gradient reaches the reference,
    so none the fused head. Raises ValueError for words that do not exist."""
    if closed not in ("amended", "ce"):
        raise unknown("closed", closed, ("amended", "ce"))
    uni_probs = [class_probabilities(z, activation) for z in uni_logits]
    reference = _reference(uni_probs, class_probabilities(multi_logits, activation), ref)
    penalty = _divergences(uni_probs, reference)
    gate = fuse_gate(penalty.detach(), tau, gamma)
    penalty = torch.where(gate, penalty, _divergences(uni_probs, reference.detach()))
    ce = torch.stack([cross_entropies(z, target, activation) for z in uni_logits])
    amended = amended_loss(ce, penalty, eta)
    fused = (amended + ce).sum(0) + cross_entropies(multi_logits, target, activation)
    alone = (amended if closed == "amended" else ce).sum(0)
    return torch.where(gate, fused, alone).mean(), gate


# Method --------------------------------------------------------------------------------------------------------


class DOMFNHyperparameters(Hyperparameters):
    gamma: float = hyper(0.8, symbol="γ", low=0.0, search=Uniform(0.1, 1.0))
    """divergence over τ from which on a sample is not fused"""
    tau: float = hyper(0.5, symbol="τ", above=0.0)
    """unit of the divergences (only τ γ matters; published: 0.2 and 0.5)"""
    eta: float = hyper(0.5, symbol="η", search=Uniform(0.0, 1.0))
    """weight of the divergence in the loss, which rewards it (negative: penalises it)"""
    fusion: Literal["concat", "mean", "max"] = hyper("concat", search=Choice(("concat", "mean", "max")))
    """what the fused head reads: features side by side, or their mean or maximum"""
    pretrain_epochs: float = hyper(0.15, low=0.0, search=Uniform(0.0, 0.3), epochs=True)
    """first epochs of the budget, at most half of it, in which modalities learn alone (published: 15 of 100)"""
    ft_lr_ratio: float = hyper(0.05, above=0.0, search=LogUniform(0.005, 1.0))
    """factor of the learning rate of encoders and their heads after these"""
    multi_lr_ratio: float = hyper(0.1, above=0.0, search=LogUniform(0.01, 1.0))
    """factor of the learning rate of the fused head"""
    ref: Literal["multi", "mean"] = hyper("multi", search=Choice(("multi", "mean")))
    """what predictions diverge from: the fused one, or (official code for three modalities) the modalities' mean"""
    closed: Literal["amended", "ce"] = hyper("amended", search=Choice(("amended", "ce")))
    """loss of samples that are not fused: amended, or (official code for three modalities) cross-entropies"""

    # Only to train as the official code does.
    activation: Literal["softmax", "sigmoid"] = hyper("softmax", search=Choice(("softmax", "sigmoid")))
    """what makes predictions of logits (official code: sigmoid, taken as logits by the cross-entropy)"""


class DOMFN(Method[DOMFNHyperparameters]):
    """Fusing helps where the modalities agree. For each sample the largest squared difference between a modality's
    prediction and a reference is looked at: where it is small for every modality the gate is open, the sample trains
    all networks and the fused prediction is given. Where the gate is closed, the sample trains the modalities alone,
    and the surest of them predicts. In the first epochs the modalities learn alone; after these at a small rate.

    Source: Yang et al., ACM Multimedia 2022, by its abstract and official code; the sign of the divergence in the loss
    is the code's. Three and more modalities as in the code for three, but with the defaults of the code for two.

    Departures from the official code: gates of a batch, where it steps sample by sample; softmax and the cross-entropy
    of logits (``activation: sigmoid`` is the code's); pretraining is part of the budget; closed samples never reach the
    fused head through the reference. An absent modality neither closes the gate nor votes. Features are those of the
    run's encoders.

    Cost: one forward and one backward a step, as joint training, with a head a modality. The fused head learns in the
    epochs after pretraining alone, and these alone can be selected.

    State: whether the modalities are still being pretrained."""

    name = "domfn"
    title = "Divergence-orientated multi-modal fusion network"
    paper = "Yang et al.: DOMFN: A Divergence-Orientated Multi-Modal Fusion Network, ACM MM 2022"
    stages = ("feed-forward", "objective")
    capturable = True
    pretraining: Tensor

    @classmethod
    def phases_of(cls, hyperparameters: DOMFNHyperparameters, modalities: tuple[str, ...], epochs: int) -> list[Phase]:
        hp = hyperparameters
        first = min(in_epochs(hp.pretrain_epochs, epochs), epochs // 2)
        branches = {**dict.fromkeys(modalities, hp.ft_lr_ratio), MULTI: hp.multi_lr_ratio}
        return [
            Phase("pretraining", first, dict.fromkeys(modalities, 1.0), optimizer="run", selectable="none"),
            Phase("fusion", epochs - first, branches, optimizer="run"),
        ]

    def build(self) -> None:
        dims, how = self.dims, self.hyperparameters.fusion
        if how != "concat" and len(set(dims)) > 1:
            widths = ", ".join(f"{m} {dim}" for m, dim in zip(self.modalities, dims, strict=True))
            raise MethodError(f"domfn: fusion {how} needs encoders of one width; they have {widths}; use concat")
        self.heads = heads(dims, self.num_classes)
        width = sum(dims) if how == "concat" else dims[0]
        self.fused_head = nn.Sequential(linear(width, HIDDEN), nn.ReLU(), linear(HIDDEN, self.num_classes))
        self.register_buffer("pretraining", torch.tensor(False))

    def groups(self) -> Mapping[str, Sequence[nn.Module | nn.Parameter]]:
        branches = zip(self.encoders.items(), self.heads, strict=True)
        return {**{m: [encoder, head] for (m, encoder), head in branches}, MULTI: [self.fused_head]}

    def on_fit_start(self, context: Context) -> None:
        wanted = in_epochs(self.hyperparameters.pretrain_epochs, self.epochs)
        if wanted > self.epochs // 2:
            context.warn(f"domfn: of {wanted} pretraining epochs only half of the budget, {self.epochs // 2}, are made")
        if len(self.modalities) > 2:
            context.warn(
                "domfn: the paper has two modalities; for three its official code has ref: mean and closed: ce"
            )

    def on_phase_start(self, context: Context) -> None:
        self.pretraining.fill_(context.phase.name == "pretraining")

    # Training ----------------------------------------------------------------------------------------------------

    def forward(self, batch: Batch) -> Outputs:
        features = self.encode(batch)
        return Outputs(features, self.fused_logits(features), apply(self.heads, features))

    def fused_logits(self, features: list[Tensor]) -> Tensor:
        """Give the logits [B, C] of the fused head."""
        how = self.hyperparameters.fusion
        if how == "concat":
            return self.fused_head(torch.cat(features, 1))
        joined = torch.stack(features)
        return self.fused_head(joined.mean(0) if how == "mean" else joined.amax(0))

    def loss(self, outputs: Outputs, batch: Batch, context: Context) -> Tensor:
        """Compute the cross-entropies of the modalities in pretraining, then the gated loss."""
        hp, own = self.hyperparameters, outputs.unimodal_logits
        if context.phase.name == "pretraining":
            return torch.stack([cross_entropies(z, batch.labels, hp.activation) for z in own]).sum(0).mean()
        loss, gate = domfn_loss(
            own, outputs.logits, batch.labels, hp.tau, hp.gamma, hp.eta, hp.activation, hp.ref, hp.closed
        )
        context.log("open", gate.float().mean())
        return loss

    # Inference ---------------------------------------------------------------------------------------------------

    def classify(self, features: list[Tensor]) -> dict[str, Tensor]:
        return self.present_logits(features, self.modalities)

    def predict(self, batch: Batch, present: Sequence[str] | None = None) -> dict[str, Tensor]:
        return self.present_logits(
            self.present_features(batch, present), self.modalities if present is None else present
        )

    def present_logits(self, features: list[Tensor], present: Sequence[str]) -> dict[str, Tensor]:
        """Give the logits of each modality, and for each sample those of the fused head, or of the surest modality of
        those that are ``present``: while pretraining always."""
        hp = self.hyperparameters
        unimodal = dict(zip(self.modalities, apply(self.heads, features), strict=True))
        voting = [z for m, z in unimodal.items() if m in present]
        fused = self.fused_logits(features)
        probs = [class_probabilities(z, hp.activation) for z in voting]
        penalty = penalties(probs, class_probabilities(fused, hp.activation), hp.ref)
        gate = fuse_gate(penalty, hp.tau, hp.gamma) & ~self.pretraining
        return {MULTI: _rows([*voting, fused], _choices(probs, gate)), **unimodal}

    def diagnostics(self) -> dict[str, float]:
        """Share of the training samples whose gate was open."""
        return super().diagnostics()
