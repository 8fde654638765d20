"""One modality alone: its encoder and one linear head. The yardstick of each modality's branch in a joint model."""

from __future__ import annotations

from torch import Tensor, nn

from methods.base import MULTI, Method, MethodError, Phase
from methods.base.hyperparameters import Hyperparameters, hyper
from models import linear, unknown


class UnimodalHyperparameters(Hyperparameters):
    modality: str | None = hyper(None)
    """the modality that is trained; must be given"""


class Unimodal(Method[UnimodalHyperparameters]):
    """Cross-entropy of a linear head d_m -> C on one encoder's feature; the other encoders are dropped.

    Cost: one forward and one backward of a single encoder a step."""

    name = "unimodal"
    title = "Unimodal training"
    paper = "naive baseline: one modality alone"
    stages = ()
    capturable = True
    min_modalities = 1

    def build(self) -> None:
        modality = str(self.hyperparameters.modality)
        self.encoders = nn.ModuleDict({modality: self.encoders[modality]})
        self.head = linear(self.dims[0], self.num_classes)

    @classmethod
    def check(cls, hyperparameters: UnimodalHyperparameters, modalities: tuple[str, ...]) -> None:
        super().check(hyperparameters, modalities)
        if hyperparameters.modality is None:
            raise MethodError(f"unimodal: say which modality with the hyperparameter modality: {', '.join(modalities)}")
        if hyperparameters.modality not in modalities:
            raise MethodError(f"unimodal: {unknown('modality', hyperparameters.modality, modalities)}")

    @classmethod
    def phases_of(
        cls, hyperparameters: UnimodalHyperparameters, modalities: tuple[str, ...], epochs: int
    ) -> list[Phase]:
        return [Phase("training", epochs, passes=1 / len(modalities))]

    def classify(self, features: list[Tensor]) -> dict[str, Tensor]:
        logits = self.head(features[0])
        return {MULTI: logits, self.modalities[0]: logits}
