"""The workers of one run, as a group: sums, gathers and broadcasts that are free when there is only one."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.nn.functional import all_reduce as differentiable_all_reduce


class WorkerGroup:
    """The default process group of torch.distributed where one is initialised, else this process alone."""

    def __init__(self) -> None:
        active = dist.is_available() and dist.is_initialized()
        self.rank = dist.get_rank() if active else 0
        self.size = dist.get_world_size() if active else 1

    def sum(self, value: Tensor) -> Tensor:
        """Sum elementwise over workers, into a new tensor."""
        value = value.detach().clone()
        if self.size > 1:
            dist.all_reduce(value)
        return value

    def broadcast(self, value: Tensor) -> Tensor:
        """Give every worker rank 0's value, as a new tensor. Shapes and types must agree."""
        value = value.detach().clone()
        if self.size > 1:
            dist.broadcast(value, src=0)
        return value

    def gather(self, value: Tensor, counts: list[int]) -> Tensor:
        """Gather the rows of all workers in rank order, [counts[rank], ...] -> [sum(counts), ...].

        Differentiable: the gradient of a row is the sum over workers of what their copies received."""
        if self.size == 1:
            return value
        before, after = sum(counts[: self.rank]), sum(counts[self.rank + 1 :])
        padding = [value.new_zeros(rows, *value.shape[1:]) for rows in (before, after)]
        joint = torch.cat([padding[0], value, padding[1]])
        return differentiable_all_reduce(joint) if joint.requires_grad else self.sum(joint)

    def counts(self, rows: int, device: torch.device) -> list[int]:
        """Count the rows of each worker."""
        mine = torch.zeros(self.size, dtype=torch.int64, device=device)
        mine[self.rank] = rows
        return self.sum(mine).tolist()

    def average_gradients(self, gradients: list[Tensor]) -> None:
        """Replace each gradient by its average over workers, in place: one collective for all of a type."""
        if self.size == 1 or not gradients:
            return
        # No set: its order differs between processes, which would then add up gradients of different types.
        for dtype in dict.fromkeys(g.dtype for g in gradients):
            group = [g for g in gradients if g.dtype == dtype]
            flat = torch.cat([g.reshape(-1) for g in group])
            dist.all_reduce(flat)
            flat /= self.size
            for gradient, part in zip(group, flat.split([g.numel() for g in group]), strict=True):
                gradient.copy_(part.view_as(gradient))


def worker_slice(total: int, size: int, rank: int) -> slice:
    """Cut out the contiguous part of ``total`` rows that belongs to worker ``rank`` of ``size``: sizes differ by at
    most one, the first workers have the larger ones."""
    base, extra = divmod(total, size)
    start = rank * base + min(rank, extra)
    return slice(start, start + base + (rank < extra))
