"""A training context without a loop, for tests that call the stages of a method by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from data.base import Dataset
from methods.base import Hyperparameters, Method
from methods.base.phase import place_of
from sweep.training.context import TrainingContext
from sweep.training.recipe import Recipe
from sweep.training.workers import WorkerGroup

CPU = torch.device("cpu")


def hand_driven_context(
    method: Method,
    dataset: Dataset,
    recipe: Recipe,
    seed: int = 0,
    *,
    epoch: int = 1,
    device: torch.device = CPU,
    workers: WorkerGroup | None = None,
    warn: Callable[[str], None] = print,
) -> TrainingContext:
    """Return a context that stands at the beginning of an epoch; no hook of the method has been called."""
    context = TrainingContext(method, dataset, recipe, seed, device, workers or WorkerGroup(), warn)
    if device.type == "meta":
        # torch has no generators there, and draws nothing.
        context.device_generator = lambda *key: None  # type: ignore[assignment,method-assign,return-value]
    move_to(context, method, epoch)
    return context


def move_to(context: TrainingContext, method: Method, epoch: int) -> None:
    """Bring a context to the beginning of an epoch of the loop, with the optimizer of its phase."""
    place = place_of(method.phases, epoch)
    context.move_to(place)
    context.groups.enter(place.position)
    context.groups.refresh()


class ParametersAlone(Method[Hyperparameters]):
    """A method of nothing but parameters, where a test needs a context and no method."""

    name = "parameters-alone"
    title = paper = "for tests"
    stages = ()
    min_modalities = 0

    def __init__(self, parameters: Iterable[nn.Parameter] = (), epochs: int = 1) -> None:
        super().__init__({}, 2, Hyperparameters(), epochs)
        self.held = nn.ParameterList(parameters)

    def classify(self, features: list[Tensor]) -> dict[str, Tensor]:
        raise NotImplementedError("a method of parameters alone predicts nothing")
