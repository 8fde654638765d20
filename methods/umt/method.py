"""The method UMT."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from data.base import Batch
from methods.base import MULTI, BestEpoch, Context, MethodError, Outputs, Phase, Validation, features_of
from methods.base.fused import FusedMethod
from methods.base.fusion_hyperparameters import check_fused_loss_alone, check_fusion
from methods.base.hyperparameters import in_epochs
from methods.umt.equations import accuracy, choose_branch, feature_distill_loss, fitted_linear, ume_probs, umt_loss
from methods.umt.hyperparameters import UMTHyperparameters
from models import linear
from models.fusion.base import apply, heads

TEACHING, STUDYING, ENSEMBLE = range(3)
PROBE_RATE = 0.01
"""Learning rate of the probes, which their own optimizer (Adam) trains."""


class UMT(FusedMethod[UMTHyperparameters]):
    """Trained together, each modality learns less of its own than it does alone. So every modality first gets a
    teacher: its encoder and a linear head, trained alone, the best of its epochs by its own validation accuracy. Then
    the joint model is trained, and the feature of each of its encoders is pulled towards that of the teacher. Where
    modalities say nothing in pairs, the paper trains no joint model at all: ``ume`` averages the teachers'
    probabilities. ``auto`` decides by whether a linear classifier on all teachers' features beats that ensemble on
    validation data.

    Source: Du et al., ICML 2023; the ensemble, the test and its order as written there. Weight and distance of the
    distillation follow BalanceBenchmark's code, since the paper's were not at hand: mean squares, features as they are.

    Departures from the official code: no official code was found. That of BalanceBenchmark leaves the teachers' batch
    norm in training mode, distils in some epochs alone, and has neither ensemble nor test. Teachers are trained in each
    run.

    Cost: a step has one forward more, of the teachers, beside the forward and backward of joint training. Before the
    budget every modality is trained alone, ``teacher_epochs`` of 1/M of a forward and backward each; ``auto`` needs a
    forward over training and validation samples more. M encoders are held beside the model's, while they are trained
    M + 1. Probes look once more at the validation samples after each epoch.

    State: teachers, their validation accuracies, the best weights of the one in training, and which model predicts."""

    name = "umt"
    title = "Uni-modal teachers, or the ensemble of these"
    paper = "Du, Teng, Li, Liu, Yuan, Wang, Yuan, Zhao: On Uni-Modal Feature Learning, ICML 2023"
    stages = ("objective",)
    capturable = True
    computes_with_features = True
    helpers = ("teachers", "_extra_state")
    stage: Tensor

    @classmethod
    def check(cls, hyperparameters: UMTHyperparameters, modalities: tuple[str, ...]) -> None:
        super().check(hyperparameters, modalities)
        check_fusion(hyperparameters, modalities)
        check_fused_loss_alone(cls.name, hyperparameters)
        weights = hyperparameters.ume_weights
        if weights is not None and (len(weights) != len(modalities) or not any(weights)):
            raise MethodError(
                f"umt: ume_weights needs one weight for each of {', '.join(modalities)}, not all 0; got {weights}"
            )

    @classmethod
    def phases_of(cls, hyperparameters: UMTHyperparameters, modalities: tuple[str, ...], epochs: int) -> list[Phase]:
        hp, share = hyperparameters, 1 / len(modalities)
        own = epochs if hp.teacher_epochs is None else in_epochs(hp.teacher_epochs, epochs)
        found = [
            Phase(f"teacher {m}", own, {f"teacher {m}": 1.0}, selectable="none", budget=False, passes=share, info=m)
            for m in modalities
            if hp.needs_teachers
        ]
        if hp.variant == "ume":
            return [*found, Phase("ensemble", 1, {})]
        return [*found, Phase("student", epochs, {"student": 1.0}, passes=2.0 if hp.lam > 0 else 1.0)]

    def build(self) -> None:
        super().build()
        self.heads = heads(self.dims, self.num_classes)
        """Of the ensemble; while a student learns, probes of its features."""
        self.teachers = nn.ModuleDict()
        if self.hyperparameters.needs_teachers:
            for (m, encoder), dim in zip(self.encoders.items(), self.dims, strict=True):
                self.teachers[m] = nn.Sequential(copy.deepcopy(encoder), linear(dim, self.num_classes))
        self.register_buffer("stage", torch.tensor(STUDYING))
        self.accuracies: dict[str, float] = {}
        """Of each teacher, on validation samples."""
        self.compared: dict[str, float] = {}
        """Accuracies by which ``auto`` chooses: of a linear classifier on the teachers' features, of the ensemble."""
        self.best = BestEpoch()
        self._probe_accuracies: dict[str, float] = {}

    def groups(self) -> Mapping[str, Sequence[nn.Module | nn.Parameter]]:
        return {**{f"teacher {m}": [t] for m, t in self.teachers.items()}, "student": [self.encoders, self.fusion]}

    # Training ----------------------------------------------------------------------------------------------------

    def training_outputs(self, batch: Batch, context: Context) -> Outputs:
        """Give the logits of the teacher in training, or what the student's objective needs."""
        m = context.phase.info
        if m is None:
            return super().training_outputs(batch, context)
        return Outputs([], self.teacher_logits(m, batch))

    def objective_logits(self, features: list[Tensor]) -> list[Tensor]:
        """Give none: teachers speak to the features."""
        return []

    def loss(self, outputs: Outputs, batch: Batch, context: Context) -> Tensor:
        """Compute the loss of the teacher in training, or that of the student."""
        lam = self.hyperparameters.lam
        if context.phase.info is not None or lam == 0:
            return F.cross_entropy(outputs.logits, batch.labels)
        with torch.no_grad():
            teachers = self.teacher_features(batch)
            for m, student, teacher in zip(self.modalities, outputs.features, teachers, strict=True):
                context.log(f"distance_{m}", feature_distill_loss([student], [teacher]))
        return umt_loss(outputs.logits, batch.labels, outputs.features, teachers, lam)

    def modulate_gradients(self, outputs: Outputs, batch: Batch, context: Context) -> None:
        """Leave the gradients as they are, and train the probes, which the student does not feel."""
        if context.phase.info is not None:
            return
        parameters = list(self.heads.parameters())
        logits = apply(self.heads, [f.detach().float() for f in outputs.features])
        loss = torch.stack([F.cross_entropy(each, batch.labels) for each in logits]).sum()
        for parameter, gradient in zip(parameters, context.gradients(loss, parameters), strict=True):
            parameter.grad = gradient
        context.side_optimizer("probes", parameters, "adam", lr=PROBE_RATE).step()

    def sampler(self, context: Context) -> Tensor | tuple[Tensor, Tensor]:
        """Give no samples to an ensemble, which is trained already."""
        return torch.empty(0, dtype=torch.int64) if self.ensembles else super().sampler(context)

    @property
    def ensembles(self) -> bool:
        return int(self.stage) == ENSEMBLE

    @property
    def finished(self) -> bool | None:
        return True if self.ensembles else None

    # Teachers ----------------------------------------------------------------------------------------------------

    def on_validation(self, validation: Validation, context: Context) -> None:
        """Keep the best of a teacher's epochs, to which it goes back in the end; probe a student."""
        m = context.phase.info
        if m is None:
            self._probe_accuracies = {} if self.ensembles else self.probe_accuracies(context)
            return
        accuracy = validation.scores[f"validation_accuracy_{m}"]
        self.accuracies[m] = self.best.keep(self.teachers[m], accuracy)
        if context.phase_epoch == context.phase.epochs:
            self.best.restore(self.teachers[m])

    def on_phase_start(self, context: Context) -> None:
        """Choose the model, and give it the teachers' weights where it begins with them."""
        self.stage.fill_(TEACHING)
        if context.phase.info is not None:
            return
        variant = self.hyperparameters.variant
        chosen = self.chosen_variant(context) if variant == "auto" else variant
        self.stage.fill_(ENSEMBLE if chosen == "ume" else STUDYING)
        if self.ensembles or self.hyperparameters.init_from_teacher:
            for m, head in zip(self.modalities, self.heads, strict=True):
                encoder, own = self.teachers[m].children()
                self.encoders[m].load_state_dict(encoder.state_dict())
                if self.ensembles:
                    head.load_state_dict(own.state_dict())

    def chosen_variant(self, context: Context) -> str:
        """Choose between student and ensemble by the teachers' features; every worker alike."""
        train, labels = features_of(self, self.teacher_features, context.train_batches(), context)
        held, held_labels = features_of(self, self.teacher_features, context.validation_batches(), context)
        classifier = fitted_linear(torch.cat(train, 1), labels, self.num_classes)
        logits = [teacher[1](f) for teacher, f in zip(self.teachers.values(), held, strict=True)]  # type: ignore[index]
        found = [accuracy(classifier(torch.cat(held, 1)), held_labels), accuracy(self.ensemble(logits), held_labels)]
        on_first = context.broadcast(torch.tensor(found, dtype=torch.float64, device=context.device)).tolist()
        self.compared = dict(zip(("linear", "ensemble"), on_first, strict=True))
        return choose_branch(*on_first)

    def teacher_features(self, batch: Batch) -> list[Tensor]:
        """Give the teachers' features [B, D_m]."""
        return [self.teacher_feature(m, batch) for m in self.modalities]

    def teacher_feature(self, modality: str, batch: Batch) -> Tensor:
        """Give the feature [B, D_m] of one teacher: zeros for the samples that lack the modality."""
        encoder: nn.Module = self.teachers[modality][0]  # type: ignore[index]
        return batch.zero_absent(modality, encoder(batch.inputs[modality]))

    def teacher_logits(self, modality: str, batch: Batch) -> Tensor:
        """Give the logits [B, C] of one teacher."""
        head: nn.Module = self.teachers[modality][1]  # type: ignore[index]
        logits: Tensor = head(self.teacher_feature(modality, batch))
        return logits

    # Prediction --------------------------------------------------------------------------------------------------

    def predict(self, batch: Batch, present: Sequence[str] | None = None) -> dict[str, Tensor]:
        """Predict by the student; by the ensemble of the teachers while these are trained, or where that is the model:
        absent modalities then have no share."""
        if int(self.stage) == STUDYING:
            return super().predict(batch, present)
        if int(self.stage) == TEACHING:
            logits = [self.teacher_logits(m, batch) for m in self.modalities]
        else:
            logits = apply(self.heads, self.present_features(batch, present))
        return {MULTI: self.ensemble(logits, present), **dict(zip(self.modalities, logits, strict=True))}

    def ensemble(self, logits: list[Tensor], present: Sequence[str] | None = None) -> Tensor:
        """Give the logarithms of the weighted mean of the probabilities of those that are ``present``, [B, C]."""
        given = self.hyperparameters.ume_weights or [1.0] * len(logits)
        shown = [present is None or m in present for m in self.modalities]
        weights = [weight * there for weight, there in zip(given, shown, strict=True)]
        if not any(weights):
            weights = [float(there) for there in shown]
        probs = ume_probs([each.float() for each in logits], weights)
        return probs.clamp_min(torch.finfo(probs.dtype).tiny).log()

    # Probes, state, diagnostics ----------------------------------------------------------------------------------

    def probe_accuracies(self, context: Context) -> dict[str, float]:
        """Score the probes on the validation samples."""
        features, labels = features_of(self, self.encode, context.validation_batches(), context)
        scored = zip(self.modalities, apply(self.heads, features), strict=True)
        return {f"probe_accuracy_{m}": accuracy(logits, labels) for m, logits in scored}

    def get_extra_state(self) -> dict[str, Any]:
        return {
            "accuracies": dict(self.accuracies),
            "compared": dict(self.compared),
            "best": self.best.state_dict(),
        }

    def set_extra_state(self, state: Any) -> None:
        self.accuracies = dict(state["accuracies"])
        self.compared = dict(state["compared"])
        self.best.load_state_dict(state["best"])

    def diagnostics(self) -> dict[str, float]:
        """Best validation accuracy of each teacher, and that of a linear probe on the student's features; mean squared
        distance between both features on training samples. With ``auto`` the two validation accuracies that decide, of
        a linear classifier on the teachers' features and of their ensemble."""
        teachers = {f"teacher_accuracy_{m}": value for m, value in self.accuracies.items()}
        compared = {f"accuracy_of_{kind}": value for kind, value in self.compared.items()}
        return teachers | compared | self._probe_accuracies
