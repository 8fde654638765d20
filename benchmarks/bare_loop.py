"""What `fit` with all its records costs beside a bare PyTorch loop that trains and evaluates the same, in one run.

    python -m benchmarks.bare_loop [--epochs 30] [--rounds 7] [--only joint iprm]

Both train the embedded digits (600 samples, batches of 64, one MLP a view) from the same weights in the same order, on
one thread, in turn, so that other load meets both alike; their losses must be equal. The bare loop is what one writes
by hand: torch's own optimizer with its defaults, the loss added up, after each epoch the fused prediction and that of
each modality on the validation split, with the accuracy of each, the losses, and a copy of the best weights; at the end
the test split with these, and both splits with each modality alone. It keeps no records, MAP, macro-F1, calibration or
AUROC, resumes nothing, and knows one worker. Printed are processor seconds: medians over rounds, and the median of the
rounds' ratios with the extremes.
"""

from __future__ import annotations

import argparse
import copy
import math
import statistics
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import data
import methods
from data.base import Dataset, Split
from methods.base import Method
from models import encoders
from sweep.training import seeds
from sweep.training.loop import Training
from sweep.training.recipe import Recipe

SEED = 0
RECIPE = Recipe()


class Bare(nn.Module, ABC):
    """A network of two views with its loss, as one writes it by hand."""

    def __init__(self, method: Method) -> None:
        """method: whose layers are copied."""
        super().__init__()
        self.encoders = copy.deepcopy(method.encoders)

    def features(self, inputs: dict[str, Tensor]) -> list[Tensor]:
        return [encoder(inputs[name]) for name, encoder in self.encoders.items()]

    @abstractmethod
    def loss(self, inputs: dict[str, Tensor], labels: Tensor) -> Tensor:
        """Compute the training loss of a batch."""

    @abstractmethod
    def logits(self, features: list[Tensor]) -> list[Tensor]:
        """Predict: the fused logits [n, C], then those of each view."""


class BareJoint(Bare):
    """Joint training of concatenated features."""

    def __init__(self, method: Method) -> None:
        super().__init__(method)
        self.head: nn.Linear = copy.deepcopy(method.fusion.head)  # type: ignore[union-attr, assignment]

    def loss(self, inputs: dict[str, Tensor], labels: Tensor) -> Tensor:
        return F.cross_entropy(self.head(torch.cat(self.features(inputs), dim=1)), labels)

    def logits(self, features: list[Tensor]) -> list[Tensor]:
        x, y = features
        left, right = self.head.weight.split([x.shape[1], y.shape[1]], dim=1)
        share = self.head.bias / 2
        return [self.head(torch.cat(features, dim=1)), F.linear(x, left, share), F.linear(y, right, share)]


class BareIPRM(Bare):
    """IPRM of two views."""

    def __init__(self, method: Method) -> None:
        super().__init__(method)
        self.heads: nn.ModuleList = copy.deepcopy(method.unimodal_heads)  # type: ignore[assignment]
        self.mixed_head: nn.Module = copy.deepcopy(method.mixed_heads[0])  # type: ignore[index]
        self.register_buffer("weight", torch.tensor(0.5))

    def mixed(self, x: Tensor, y: Tensor, weight: Tensor) -> Tensor:
        x, y = F.normalize(x, eps=1e-8), F.normalize(y, eps=1e-8)
        cosine = (x * y).sum(1, keepdim=True)
        aligned = cosine.abs() > 1 - 1e-6
        theta = torch.where(aligned, torch.zeros_like(cosine), cosine).acos()
        curved = (torch.sin(weight * theta) * x + torch.sin((1 - weight) * theta) * y) / theta.sin()
        return self.mixed_head(torch.where(aligned, weight * x + (1 - weight) * y, curved))

    def loss(self, inputs: dict[str, Tensor], labels: Tensor) -> Tensor:
        x, y = self.features(inputs)
        own = [head(feature) for head, feature in zip(self.heads, (x, y), strict=True)]
        with torch.no_grad():
            probe = self.mixed(x, y, self.weight).log_softmax(1)
            logs = [logits.log_softmax(1) for logits in own]
            far_x, far_y = ((log.exp() * (log - probe)).sum() for log in logs)
            omega = far_y / (far_x + far_y)
            self.weight = 0.8 * self.weight + 0.2 * omega
        return sum((F.cross_entropy(logits, labels) for logits in (*own, self.mixed(x, y, omega))), torch.zeros(()))

    def logits(self, features: list[Tensor]) -> list[Tensor]:
        own = [head(feature) for head, feature in zip(self.heads, features, strict=True)]
        return [own[0] + own[1] + self.mixed(*features, self.weight), *own]


CASES: dict[str, type[Bare]] = {"joint": BareJoint, "iprm": BareIPRM}


def train_bare(network: Bare, digits: Dataset, epochs: int) -> Iterator[float]:
    """Train, select the best epoch, evaluate; yield the training loss of each epoch."""
    train, validation = digits.train, digits.validation
    recipe, best, chosen = RECIPE, 0.0, network.state_dict()
    optimizer = torch.optim.SGD(
        network.parameters(), lr=recipe.lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay
    )
    for epoch in range(1, epochs + 1):
        network.train()
        total = 0.0
        order = torch.randperm(len(train), generator=seeds.generator(SEED, "order", epoch))
        for rows in order.split(recipe.batch_size):
            loss = network.loss({m: train.inputs[m][rows] for m in digits.modalities}, train.labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(rows)
        logits = predict(network, validation)
        accuracies = [(each.argmax(1) == validation.labels).float().mean().item() for each in logits]
        for each in logits:
            F.cross_entropy(each, validation.labels).item()
        if accuracies[0] > best:
            best, chosen = accuracies[0], copy.deepcopy(network.state_dict())
        yield total / len(train)
    network.load_state_dict(chosen)
    for logits in predict(network, digits.test):
        (logits.argmax(1) == digits.test.labels).float().mean().item()
    for split in (validation, digits.test):
        for present in ([True, False], [False, True], [True, True]):
            (predict(network, split, present)[0].argmax(1) == split.labels).float().mean().item()


@torch.no_grad()
def predict(network: Bare, split: Split, present: list[bool] | None = None) -> list[Tensor]:
    """Predict a split, with zeros for the features of absent views."""
    network.eval()
    features = network.features(dict(split.inputs))  # type: ignore[arg-type]
    if present is not None:
        features = [x if there else torch.zeros_like(x) for x, there in zip(features, present, strict=True)]
    return network.logits(features)


def built(name: str, digits: Dataset, epochs: int) -> Method:
    """Build a method over an MLP a view."""
    torch.manual_seed(SEED)
    kind = methods.get(name)
    branches = {m: encoders.build(encoders.resolve("mlp"), shape) for m, shape in digits.shapes().items()}
    return kind(branches, digits.num_classes, kind.Hyperparameters(), epochs)


def train_by_fit(method: Method, digits: Dataset) -> Iterator[float]:
    """Train as `fit` does; yield the training loss of each epoch."""
    training = Training(method, digits, RECIPE, seed=SEED)
    for record in training.epochs():
        yield record.loss
    training.result()


def compare(name: str, digits: Dataset, epochs: int) -> tuple[float, float]:
    """Train both, an epoch of each in turn; return their processor seconds. Raises ValueError for unequal losses."""
    method = built(name, digits, epochs)
    loops = [train_by_fit(method, digits), train_bare(CASES[name](method), digits, epochs)]
    seconds = [0.0, 0.0]
    # Once more than there are epochs: for what follows the last.
    for epoch in range(epochs + 1):
        losses = [0.0, 0.0]
        for place, loop in enumerate(loops):
            started = time.process_time()
            losses[place] = next(loop, 0.0)
            seconds[place] += time.process_time() - started
        if not math.isclose(*losses, rel_tol=1e-3):
            raise ValueError(f"{name}, epoch {epoch + 1}: a loss of {losses[0]}, by the bare loop {losses[1]}")
    return seconds[0], seconds[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES))
    options = parser.parse_args()
    torch.set_num_threads(1)
    source = data.get("digits")
    digits = source.load(source.Options())
    for name in options.only:
        compare(name, digits, 3)
        rounds = [compare(name, digits, options.epochs) for _ in range(options.rounds)]
        ratios = [ours / bare for ours, bare in rounds]
        ours, bare = (1000 * statistics.median(seconds) / options.epochs for seconds in zip(*rounds, strict=True))
        print(
            f"{name:8}{statistics.median(ratios):6.3f}  ({min(ratios):.3f}, {max(ratios):.3f})"
            f"   {ours:.2f} and {bare:.2f} ms an epoch, evaluations included",
            flush=True,
        )


if __name__ == "__main__":
    main()
