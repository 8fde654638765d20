"""Variants trained on the toy dataset, in this process or in one of several workers."""

from __future__ import annotations

import functools
import importlib
import io
import math
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from support.method_variants import Variant
from support.toy_dataset import toy_training

from sweep.training.epoch_record import EpochRecord
from sweep.training.loop import Training


@dataclass
class ToyRun:
    """A training: the record of each epoch, the saved states of the first and the last; where it went to its end, of
    the selected epoch its number, the weights that would be exported, and the metrics of the test split."""

    records: list[EpochRecord]
    states: dict[int, bytes]
    selected_epoch: int
    weights: dict[str, torch.Tensor]
    test: dict[str, float]

    def state(self, number: int) -> dict[str, Any]:
        """Return the state after the epoch ``records[number]``, the first or the last, read back from what was
        saved."""
        saved = self.states[number % len(self.records)]
        return dict(torch.load(io.BytesIO(saved), weights_only=True))


def training(variant: Variant, epochs: int, **options: Any) -> Training:
    """Return a training of the toy dataset that has not begun."""
    modalities = variant.modalities
    return toy_training(variant.method, variant.hyperparameters, modalities=modalities, epochs=epochs, **options)


def run(variant: Variant, state: dict[str, Any] | None = None, epochs: int | None = None, **options: Any) -> ToyRun:
    """Train from the beginning, or go on from ``state``, for ``epochs`` (None: to the end); the learning rate falls on
    the way."""
    trained = training(variant, variant.epochs, schedule={"name": "step", "every": 2.0}, state=state, **options)
    records, states = list[EpochRecord](), dict[int, bytes]()
    for number, record in enumerate(islice(trained.epochs(), epochs)):
        records.append(record)
        if number == 0 or number + 1 == epochs or record.epoch == record.epochs:
            buffer = io.BytesIO()
            torch.save(trained.state_dict(), buffer)
            states[number] = buffer.getvalue()
    if epochs is not None:
        return ToyRun(records, states, 0, {}, {})
    result = trained.result()
    weights = {name: value for name, value in trained.method.inference_state().items() if torch.is_tensor(value)}
    return ToyRun(records, states, result.selected_epoch, weights, result.test)


@functools.cache
def load_training() -> None:
    """Train once in this process, multiply by a Jacobian and import k-means: what is imported for that, no variant
    accounts for."""
    importlib.import_module("sklearn.cluster")
    number = torch.ones(1, requires_grad=True)
    torch.autograd.grad(2 * number, number, torch.ones(1))
    run(Variant("first", method="joint", epochs=1), batch_size=12)


def clearly_above_chance(classes: int, samples: int) -> float:
    """Return chance plus three standard deviations of the share of ``samples`` that guessing gets right."""
    chance = 1 / classes
    return chance + 3 * math.sqrt(chance * (1 - chance) / samples)
