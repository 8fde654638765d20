"""The Method: a network with a training algorithm, told at the four stages of training.

1. data: :meth:`Method.sampler`, which training samples an epoch shows, in which order;
2. feed-forward: :meth:`Method.forward`, features, fused logits and logits of each modality;
3. objective: :meth:`Method.loss`;
4. optimization: :meth:`Method.training_step`.

A method overrides the stages it changes and inherits the rest, which is plain joint training. It knows neither
Ray, files, YAML nor which dataset it is trained on; what it needs of the training loop is the :class:`Context`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from data.base import Batch
from data.registry import type_argument
from methods.base.context import Context
from methods.base.hyperparameters import Hyperparameters as AnyHyperparameters
from methods.base.phase import EVERYTHING, Phase, checked_phases
from methods.base.validation import Validation

HyperparametersT = TypeVar("HyperparametersT", bound=AnyHyperparameters)

MULTI = "multi"
"""Name of the fused prediction beside the names of the modalities."""


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Switch to evaluation mode for a while; every submodule gets back the mode it had."""
    training = [(each, each.training) for each in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for each, was in training:
            # Not by the module's own way, which first looks for a parameter, a buffer or a module of that name.
            object.__setattr__(each, "training", was)


class DivergedError(ArithmeticError):
    """Training has diverged: a loss, a prediction or a number that a method needs is not finite."""


class MethodError(ValueError):
    """A method cannot be trained as asked (number of modalities, fusion, encoders); the message says why."""


@dataclass
class Outputs:
    """What a forward pass gives. Lists are in modality order.

    features: [B, d_m] each; logits: fused, [B, C]; unimodal_logits: [B, C] each, empty where a method needs none;
    extra: what else the objective needs.
    """

    features: list[Tensor]
    logits: Tensor
    unimodal_logits: list[Tensor] = field(default_factory=list)
    extra: dict[str, Any] = field(default_factory=dict)


class Method(nn.Module, ABC, Generic[HyperparametersT]):
    """Base of every method: ``class IPRM(Method[IPRMHyperparameters])``. Owns the encoders and all heads; everything a
    resumed run needs is in ``state_dict()`` (buffers, or ``get_extra_state``/``set_extra_state`` for plain numbers)."""

    name: ClassVar[str]
    title: ClassVar[str]
    paper: ClassVar[str]
    """Authors, title, venue; or what the method is, where it has no paper."""
    stages: ClassVar[tuple[str, ...]]
    """Of data, feed-forward, objective, optimization."""
    Hyperparameters: ClassVar[type[AnyHyperparameters]]
    """The argument of the generic base, unless a class says otherwise."""
    min_modalities: ClassVar[int] = 2
    max_modalities: ClassVar[int | None] = None
    drop_last: ClassVar[bool] = False
    """Leave out an epoch's last incomplete batch."""
    reads_in_a_step: ClassVar[int] = 0
    """Numbers that a step reads off the device to decide something on the host: copied without waiting a step before,
    so that the decision lags by that step on every device alike."""
    clips_apart: ClassVar[bool] = False
    """The recipe's ``gradient_clip`` bounds the norm of each parameter group's gradient, not that of all together."""
    helpers: ClassVar[tuple[str, ...]] = ()
    """Modules and buffers that training alone needs (teachers, copies): neither kept with the selected weights nor
    exported. ``_extra_state`` stands for what ``get_extra_state`` gives."""

    hyperparameters: HyperparametersT

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        given = type_argument(cls, AnyHyperparameters)
        if given is not None and "Hyperparameters" not in vars(cls):
            cls.Hyperparameters = given

    def __init__(
        self, encoders: Mapping[str, nn.Module], num_classes: int, hyperparameters: HyperparametersT, epochs: int
    ) -> None:
        """encoders: modality -> module with ``out_dim`` and ``forward(x) -> [B, out_dim]``, in modality order.
        epochs: the budget, in passes over the training set. Raises MethodError from :meth:`check`."""
        super().__init__()
        self.check(hyperparameters, tuple(encoders))
        self.encoders = nn.ModuleDict(encoders)
        self.num_classes = num_classes
        self.hyperparameters = hyperparameters
        self.epochs = epochs
        self.phases = checked_phases(self.phases_of(hyperparameters, tuple(encoders), epochs))
        self.build()

    def build(self) -> None:
        """Make what the method owns beside the encoders: heads, fusion, buffers, counters. Called once, by the
        constructor, when everything that it is told is in place. Parameters are drawn in the order of this code."""

    # What a configuration may ask for --------------------------------------------------------------------------

    @classmethod
    def check(cls, hyperparameters: HyperparametersT, modalities: tuple[str, ...]) -> None:
        """Refuse what the method is not defined for. Raises MethodError. Called before anything is built, so that a
        wrong sweep is refused before it starts."""
        if MULTI in modalities:
            raise MethodError(f"no modality may be called {MULTI!r}: that is the fused prediction")
        count, most = len(modalities), cls.max_modalities
        if count < cls.min_modalities or (most is not None and count > most):
            wanted = f"at least {cls.min_modalities}" if most is None else f"{cls.min_modalities} to {most}"
            if most == cls.min_modalities:
                wanted = f"exactly {most}"
            raise MethodError(
                f"{cls.name} needs {wanted} modalities, the dataset gives {count}: {', '.join(modalities)}"
            )

    @classmethod
    def world_size_matters(cls, hyperparameters: HyperparametersT) -> bool:
        """Tell whether N workers of a variant do not equal one: world size then belongs to the run's identity."""
        return False

    @property
    def modalities(self) -> tuple[str, ...]:
        return tuple(self.encoders)

    @property
    def dims(self) -> list[int]:
        """Give the width of each encoder's feature, in modality order."""
        return [int(encoder.out_dim) for encoder in self.encoders.values()]  # type: ignore[arg-type]

    # What is trained when ---------------------------------------------------------------------------------------

    @classmethod
    def phases_of(cls, hyperparameters: HyperparametersT, modalities: tuple[str, ...], epochs: int) -> list[Phase]:
        """List the phases of a training with a budget of ``epochs``, in order; those without epochs are left out.
        Default: one, over everything. Asked before anything is built, so that a plan can tell them."""
        return [Phase("training", epochs)]

    def groups(self) -> Mapping[str, Sequence[nn.Module | nn.Parameter]]:
        """Name disjoint groups of modules and parameters, which phases train at a factor of the learning rate. Default:
        one group of everything. Read anew before each epoch, so modules made meanwhile join. What is in no group is
        trained by nobody but a side optimizer."""
        return {EVERYTHING: [self]}

    @property
    def holdout(self) -> float:
        """Share of the training samples, in [0, 1), that is kept out of training: stratified, by the run's seed."""
        return 0.0

    @property
    def finished(self) -> bool | None:
        """Tell from the state whether training should end (True), should go on whatever patience says (False: this
        epoch counts as a better one), or may (None, the default). Asked after each epoch."""
        return None

    # Before and after --------------------------------------------------------------------------------------------

    def on_fit_start(self, context: Context) -> None:
        """Prepare a fresh run before its first epoch; a resumed run loads the state instead."""

    def on_phase_start(self, context: Context) -> None:
        """Prepare a phase, before its first epoch."""

    def on_epoch_start(self, context: Context) -> None:
        """Prepare an epoch, before its batches are drawn."""

    def on_epoch_end(self, context: Context) -> None:
        """Finish an epoch, after its last step and before validation."""

    def amend(self, predictions: dict[str, Tensor], labels: Tensor, context: Context) -> dict[str, Tensor]:
        """Change the logits [n, C] of the validation split before they are scored. Default: nothing."""
        return predictions

    def on_validation(self, validation: Validation, context: Context) -> None:
        """React to a validation, after the best weights were kept and before the checkpoint."""

    def on_fit_end(self, context: Context) -> None:
        """Finish the run, after its last epoch and with the selected weights, before the test split is predicted."""

    # Stage 1: data ---------------------------------------------------------------------------------------------

    def sampler(self, context: Context) -> Tensor | tuple[Tensor, Tensor]:
        """Give the int64 positions of the samples that this epoch shows, in order, the same on every worker; or these
        and a tag for each (int64), which becomes ``batch.tag``.

        Any number of samples will do, none too: the loop cuts them into joint batches. Default: all samples but those
        held out, shuffled by run and epoch."""
        return self.shuffled(context)

    @staticmethod
    def shuffled(context: Context, *, with_held_out: bool = False) -> Tensor:
        """Shuffle the positions of all training samples, by run and epoch; of those held out only where it says so."""
        order = torch.randperm(context.train_size, generator=context.generator("order", context.epoch))
        keep_all = with_held_out or not len(context.held_out)
        return order if keep_all else order[~torch.isin(order, context.held_out)]

    # Stage 2: feed-forward -------------------------------------------------------------------------------------

    def encode(self, batch: Batch) -> list[Tensor]:
        """Give the features [B, d_m] of each modality: zeros for the samples that lack it."""
        return [self.feature_of(modality, batch) for modality in self.modalities]

    def feature_of(self, modality: str, batch: Batch) -> Tensor:
        """Give the feature [B, d_m] of one modality by its encoder alone: zeros for the samples that lack it."""
        return batch.zero_absent(modality, self.encoders[modality](batch.inputs[modality]))

    def forward(self, batch: Batch) -> Outputs:
        """Give features and logits of a batch, as the objective needs them."""
        features = self.encode(batch)
        logits = self.classify(features)
        return Outputs(features, logits[MULTI], [logits[m] for m in self.modalities if m in logits])

    def training_outputs(self, batch: Batch, context: Context) -> Outputs:
        """Run the forward pass of a training step: where it differs from phase to phase. Default: :meth:`forward`."""
        return self(batch)

    @abstractmethod
    def classify(self, features: list[Tensor]) -> dict[str, Tensor]:
        """Infer from features [B, d_m]: logits [B, C] for "multi" and for each modality."""

    def predict(self, batch: Batch, present: Sequence[str] | None = None) -> dict[str, Tensor]:
        """Give the logits for "multi" and each modality; labels are not read. Modalities not in ``present`` (default:
        all) have their features zeroed."""
        return self.classify(self.present_features(batch, present))

    def present_features(self, batch: Batch, present: Sequence[str] | None = None) -> list[Tensor]:
        """Give the features [B, d_m] of each modality: zeros for those not in ``present`` (default: all are)."""
        features = self.encode(batch)
        if present is None:
            return features
        kept = zip(self.modalities, features, strict=True)
        return [f if m in present else torch.zeros_like(f) for m, f in kept]

    # Stage 3: objective ----------------------------------------------------------------------------------------

    def loss(self, outputs: Outputs, batch: Batch, context: Context) -> Tensor:
        """Compute the mean over the batch. Default: cross-entropy of the fused logits."""
        return F.cross_entropy(outputs.logits, batch.labels)

    # Stage 4: optimization -------------------------------------------------------------------------------------

    def training_step(self, batch: Batch, context: Context) -> Tensor:
        """Train on one batch, to and with the optimizer step. Returns the detached loss (0-d, this worker's mean)."""
        context.zero_grad()
        with context.autocast():
            outputs = self.training_outputs(batch, context)
            loss = self.loss(outputs, batch, context)
        context.backward(loss)
        self.modulate_gradients(outputs, batch, context)
        context.optimizer_step(clipped=self.clips)
        return loss.detach()

    @property
    def capturable(self) -> bool:
        """Tell whether steps on batches of one form may be recorded, once an epoch, and replayed
        (``train.cuda_graphs``). They may where each does the same operations, with the same numbers of the host, in
        tensors that stay where they are: none reads a number off the device, or ``context.step``, or puts a new tensor
        in the place of what the next step reads."""
        return False

    @property
    def clips(self) -> bool:
        """Tell whether :meth:`modulate_gradients` clips in the place of the recipe's ``gradient_clip``."""
        return False

    def modulate_gradients(self, outputs: Outputs, batch: Batch, context: Context) -> None:
        """Change gradients between backward and step, by what the forward pass gave. Default: nothing."""

    # Looking in ------------------------------------------------------------------------------------------------

    def diagnostics(self) -> dict[str, float]:
        """Give numbers worth plotting beside those of ``context.log``, asked once an epoch (so reading them off the
        device is allowed)."""
        return {}

    # Weights ---------------------------------------------------------------------------------------------------

    def inference_state(self) -> dict[str, Any]:
        """Give the state that predictions are made from: kept at the best epoch, and exported. Default: everything but
        the helpers."""
        return {key: value for key, value in self.state_dict().items() if not self._of_helper(key)}

    def load_inference_state(self, state: Mapping[str, Any]) -> None:
        """Load what :meth:`inference_state` gave; helpers and plain numbers that it lacks stay as they are. Raises
        ValueError for names that are missing or unknown."""
        found = self.load_state_dict(state, strict=False)
        missing = [k for k in found.missing_keys if not k.endswith("_extra_state") and not self._of_helper(k)]
        if wrong := [*missing, *found.unexpected_keys]:
            raise ValueError(wrong[0])

    def _of_helper(self, key: str) -> bool:
        return any(key == helper or key.startswith(f"{helper}.") for helper in self.helpers)
