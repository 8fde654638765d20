"""Describe a dataset of your own and train on it: three splits of tensors, one entry a modality.

Here the samples are drawn. In a module of data/, or as the entry point ``sweep.datasets`` of a package, the same class
is known to every sweep by its name. Data in npz files or in a CSV list needs no class, and arrays no encoders, which
go by the shape of a sample: see the README."""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field

import methods
from data.base import Dataset, DatasetOptions, DatasetSource, Split
from models import encoders
from sweep.training import Recipe, fit


class WavesOptions(DatasetOptions):
    train_samples: int = Field(240, ge=12, description="training samples")


class Waves(DatasetSource[WavesOptions]):
    """Waves of three frequencies, and their loudest point with much noise: a strong and a weak modality."""

    name = "waves"
    title = "Waves of three frequencies"

    @classmethod
    def modalities(cls, options: WavesOptions) -> tuple[str, ...]:
        return ("wave", "peak")

    @classmethod
    def encoders(cls, options: WavesOptions) -> dict[str, Any]:
        return {"wave": "mlp", "peak": "mlp"}  # [C, T] would take conv1d, [C, H, W] cnn: data.base.usual_encoder

    @classmethod
    def fingerprint(cls, options: WavesOptions) -> str:
        return "waves-1"  # to be changed with the content: equal data, equal fingerprint

    @classmethod
    def load(cls, options: WavesOptions) -> Dataset:
        draw = torch.Generator().manual_seed(0)

        def split(size: int) -> Split:
            labels = torch.arange(size) % 3
            time = torch.linspace(0, 1, 16) + torch.rand(size, 1, generator=draw)
            waves = torch.sin(6.28 * (labels[:, None] + 1) * time) + 0.5 * torch.randn(size, 16, generator=draw)
            peaks = labels[:, None] + 1.5 * torch.randn(size, 4, generator=draw)
            return Split({"wave": waves, "peak": peaks}, labels)

        classes = ("slow", "medium", "fast")
        return Dataset(cls.name, ("wave", "peak"), classes, split(options.train_samples), split(90), split(90))


torch.manual_seed(0)
waves = Waves.load(Waves.Options())
kind = methods.get("joint")
branches = {m: encoders.build("mlp", shape) for m, shape in waves.shapes().items()}
result = fit(kind(branches, waves.num_classes, kind.Hyperparameters(), epochs=10), waves, Recipe(), seed=0)
for name in ("accuracy", "accuracy_wave", "accuracy_peak"):
    print(f"{name}: {result.test[f'test_{name}']:.3f}")
