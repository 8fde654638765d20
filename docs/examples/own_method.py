"""Write a method of your own and train it beside joint training, in one file.

In a module of methods/, or as the entry point ``sweep.methods`` of a package, the same class is known to every sweep by
its name. CONTRIBUTING.md goes on from here."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

import data
import methods
from data.base import Batch
from methods import Context, Hyperparameters, Method, Outputs, Uniform, hyper
from models import encoders, linear
from sweep.training import Recipe, fit


class WeakFirstHyperparameters(Hyperparameters):
    gamma: float = hyper(1.0, low=0.0, search=Uniform(0.0, 4.0))
    """how much more the weaker modality counts"""


class WeakFirst(Method[WeakFirstHyperparameters]):
    """Sum the modalities' losses with weights that grow with the losses: the weaker a modality, the more it counts."""

    name = "weak_first"
    title = "The weaker modality counts more"
    paper = "an example"
    stages = ("objective",)

    def build(self) -> None:
        self.heads = torch.nn.ModuleList(linear(dim, self.num_classes) for dim in self.dims)

    def classify(self, features: list[Tensor]) -> dict[str, Tensor]:
        own = [head(feature) for head, feature in zip(self.heads, features, strict=True)]
        return {methods.MULTI: torch.stack(own).sum(0), **dict(zip(self.modalities, own, strict=True))}

    def loss(self, outputs: Outputs, batch: Batch, context: Context) -> Tensor:
        own = torch.stack([F.cross_entropy(logits, batch.labels) for logits in outputs.unimodal_logits])
        # A number that steers training is that of the joint batch, so that two workers do what one does.
        weights = torch.softmax(self.hyperparameters.gamma * context.mean(own.detach()), 0)
        return F.cross_entropy(outputs.logits, batch.labels) + len(own) * (weights * own).sum()


source = data.get("digits")
digits = source.load(source.Options())
for kind in (methods.get("joint"), WeakFirst):
    torch.manual_seed(0)
    branches = {m: encoders.build("mlp", shape) for m, shape in digits.shapes().items()}
    method = kind(branches, digits.num_classes, kind.Hyperparameters(), 10)
    result = fit(method, digits, Recipe(lr=0.05), seed=0)
    print(f"{kind.name}: test accuracy {result.test['test_accuracy']:.3f}, "
          f"profile alone {result.test['test_accuracy_profile']:.3f}")  # fmt: skip
