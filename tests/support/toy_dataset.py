"""A small learnable dataset and a way to train any method on it, for tests of every room."""

from __future__ import annotations

from typing import Any

import torch

import methods
from data.base import Dataset, Split
from models import encoders
from sweep.training import seeds
from sweep.training.loop import Training
from sweep.training.recipe import Recipe
from sweep.training.workers import WorkerGroup

CLASSES = 4


def toy_dataset(modalities: int = 2, train: int = 45) -> Dataset:
    """Samples around one centre a class in each modality; the later the modality, the noisier. 45 training samples
    in batches of 16 leave a last batch of 13, which two workers share unequally."""
    names = ("audio", "video", "text")[:modalities]
    draw = torch.Generator().manual_seed(7)
    centres = {m: torch.randn(CLASSES, 6 + k, generator=draw) for k, m in enumerate(names)}

    def split(size: int) -> Split:
        labels = torch.arange(size) % CLASSES
        noise = {m: torch.randn(size, 6 + k, generator=draw) * (0.5 + k) for k, m in enumerate(names)}
        return Split({m: centres[m][labels] + noise[m] for m in names}, labels)

    classes = tuple(f"class {k}" for k in range(CLASSES))
    return Dataset("toy", names, classes, split(train), split(21), split(22))


def toy_method(
    name: str, dataset: Dataset, hyperparameters: dict[str, Any] | None = None, epochs: int = 4, seed: int = 3
) -> methods.Method:
    """A method over small MLP encoders, initialised from ``seed``."""
    torch.manual_seed(seeds.derive(seed, "initialisation"))
    shapes = dataset.shapes()
    spec = encoders.resolve({"name": "mlp", "width": 8})
    kind = methods.get(name)
    chosen = kind.Hyperparameters.model_validate(hyperparameters or {})
    return kind({m: encoders.build(spec, shapes[m]) for m in dataset.modalities}, dataset.num_classes, chosen, epochs)


def toy_training(
    name: str,
    hyperparameters: dict[str, Any] | None = None,
    *,
    modalities: int = 2,
    epochs: int = 4,
    seed: int = 3,
    samples: int = 45,
    test_peak: bool = True,
    state: dict[str, Any] | None = None,
    **recipe: Any,
) -> Training:
    """A training of the toy dataset, with the process's worker group."""
    dataset = toy_dataset(modalities, samples)
    method = toy_method(name, dataset, hyperparameters, epochs, seed)
    settings = Recipe(**{"batch_size": 16, "lr": 0.05, **recipe})
    return Training(method, dataset, settings, seed=seed, state=state, workers=WorkerGroup(), test_peak=test_peak)
