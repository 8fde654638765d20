"""What averaging gradients over two workers costs: one flat average after the backward pass, beside buckets that travel
during it.

    python -m benchmarks.reduction [--steps 20] [--batch 8] [--side 64] [--bucket-mib 25]

Two processes on this machine, connected by gloo, one thread each, train two ResNet-18 with random weights on images of
their own: a step is a forward and a backward pass, and the average. The contenders take turns, step by step:

- none: each worker keeps its gradients (batch norm over both workers, which all contenders have, is not the average);
- flat: the average is one collective, once all gradients are there;
- buckets: ``sweep.training.gradient_buckets``.

Printed are medians over the steps: the wall time of the slower worker, the processor seconds of both together, and
both as ratios to flat in the same turn; and for each contender the collectives of the average.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn

from models import encoders
from sweep.training.gradient_buckets import GradientBuckets
from sweep.training.workers import WorkerGroup

WARM_UP = 2
"""Turns that are not counted: the first allocate buffers and connect the workers."""


class Contenders:
    """Two networks, and a backward pass of each contender over both."""

    def __init__(self, side: int, bucket_bytes: int) -> None:
        torch.manual_seed(0)
        self.networks = [encoders.build("resnet18", (3, side, side)) for _ in range(2)]
        self.parameters: list[nn.Parameter] = [p for network in self.networks for p in network.parameters()]
        self._buckets = GradientBuckets(WorkerGroup(), bucket_bytes)

    def loss(self, images: Tensor) -> Tensor:
        features = [network(images) for network in self.networks]
        return torch.cat(features, 1).square().mean()

    def none(self, loss: Tensor) -> None:
        loss.backward()

    def flat(self, loss: Tensor) -> None:
        loss.backward()
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        joint = torch.cat([gradient.reshape(-1) for gradient in gradients])
        dist.all_reduce(joint)
        joint /= dist.get_world_size()
        for gradient, part in zip(gradients, joint.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))

    def buckets(self, loss: Tensor) -> None:
        self._buckets.backward(loss, self.parameters)

    def collectives(self, backward: Callable[[Tensor], None], images: Tensor) -> list[int]:
        """The numbers in each collective of a contender, but for those of batch norm."""
        for network in self.networks:
            network.eval()
        loss, sent, all_reduce = self.loss(images), list[int](), dist.all_reduce

        def recorded(value: Tensor, *arguments: Any, **options: Any) -> Any:
            sent.append(value.numel())
            return all_reduce(value, *arguments, **options)

        with mock.patch.object(dist, "all_reduce", recorded):
            backward(loss)
        return sent


def work(rank: int, rendezvous: str, options: argparse.Namespace) -> None:
    """One of the two workers; that of rank 0 prints."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=2)
    contenders = Contenders(options.side, int(options.bucket_mib * 2**20))
    images = torch.randn(options.batch, 3, options.side, options.side, generator=torch.Generator().manual_seed(rank))
    ways = {"none": contenders.none, "flat": contenders.flat, "buckets": contenders.buckets}
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for turn in range(WARM_UP + options.steps):
        # None is first as often as last, so that what disturbs the machine meets all alike.
        for name, backward in list(ways.items())[:: 1 if turn % 2 else -1]:
            for parameter in contenders.parameters:
                parameter.grad = None
            dist.barrier()
            wall, processor = time.perf_counter(), time.process_time()
            backward(contenders.loss(images))
            taken = torch.tensor([time.perf_counter() - wall, time.process_time() - processor])
            both = [torch.empty(2) for _ in range(2)]
            dist.all_gather(both, taken)
            if turn >= WARM_UP:
                seconds[name].append((max(float(one[0]) for one in both), sum(float(one[1]) for one in both)))
    for name, backward in ways.items():
        sent = contenders.collectives(backward, images)
        if rank == 0:
            walls, processors = zip(*seconds[name], strict=True)
            ratios = [
                statistics.median(mine / flat for mine, flat in zip(taken, flats, strict=True))
                for taken, flats in zip((walls, processors), zip(*seconds["flat"], strict=True), strict=True)
            ]
            print(
                f"{name:8} {1000 * statistics.median(walls):7.0f} ms a step ({ratios[0]:.2f} of flat), "
                f"{1000 * statistics.median(processors):7.0f} ms of processors ({ratios[1]:.2f} of flat), "
                f"numbers in collectives: {' + '.join(map(str, sent)) or 0}"
            )
    dist.barrier()
    dist.destroy_process_group()


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--steps", type=int, default=20)
    arguments.add_argument("--batch", type=int, default=8, help="images of a worker")
    arguments.add_argument("--side", type=int, default=64, help="pixels of an image's side")
    arguments.add_argument("--bucket-mib", type=float, default=25)
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(work, args=(str(Path(folder, "rendezvous")), options), nprocs=2)


if __name__ == "__main__":
    main()
