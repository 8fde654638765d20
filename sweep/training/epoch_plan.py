"""How the samples of an epoch are cut into the steps of all workers."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sweep.training.workers import worker_slice


@dataclass(frozen=True)
class Step:
    """One step of an epoch: where its samples lie in the epoch's order, and how many each worker has."""

    start: int
    size: int
    counts: list[int]
    """Of each worker, in rank order."""

    def part(self, rank: int) -> slice:
        """Cut out a worker's part of the joint batch."""
        return worker_slice(self.size, len(self.counts), rank)


def epoch_steps(samples: int, batch_size: int, workers: int, drop_last: bool) -> list[Step]:
    """Cut the samples of an epoch into joint batches; no samples give no steps.

    The last incomplete batch is kept unless ``drop_last``; one of a single sample joins the batch before it, because
    batch norm cannot be computed of one sample. Raises ValueError where ``drop_last`` leaves nothing."""
    if drop_last and 0 < samples < batch_size:
        raise ValueError(
            f"{samples} training samples give no whole batch of {batch_size}, and this method drops incomplete ones: "
            "choose a smaller train.batch_size"
        )
    whole, rest = divmod(samples, batch_size)
    sizes = [batch_size] * whole + ([rest] if rest and not drop_last else [])
    if len(sizes) > 1 and sizes[-1] == 1 < batch_size:
        sizes[-2:] = [batch_size + 1]
    steps, start = [], 0
    for size in sizes:
        parts = [worker_slice(size, workers, rank) for rank in range(workers)]
        steps.append(Step(start, size, [part.stop - part.start for part in parts]))
        start += size
    return steps


def stratified_share(labels: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Draw a ``share`` of the samples [n], rounded within each class; their positions, int64 and ascending."""
    order = torch.randperm(len(labels), generator=generator)
    classes = [order[labels[order] == label] for label in labels.unique()]
    return torch.cat([found[: round(share * len(found))] for found in classes]).sort().values
