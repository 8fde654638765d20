"""One modality alone: its encoder and one linear head. The yardstick of each modality's branch in a joint model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from methods.base import MULTI, Method, MethodError
from methods.base.hyperparameters import Hyperparameters, hyper
from models import linear, unknown


class UnimodalHyperparameters(Hyperparameters):
    modality: str | None = hyper(None, meaning="the modality that is trained; must be given")


class Unimodal(Method):
    """Cross-entropy of a linear head d_m -> C on one encoder's feature; the other encoders are dropped.

    Cost: one forward and one backward of a single encoder a step."""

    name = "unimodal"
    title = "Unimodal training"
    paper = "naive baseline: one modality alone"
    stages = ()
    min_modalities = 1
    Hyperparameters = UnimodalHyperparameters

    def __init__(
        self, encoders: Mapping[str, nn.Module], num_classes: int, hyperparameters: UnimodalHyperparameters, epochs: int
    ) -> None:
        self.check(hyperparameters, tuple(encoders))
        modality = str(hyperparameters.modality)
        super().__init__({modality: encoders[modality]}, num_classes, hyperparameters, epochs)
        self._share = 1 / len(encoders)
        self.head = linear(self.dims[0], num_classes)

    @classmethod
    def check(cls, hyperparameters: Any, modalities: tuple[str, ...]) -> None:
        super().check(hyperparameters, modalities)
        if hyperparameters.modality is None:
            raise MethodError(f"unimodal: say which modality with the hyperparameter modality: {', '.join(modalities)}")
        if hyperparameters.modality not in modalities:
            raise MethodError(f"unimodal: {unknown('modality', hyperparameters.modality, modalities)}")

    def passes_per_sample(self) -> float:
        return self._share

    def classify(self, features: list[Tensor]) -> dict[str, Tensor]:
        logits = self.head(features[0])
        return {MULTI: logits, self.modalities[0]: logits}
