"""Small methods and datasets to plan with: every kind of declaration, nothing to train."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest
from pydantic import Field
from torch import Tensor

import data
import methods
from data.base import DataError, Dataset, DatasetOptions, DatasetSource
from data.registry import Found
from methods.base import Method, MethodError
from methods.base.hyperparameters import Choice, Hyperparameters, LogUniform, Uniform, hyper


class _Fake(Method):
    title = paper = "none"
    stages = ("objective",)

    def classify(self, features: list[Tensor]) -> dict[str, Tensor]:
        raise AssertionError("nothing is loaded or trained here")


class Joint(_Fake):
    name = "joint"

    class Hyperparameters(Hyperparameters):
        unimodal_loss_weight: float = hyper(0.0, low=0.0, search=Uniform(0.0, 2.0), meaning="weight")


class Mixer(_Fake):
    name = "mixer"

    class Hyperparameters(Hyperparameters):
        alpha: float = hyper(0.8, low=0.0, high=1.0, search=Uniform(0.1, 0.9), meaning="weight")
        kind: Literal["round", "flat"] = hyper("round", search=Choice(("round", "flat")), meaning="how")
        steps: int = hyper(3, low=1, meaning="number of steps")
        radius: float | dict[str, float] = hyper(0.1, search=LogUniform(1e-3, 1.0), meaning="radius, or one a modality")

    @classmethod
    def world_size_matters(cls, hyperparameters: Any) -> bool:
        return bool(hyperparameters.kind == "flat")

    @classmethod
    def check(cls, hyperparameters: Any, modalities: tuple[str, ...]) -> None:
        super().check(hyperparameters, modalities)
        if hyperparameters.kind == "flat" and hyperparameters.alpha == 1:
            raise MethodError("flat mixing needs alpha below 1")


class Ranker(_Fake):
    name = "ranker"

    class Hyperparameters(Hyperparameters):
        alpha: float = hyper(0.5, low=0.0, search=LogUniform(0.1, 1.0), meaning="weight")
        beta: float = hyper(0.6, low=0.0, high=1.0, meaning="memory")


class Unimodal(_Fake):
    name = "unimodal"
    min_modalities = 1

    class Hyperparameters(Hyperparameters):
        modality: str | None = hyper(None, meaning="which")

    @classmethod
    def check(cls, hyperparameters: Any, modalities: tuple[str, ...]) -> None:
        super().check(hyperparameters, modalities)
        if hyperparameters.modality is None:
            raise MethodError("say which modality")


class Ensemble(_Fake):
    name = "ensemble"
    min_modalities = 1

    class Hyperparameters(Hyperparameters):
        ridge: float = hyper(0.5, low=0.0, search=LogUniform(0.1, 1.0), meaning="pull")


class ToyOptions(DatasetOptions):
    noise: float = Field(0.0, ge=0, description="noise")
    views: list[str] = Field(["left", "right"], description="views")


class Toy(DatasetSource):
    name, title, Options, test_peak = "toy", "Toy", ToyOptions, True
    recipe: ClassVar[Mapping[str, Any]] = {"lr": 0.2, "epochs": 7, "schedule": {"name": "step", "every": 0.5}}

    @classmethod
    def modalities(cls, options: Any) -> tuple[str, ...]:
        return tuple(options.views)

    @classmethod
    def encoders(cls, options: Any) -> dict[str, Any]:
        return {view: {"name": "mlp", "width": 16} for view in options.views}

    @classmethod
    def fingerprint(cls, options: Any) -> str:
        return f"toy-{options.noise}"

    @classmethod
    def load(cls, options: Any) -> Dataset:
        raise AssertionError("nothing is loaded or trained here")


class FilesOptions(DatasetOptions):
    root: str = Field(description="folder of the files")
    size: int = Field(8, ge=1, description="size")


class Files(DatasetSource):
    name, title, Options, paths = "files", "Files", FilesOptions, frozenset({"root"})

    @classmethod
    def modalities(cls, options: Any) -> tuple[str, ...]:
        return ("audio", "image")

    @classmethod
    def encoders(cls, options: Any) -> dict[str, Any]:
        return {"audio": "mlp", "image": "mlp"}

    @classmethod
    def fingerprint(cls, options: Any) -> str:
        file = Path(options.root) / "content"
        if not file.exists():
            raise DataError(f"{file} is missing")
        return file.read_text()

    @classmethod
    def load(cls, options: Any) -> Dataset:
        raise AssertionError("nothing is loaded or trained here")


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fakes above in place of every real method and dataset."""
    kinds = {kind.name: kind for kind in (Joint, Mixer, Ranker, Unimodal, Ensemble)}
    sources = {source.name: source for source in (Toy, Files)}
    monkeypatch.setattr(methods.METHODS, "found", Found(kinds))
    monkeypatch.setattr(data.DATASETS, "found", Found(sources))
