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
            each.training = was


class MethodError(ValueError):
    """A method cannot be trained as asked (number of modalities, fusion, encoders); the message says why."""


@dataclass
class Outputs:
    """What a forward pass gives. Lists are in modality order.

    features: [B, d_m] each; logits: fused, [B, C]; unimodal_logits: [B, C] each, empty where a method needs none;
    extra: further tensors that the objective needs.
    """

    features: list[Tensor]
    logits: Tensor
    unimodal_logits: list[Tensor] = field(default_factory=list)
    extra: dict[str, Tensor] = field(default_factory=dict)


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

    def total_epochs(self) -> int:
        """Count the epochs that the loop runs for the budget ``self.epochs``."""
        return self.epochs

    def trained_parameters(self, epoch: int) -> list[nn.Parameter]:
        """List the parameters that the optimizer holds in ``epoch`` (from 1). Default: everything.

        Those added during training come last and in that order, so that a resumed run finds their momentum."""
        return list(self.parameters())

    def phase_epochs(self, epoch: int) -> int:
        """Count the epochs of the phase that ``epoch`` belongs to: the learning-rate schedule spans them."""
        return self.total_epochs()

    def passes_per_sample(self) -> float:
        """Count the forward passes through all encoders that one training sample costs (a second pass through one
        branch of M counts 1/M). Scoring passes are counted by the loop, as :meth:`Context.train_batches` is told."""
        return 1.0

    # Phases ----------------------------------------------------------------------------------------------------

    def on_fit_start(self, context: Context) -> None:
        """Prepare a fresh run before its first epoch; a resumed run loads the state instead. The optimizer is there."""

    def on_epoch_start(self, context: Context) -> None:
        """Prepare an epoch, before its batches are drawn."""

    def on_epoch_end(self, context: Context) -> None:
        """Finish an epoch, after its last step and before validation."""

    # Stage 1: data ---------------------------------------------------------------------------------------------

    def sampler(self, context: Context) -> Tensor:
        """Give the int64 positions of the samples that this epoch shows, in order, the same on every worker.
        The loop cuts them into joint batches. Default: all samples, shuffled by run and epoch."""
        return torch.randperm(context.train_size, generator=context.generator("order", context.epoch))

    # Stage 2: feed-forward -------------------------------------------------------------------------------------

    def encode(self, batch: Batch) -> list[Tensor]:
        """Give the features [B, d_m] of each modality."""
        return [encoder(batch.inputs[modality]) for modality, encoder in self.encoders.items()]

    def forward(self, batch: Batch) -> Outputs:
        """Give features and logits of a batch, as the objective needs them."""
        features = self.encode(batch)
        logits = self.classify(features)
        return Outputs(features, logits[MULTI], [logits[m] for m in self.modalities if m in logits])

    @abstractmethod
    def classify(self, features: list[Tensor]) -> dict[str, Tensor]:
        """Infer from features [B, d_m]: logits [B, C] for "multi" and for each modality."""

    def predict(self, batch: Batch, present: Sequence[str] | None = None) -> dict[str, Tensor]:
        """Give the logits for "multi" and each modality; labels are not read. Modalities not in ``present`` (default:
        all) have their features zeroed."""
        features = self.encode(batch)
        if present is not None:
            kept = zip(self.modalities, features, strict=True)
            features = [f if m in present else torch.zeros_like(f) for m, f in kept]
        return self.classify(features)

    # Stage 3: objective ----------------------------------------------------------------------------------------

    def loss(self, outputs: Outputs, batch: Batch, context: Context) -> Tensor:
        """Compute the mean over the batch. Default: cross-entropy of the fused logits."""
        return F.cross_entropy(outputs.logits, batch.labels)

    # Stage 4: optimization -------------------------------------------------------------------------------------

    def training_step(self, batch: Batch, context: Context) -> Tensor:
        """Train on one batch, to and with the optimizer step. Returns the detached loss (0-d, this worker's mean)."""
        context.optimizer.zero_grad(set_to_none=True)
        with context.autocast():
            loss = self.loss(self(batch), batch, context)
        context.backward(loss)
        self.modulate_gradients(context)
        context.optimizer_step()
        return loss.detach()

    def modulate_gradients(self, context: Context) -> None:
        """Change gradients between backward and step. Default: nothing."""

    # Looking in ------------------------------------------------------------------------------------------------

    def diagnostics(self) -> dict[str, float]:
        """Give numbers worth plotting, asked once an epoch (so reading them off the device is allowed)."""
        return {}
