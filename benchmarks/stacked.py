"""What K small runs gain as one batched model, beside K runs one after another.

    python -m benchmarks.stacked [--rounds 5]

Networks of two branches and one head, as joint training has them, take steps of SGD on batches of their own: each by
itself, and all K stacked (`torch.func.stack_module_state`, `vmap`). Both take turns in one process, on one thread, in
processor time. The second part asks whether a run's gradients depend on which runs it is stacked with: the largest
difference in any weight between stacks of 2, 5 and 8, and between stacked and alone.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, stack_module_state, vmap
from torch.nn import functional as F

BATCH, CLASSES, SIZES = 64, 10, (2, 5, 8, 16)


class TwoBranches(nn.Module):
    """Two MLPs of two layers, their features side by side, one linear head."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = (
            nn.Sequential(nn.Linear(size, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()) for size in (32, 16)
        )
        self.head = nn.Linear(2 * width, CLASSES)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        return self.head(torch.cat([self.first(first), self.second(second)], -1))


class Convolutions(nn.Module):
    """Two 1-D convolutions over a sensor's window of 60 steps, their mean, one linear head; the second input is
    ignored."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv1d(3, width, 5, padding=2), nn.ReLU(), nn.Conv1d(width, width, 5, padding=2, stride=2), nn.ReLU()
        )
        self.head = nn.Linear(width, CLASSES)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        return self.head(self.layers(first).mean(-1))


CASES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "MLPs of width 32": (lambda: TwoBranches(32), (32,)),
    "MLPs of width 64": (lambda: TwoBranches(64), (32,)),
    "MLPs of width 256": (lambda: TwoBranches(256), (32,)),
    "1-D convolutions of width 32": (lambda: Convolutions(32), (3, 60)),
}
"""Label -> a fresh network, and the shape of a sample of its first input."""

Batches = tuple[Tensor, Tensor, Tensor]


def batches(count: int, shape: tuple[int, ...]) -> Batches:
    """Draw a batch for each of ``count`` networks: two inputs and labels, [count, BATCH, ...]."""
    first, second = torch.randn(count, BATCH, *shape), torch.randn(count, BATCH, 16)
    return first, second, torch.randint(0, CLASSES, (count, BATCH))


def optimizer(parameters: list[Tensor]) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, 0.05, momentum=0.9, weight_decay=1e-4, fused=True)


def one_by_one(networks: list[nn.Module], drawn: Batches) -> Callable[[], None]:
    """Prepare a step of each network by itself."""
    optimizers = [optimizer(list(network.parameters())) for network in networks]

    def step() -> None:
        for network, own, first, second, labels in zip(networks, optimizers, *drawn, strict=True):
            own.zero_grad()
            F.cross_entropy(network(first, second), labels).backward()  # type: ignore[no-untyped-call]
            own.step()

    return step


def loss_of(base: nn.Module) -> Callable[..., Tensor]:
    """Give the loss of a network of ``base``'s kind as a function of its parameters and its batch."""

    def loss(parameters: dict[str, Tensor], first: Tensor, second: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(functional_call(base, parameters, (first, second)), labels)

    return loss


def stacked(networks: list[nn.Module], drawn: Batches) -> Callable[[], None]:
    """Prepare a step of all networks as one batched model."""
    parameters = {name: x.detach().clone().requires_grad_() for name, x in stack_module_state(networks)[0].items()}
    joint, losses = optimizer(list(parameters.values())), vmap(loss_of(networks[0]))

    def step() -> None:
        joint.zero_grad()
        losses(parameters, *drawn).sum().backward()
        joint.step()

    return step


def milliseconds(step: Callable[[], None], times: int) -> float:
    started = time.process_time()
    for _ in range(times):
        step()
    return 1000 * (time.process_time() - started) / times


def gradients(networks: list[nn.Module], drawn: Batches) -> dict[str, Tensor]:
    """Compute the gradients of stacked networks, [K, ...] by parameter."""
    return vmap(grad(loss_of(networks[0])))(stack_module_state(networks)[0], *drawn)


def largest_difference(label: str) -> float:
    """Compare the gradients of one network in stacks of 2, 5 and 8, and alone, each with the same batch."""
    build, shape = CASES[label]
    networks, drawn = [build() for _ in range(max(SIZES[:3]))], batches(max(SIZES[:3]), shape)
    found = [gradients(networks[:k], tuple(each[:k] for each in drawn)) for k in SIZES[:3]]  # type: ignore[arg-type]
    F.cross_entropy(networks[0](drawn[0][0], drawn[1][0]), drawn[2][0]).backward()  # type: ignore[no-untyped-call]
    alone = {name: parameter.grad for name, parameter in networks[0].named_parameters()}
    return max(float((each[name][0] - own).detach().abs().max()) for each in found for name, own in alone.items())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="default: 5")
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print(f"{'':30}  K  alone ms  stacked ms  alone / stacked")
    for label, (build, shape) in CASES.items():
        for count in SIZES:
            networks, drawn = [build() for _ in range(count)], batches(count, shape)
            steps = one_by_one(networks, drawn), stacked(networks, drawn)
            times = max(3, 120 // count)
            taken = [[milliseconds(step, times) for step in steps] for _ in range(rounds + 1)][1:]
            alone, together = (statistics.median(column) for column in zip(*taken, strict=True))
            print(f"{label:30}{count:3}{alone:10.2f}{together:12.2f}{alone / together:17.2f}", flush=True)
    for label in CASES:
        print(f"{label}: gradients differ by {largest_difference(label):.1e} at most")


if __name__ == "__main__":
    main()
