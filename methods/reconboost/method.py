"""The method ReconBoost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from data.base import Batch
from methods.base import MULTI, BestEpoch, Context, Method, MethodError, Outputs, Phase, Validation
from methods.reconboost.equations import boosting_loss, ensemble_logits, memory_loss
from methods.reconboost.hyperparameters import ReconBoostHyperparameters
from methods.reconboost.turns import HEAD, RATE, Turn, own_head, phases
from models import linear

HIDDEN = 256
"""Width of the shared head."""


class ReconBoost(Method[ReconBoostHyperparameters]):
    """Modalities take turns. In a stage the learner of one of them, its encoder and head, is trained while the others
    are frozen: a sample counts the less, the surer the others already are of its label, as in gradient boosting; and
    the learner stays near the one of the stage before. Then all learners are trained together for a while, with the
    factor of their sum. Of each modality only the newest learner is kept.

    Source: Hua et al., ICML 2024, by its abstract and official code; form kl and the residual are our reading of the
    paper. A modality joins the ensemble in its first turn. Published runs are up to thousands of epochs long, 4 and 4 a
    stage: T₁ = T₂ = 1 fits the budgets that are usual elsewhere.

    Departures from the official code: the distance to the learner before has a gradient; frozen encoders are in
    evaluation mode; in the first stage nothing is taken away; rectifying trains all learners whole; a budget that ends
    inside a turn ends with an epoch of all together. A modality that is absent has no part in the sum.

    Cost: an epoch in turn has forwards of all learners, and the backward of one; an epoch of all together is one of
    joint training: both count in the budget, which costs no more than joint training. Pretraining comes beside it, 1/M
    of a forward and backward each. Selected are ends of stages in which all modalities have had a turn, and the last
    epoch.

    State: who is in the ensemble, who has the shared head, and the best weights of a pretraining under way."""

    name = "reconboost"
    title = "Boosting modalities in turns"
    paper = "Hua, Xu, Bao, Yang, Huang: ReconBoost, ICML 2024"
    stages = ("objective", "optimization")
    capturable = True
    helpers = ("_extra_state",)
    members: Tensor
    sharing: Tensor

    @classmethod
    def phases_of(
        cls, hyperparameters: ReconBoostHyperparameters, modalities: tuple[str, ...], epochs: int
    ) -> list[Phase]:
        return phases(hyperparameters, modalities, epochs)

    def build(self) -> None:
        hp, dims, classes = self.hyperparameters, self.dims, self.num_classes
        if hp.shared_head and len(set(dims)) > 1:
            widths = ", ".join(f"{m} {dim}" for m, dim in zip(self.modalities, dims, strict=True))
            raise MethodError(
                f"reconboost: a shared head needs encoders of one width, they have {widths}; use shared_head: false"
            )
        shared = nn.Sequential(linear(dims[0], HIDDEN), nn.ReLU(), linear(HIDDEN, classes))
        self.shared_head = shared if hp.shared_head else None
        alone = hp.use_pretrain or not hp.shared_head
        self.heads = nn.ModuleDict({m: linear(d, classes) for m, d in zip(self.modalities, dims, strict=True) if alone})
        self.boost_rate = nn.Parameter(torch.tensor(hp.boost_rate))
        self.register_buffer("members", torch.ones(len(dims), dtype=torch.bool))
        self.register_buffer("sharing", torch.full((len(dims),), hp.shared_head and not hp.use_pretrain))
        self.best = BestEpoch()
        self._turn: dict[str, float] = {}

    def groups(self) -> Mapping[str, Sequence[nn.Module | nn.Parameter]]:
        if self.shared_head is None:
            branches: dict[str, list[nn.Module]] = {m: [e, self.heads[m]] for m, e in self.encoders.items()}
            return {**branches, RATE: [self.boost_rate]}
        alone = {own_head(m): [head] for m, head in self.heads.items()}
        return {
            **{m: [e] for m, e in self.encoders.items()},
            **alone,
            HEAD: [self.shared_head],
            RATE: [self.boost_rate],
        }

    # Turns -------------------------------------------------------------------------------------------------------

    @staticmethod
    def turn(context: Context) -> Turn:
        """Tell what the phase trains."""
        found: Turn = context.phase.info
        return found

    def on_phase_start(self, context: Context) -> None:
        """Let the modality whose turn it is join the ensemble, under the shared head."""
        turn = self.turn(context)
        if turn.part == "pretrain":
            return
        joined = {turn.modality, *turn.rest}
        self.members.copy_(torch.tensor([m in joined for m in self.modalities]))
        if self.shared_head is not None:
            self.sharing[self.modalities.index(turn.modality)] = True

    def on_epoch_start(self, context: Context) -> None:
        turn = self.turn(context)
        stage = {} if turn.part == "pretrain" else {"stage": turn.stage}
        self._turn = {"modality": self.modalities.index(turn.modality), **stage}

    def on_validation(self, validation: Validation, context: Context) -> None:
        """Keep the best of a pretraining's epochs, to which the learner goes back in the end."""
        turn = self.turn(context)
        if turn.part != "pretrain":
            return
        learner = nn.ModuleList([self.encoders[turn.modality], self.heads[turn.modality]])
        self.best.keep(learner, validation.scores[f"validation_accuracy_{turn.modality}"])
        if context.phase_epoch == context.phase.epochs:
            self.best.restore(learner)

    # Steps -------------------------------------------------------------------------------------------------------

    def head_of(self, modality: str, sharing: bool) -> nn.Module:
        """Give the head of a modality: its own, or that of all."""
        return self.shared_head if sharing and self.shared_head is not None else self.heads[modality]

    def sharing_in(self, turn: Turn, modality: str) -> bool:
        """Tell on the host whether a modality has the shared head: with pretraining only from its first turn on."""
        if turn.part == "pretrain" or not self.hyperparameters.shared_head:
            return False
        return not self.hyperparameters.use_pretrain or self.modalities.index(modality) <= turn.stage

    def learner(self, modality: str, batch: Batch, turn: Turn) -> Tensor:
        """Give the logits z [B, C] of one modality's learner."""
        return self.head_of(modality, self.sharing_in(turn, modality))(self.feature_of(modality, batch))

    def training_outputs(self, batch: Batch, context: Context) -> Outputs:
        """Give the logits of the learner whose turn it is, and of the rest of the ensemble: with gradients only where
        all learn together."""
        turn = self.turn(context)
        own = self.learner(turn.modality, batch, turn)
        with torch.set_grad_enabled(torch.is_grad_enabled() and turn.part == "rectify"):
            return Outputs([], own, [self.learner(m, batch, turn) for m in turn.rest])

    def loss(self, outputs: Outputs, batch: Batch, context: Context) -> Tensor:
        """Compute the loss of the ensemble, or of the learner whose turn it is beside the frozen ones."""
        hp, turn, rest = self.hyperparameters, self.turn(context), outputs.unimodal_logits
        if turn.part == "rectify":
            return F.cross_entropy(ensemble_logits([outputs.logits, *rest], self.boost_rate), batch.labels)
        if turn.part == "pretrain":
            return F.cross_entropy(outputs.logits, batch.labels)
        others = ensemble_logits(rest, self.boost_rate.detach()) if rest else None
        weights = hp.weight_agree, hp.weight_recon
        loss = boosting_loss(outputs.logits, others, batch.labels, *weights, hp.form, hp.class_mean)
        if others is not None:
            known = others.float().softmax(-1).gather(1, batch.labels.unsqueeze(1)).mean()
            context.log("known_to_others", known)
        if turn.previous is None:
            return loss
        memory = memory_loss(outputs.logits, rest[turn.rest.index(turn.previous)])
        context.log("memory", memory.detach())
        return loss + hp.alpha * memory

    # Inference ---------------------------------------------------------------------------------------------------

    def forward(self, batch: Batch) -> Outputs:
        features = self.encode(batch)
        logits = self.classify(features)
        return Outputs(features, logits[MULTI], [logits[m] for m in self.modalities])

    def classify(self, features: list[Tensor]) -> dict[str, Tensor]:
        return self.present_logits(features, self.modalities)

    def predict(self, batch: Batch, present: Sequence[str] | None = None) -> dict[str, Tensor]:
        return self.present_logits(
            self.present_features(batch, present), self.modalities if present is None else present
        )

    def present_logits(self, features: list[Tensor], present: Sequence[str]) -> dict[str, Tensor]:
        """Give the logits of every learner, and the sum of those that are ``present`` in the ensemble."""
        named = zip(self.modalities, features, self.sharing.tolist(), strict=True)
        unimodal = {m: self.head_of(m, shares)(f) for m, f, shares in named}
        joined = [inside and m in present for m, inside in zip(self.modalities, self.members.tolist(), strict=True)]
        kept = [z if inside else torch.zeros_like(z) for z, inside in zip(unimodal.values(), joined, strict=True)]
        return {MULTI: ensemble_logits(kept, self.boost_rate), **unimodal}

    # State, diagnostics ------------------------------------------------------------------------------------------

    def get_extra_state(self) -> dict[str, Any]:
        return self.best.state_dict()

    def set_extra_state(self, state: Any) -> None:
        self.best.load_state_dict(state)

    def diagnostics(self) -> dict[str, float]:
        """Place in the dataset of the modality that is trained, and number of its stage, both from 0 (a pretraining is
        no stage); factor of the sum; in turns the probability that the others give the true class, and the distance to
        the learner of the stage before."""
        return {**self._turn, "boost_rate": float(self.boost_rate.detach())}
