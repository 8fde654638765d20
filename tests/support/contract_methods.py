"""Small methods, one for each service that the training loop offers, in the manner of the papers that need it."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from data.base import Batch
from methods.base import MULTI, Context, Hyperparameters, Method, Outputs, Phase, Validation
from models import linear


class Heads(Method[Hyperparameters]):
    """An encoder and a head a modality; logits are added up. One parameter group a modality."""

    name = "heads"
    title = paper = "for tests"
    stages = ("optimization",)

    def build(self) -> None:
        widths = zip(self.modalities, self.dims, strict=True)
        self.heads = nn.ModuleDict({m: linear(width, self.num_classes) for m, width in widths})

    def groups(self) -> dict[str, list[nn.Module | nn.Parameter]]:
        return {m: [self.encoders[m], self.heads[m]] for m in self.modalities}

    def classify(self, features: list[Tensor]) -> dict[str, Tensor]:
        logits = {m: head(f) for (m, head), f in zip(self.heads.items(), features, strict=True)}
        return {MULTI: torch.stack(list(logits.values())).sum(0), **logits}

    def loss(self, outputs: Outputs, batch: Batch, context: Context) -> Tensor:
        return torch.stack([F.cross_entropy(logits, batch.labels) for logits in outputs.unimodal_logits]).sum()


class Scaled(Heads):
    """Each loss has a learned scale, which the loss of no sample must not reach."""

    name = "scaled"

    def build(self) -> None:
        super().build()
        self.scales = nn.Parameter(torch.zeros(len(self.modalities)))

    def groups(self) -> dict[str, list[nn.Module | nn.Parameter]]:
        return {**super().groups(), "scales": [self.scales]}

    def loss(self, outputs: Outputs, batch: Batch, context: Context) -> Tensor:
        losses = torch.stack([F.cross_entropy(logits, batch.labels) for logits in outputs.unimodal_logits])
        return ((-self.scales).exp() * losses + self.scales).sum()


class Stages(Heads):
    """Modalities are trained one after the other by optimizers that go on, then all of them together (ReconBoost)."""

    name = "stages"

    @classmethod
    def phases_of(cls, hyperparameters: Hyperparameters, modalities: tuple[str, ...], epochs: int) -> list[Phase]:
        found = []
        for stage in range(epochs // 2):
            m = modalities[stage % len(modalities)]
            found.append(Phase(f"boost {stage}", 1, {m: 0.5}, optimizer=m, schedule="run", selectable="none"))
            everything = dict.fromkeys(modalities, 1.0)
            last = "last" if stage else "none"
            found.append(
                Phase(f"rectify {stage}", 1, everything, optimizer="all", schedule="run", selectable=last, passes=2.0)
            )
        return found


class Teachers(Heads):
    """A copy of each branch is trained beside the budget; the best of its epochs teaches the network (UMT)."""

    name = "teachers"
    helpers = ("teachers", "kept", "best")
    best: Tensor

    @classmethod
    def phases_of(cls, hyperparameters: Hyperparameters, modalities: tuple[str, ...], epochs: int) -> list[Phase]:
        share = 1 / len(modalities)
        own = [
            Phase(f"teacher {m}", 2, {f"teacher {m}": 1.0}, selectable="none", budget=False, passes=share, info=m)
            for m in modalities
        ]
        return [*own, Phase("student", epochs, {"student": 1.0}, passes=2.0)]

    def build(self) -> None:
        super().build()
        branches = {m: nn.Sequential(self.encoders[m], self.heads[m]) for m in self.modalities}
        self.teachers = nn.ModuleDict({m: copy.deepcopy(branch) for m, branch in branches.items()})
        self.kept = nn.ModuleDict({m: copy.deepcopy(branch) for m, branch in branches.items()})
        self.register_buffer("best", torch.full((len(self.modalities),), -1.0))
        self.studying = False

    def groups(self) -> dict[str, list[nn.Module | nn.Parameter]]:
        teachers = {f"teacher {m}": [teacher] for m, teacher in self.teachers.items()}
        return {**teachers, "student": [self.encoders, self.heads], "kept": [self.kept]}

    def on_phase_start(self, context: Context) -> None:
        self.studying = context.phase.name == "student"

    def predict(self, batch: Batch, present: Any = None) -> dict[str, Tensor]:
        if self.studying:
            return super().predict(batch, present)
        logits = {m: teacher(batch.inputs[m]) for m, teacher in self.teachers.items()}
        return {MULTI: torch.stack(list(logits.values())).sum(0), **logits}

    def training_step(self, batch: Batch, context: Context) -> Tensor:
        if self.studying:
            return super().training_step(batch, context)
        context.zero_grad()
        m = context.phase.info
        loss = F.cross_entropy(self.teachers[m](batch.inputs[m]), batch.labels)
        context.backward(loss)
        context.optimizer_step()
        return loss.detach()

    def loss(self, outputs: Outputs, batch: Batch, context: Context) -> Tensor:
        taught = [
            F.mse_loss(logits, self.kept[m](batch.inputs[m]).detach())
            for m, logits in zip(self.modalities, outputs.unimodal_logits, strict=True)
        ]
        return super().loss(outputs, batch, context) + torch.stack(taught).sum()

    def on_validation(self, validation: Validation, context: Context) -> None:
        if self.studying:
            return
        m = context.phase.info
        accuracy, place = validation.scores[f"validation_accuracy_{m}"], self.modalities.index(m)
        if accuracy > self.best[place]:
            self.best[place] = accuracy
            self.kept[m].load_state_dict(self.teachers[m].state_dict())

    def get_extra_state(self) -> bool:
        return self.studying

    def set_extra_state(self, state: Any) -> None:
        self.studying = state


class Stopping(Heads):
    """A branch whose own validation loss rises learns at a tenth, then not at all; the best is put back (MSES)."""

    name = "stopping"
    helpers = ("kept",)

    def build(self) -> None:
        super().build()
        self.kept = nn.ModuleDict(
            {m: copy.deepcopy(nn.ModuleList([self.encoders[m], self.heads[m]])) for m in self.modalities}
        )
        self.lowest = dict.fromkeys(self.modalities, float("inf"))
        self.rates: dict[str, float] = dict.fromkeys(self.modalities, 1.0)

    def loss(self, outputs: Outputs, batch: Batch, context: Context) -> Tensor:
        learning = [m for m in self.modalities if context.rates.get(m, 1.0) > 0]
        logits = dict(zip(self.modalities, outputs.unimodal_logits, strict=True))
        return torch.stack([F.cross_entropy(logits[m], batch.labels) for m in learning]).sum()

    def on_validation(self, validation: Validation, context: Context) -> None:
        for m in self.modalities:
            own = nn.ModuleList([self.encoders[m], self.heads[m]])
            if validation.losses[m] < self.lowest[m]:
                self.lowest[m] = validation.losses[m]
                self.kept[m].load_state_dict(own.state_dict())
            elif self.rates[m] > 0:
                self.rates[m] = context.rates[m] = 0.1 if self.rates[m] == 1 else 0.0
                if self.rates[m] == 0:
                    own.load_state_dict(self.kept[m].state_dict())

    @property
    def finished(self) -> bool | None:
        return True if not any(self.rates.values()) else None

    def get_extra_state(self) -> list[dict[str, float]]:
        return [dict(self.lowest), dict(self.rates)]

    def set_extra_state(self, state: Any) -> None:
        self.lowest, self.rates = map(dict, state)


class Revalued(Heads):
    """Samples that are hard for a modality are shown again with the others blank; epochs have any length (SMV)."""

    name = "revalued"

    def sampler(self, context: Context) -> tuple[Tensor, Tensor]:
        order = self.shuffled(context)
        if context.epoch == 2:
            order = order[: context.batch_size + 1]
        if context.epoch == 3:
            order = order[:0]
        again = order[: len(order) // 3]
        tags = torch.cat([torch.full((len(order),), -1), torch.arange(len(again)) % len(self.modalities)])
        mixed = torch.randperm(len(tags), generator=context.generator("mix", context.epoch))
        return torch.cat([order, again])[mixed], tags[mixed]

    def forward(self, batch: Batch) -> Outputs:
        assert batch.tag is not None
        shown = {}
        for k, (m, x) in enumerate(batch.inputs.items()):
            keep = (batch.tag == -1) | (batch.tag == k)
            shown[m] = torch.where(keep.view(-1, *[1] * (x.ndim - 1)), x, torch.zeros_like(x))
        return super().forward(Batch(shown, batch.labels, batch.index))


class BestMembers(Heads):
    """Branches trained apart; the prediction is that of each one's best epoch so far (an ensemble)."""

    name = "best-members"

    def build(self) -> None:
        super().build()
        self.kept = nn.ModuleDict(
            {m: copy.deepcopy(nn.ModuleList([self.encoders[m], self.heads[m]])) for m in self.modalities}
        )
        self.best: dict[str, float] = dict.fromkeys(self.modalities, -1.0)
        self.gained = False
        self.logits: dict[str, Tensor] = {}

    def amend(self, predictions: dict[str, Tensor], labels: Tensor, context: Context) -> dict[str, Tensor]:
        self.gained = False
        for m in self.modalities:
            accuracy = float((predictions[m].argmax(1) == labels).float().mean())
            if accuracy > self.best[m]:
                self.best[m], self.gained, self.logits[m] = accuracy, True, predictions[m]
                own = nn.ModuleList([self.encoders[m], self.heads[m]])
                self.kept[m].load_state_dict(own.state_dict())
        return {MULTI: torch.stack([self.logits[m] for m in self.modalities]).sum(0), **self.logits}

    @property
    def finished(self) -> bool | None:
        return False if self.gained else None

    def inference_state(self) -> dict[str, Any]:
        state = self.state_dict()
        for m in self.modalities:
            for name, value in self.kept[m].state_dict().items():
                part, rest = name.split(".", 1)
                state[f"{('encoders', 'heads')[int(part)]}.{m}.{rest}"] = value
        return state

    def get_extra_state(self) -> list[Any]:
        return [dict(self.best), self.gained, dict(self.logits)]

    def set_extra_state(self, state: Any) -> None:
        best, self.gained, logits = state
        self.best, self.logits = dict(best), dict(logits)


class Estimates(Heads):
    """Before each half of the budget a copy of the network is trained beside it, at the rate that the run has reached;
    what it gains on samples held out weighs the losses (Gradient Blending)."""

    name = "estimates"
    helpers = ("scratch",)
    weights: Tensor
    holdout = 0.2

    @classmethod
    def phases_of(cls, hyperparameters: Hyperparameters, modalities: tuple[str, ...], epochs: int) -> list[Phase]:
        found = []
        for part in range(2):
            aside: dict[str, Any] = {"selectable": "none", "budget": False, "validate": False, "holds_rate": True}
            found.append(Phase(f"estimate {part}", 2, {"scratch": 1.0}, schedule="train", **aside))
            found.append(Phase(f"train {part}", epochs // 2, {"net": 1.0}, optimizer="train"))
        return found

    def build(self) -> None:
        super().build()
        self.scratch = copy.deepcopy(nn.ModuleList([self.encoders, self.heads]))
        self.register_buffer("weights", torch.ones(len(self.modalities)))
        self.register_buffer("before", torch.zeros(len(self.modalities)))

    def groups(self) -> dict[str, list[nn.Module | nn.Parameter]]:
        return {"net": [self.encoders, self.heads], "scratch": [self.scratch]}

    def on_phase_start(self, context: Context) -> None:
        if not context.phase.budget:
            own = nn.ModuleList([self.encoders, self.heads])
            self.scratch.load_state_dict(own.state_dict())
            self.before = self._held_out_losses(context)

    def on_epoch_end(self, context: Context) -> None:
        if not context.phase.budget and context.phase_epoch == context.phase.epochs:
            gain = (self.before - self._held_out_losses(context)).clamp_min(0.01)
            self.weights = gain / gain.sum()

    @torch.no_grad()
    def _held_out_losses(self, context: Context) -> Tensor:
        sums = torch.zeros(len(self.modalities), dtype=torch.float64)
        for batch in context.train_batches(index=context.held_out):
            for k, m in enumerate(self.modalities):
                logits = self.scratch[1][m](self.scratch[0][m](batch.inputs[m]))
                sums[k] += F.cross_entropy(logits, batch.labels, reduction="sum")
        return (context.sum(sums) / len(context.held_out)).float()

    def training_step(self, batch: Batch, context: Context) -> Tensor:
        if context.phase.budget:
            return super().training_step(batch, context)
        context.zero_grad()
        encoders, heads = self.scratch
        losses = [F.cross_entropy(heads[m](encoders[m](batch.inputs[m])), batch.labels) for m in self.modalities]
        context.backward(torch.stack(losses).sum())
        context.optimizer_step()
        return torch.stack(losses).sum().detach()

    def loss(self, outputs: Outputs, batch: Batch, context: Context) -> Tensor:
        losses = [F.cross_entropy(logits, batch.labels) for logits in outputs.unimodal_logits]
        return (self.weights * torch.stack(losses)).sum()


class Coefficients(Heads):
    """Weights of the losses are learned by an optimizer beside the run's, on samples held out (OLM)."""

    name = "coefficients"
    holdout = 0.2

    def build(self) -> None:
        super().build()
        self.coefficients = nn.Parameter(torch.ones(len(self.modalities)))

    def groups(self) -> dict[str, list[nn.Module | nn.Parameter]]:
        return {"net": [self.encoders, self.heads]}

    def loss(self, outputs: Outputs, batch: Batch, context: Context) -> Tensor:
        losses = [F.cross_entropy(logits, batch.labels) for logits in outputs.unimodal_logits]
        return (self.coefficients.detach().softmax(0) * torch.stack(losses)).sum()

    def modulate_gradients(self, outputs: Outputs, batch: Batch, context: Context) -> None:
        start = context.step * context.batch_size
        rows = (start + torch.arange(context.batch_size)) % len(context.held_out)
        (other,) = context.train_batches(index=context.held_out[rows], shard=False)
        with torch.no_grad():
            losses = torch.stack([F.cross_entropy(self(other).unimodal_logits[k], other.labels) for k in range(2)])
        (gradient,) = torch.autograd.grad((self.coefficients.softmax(0) * losses).sum(), [self.coefficients])
        self.coefficients.grad = gradient
        context.side_optimizer("coefficients", [self.coefficients], "adam", lr=0.05).step()


class Dropping(Heads):
    """Modalities of samples are dropped by numbers of the epoch, logits are shaken by numbers of the step."""

    name = "dropping"

    def training_step(self, batch: Batch, context: Context) -> Tensor:
        kept = context.sample_numbers("kept", len(self.modalities)) > 0.3
        shown = {m: x * kept[:, k].view(-1, *[1] * (x.ndim - 1)) for k, (m, x) in enumerate(batch.inputs.items())}
        noise = context.step_numbers("noise", lambda generator: torch.randn(self.num_classes, generator=generator))
        context.log("kept", kept.float().mean())
        context.log("noise", noise.mean())
        return super().training_step(Batch(shown, batch.labels, batch.index), context)


CONTRACT_METHODS: Mapping[str, type[Method[Any]]] = {
    kind.name: kind
    for kind in (Heads, Scaled, Stages, Teachers, Stopping, Revalued, BestMembers, Estimates, Coefficients, Dropping)
}
