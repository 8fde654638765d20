"""The workers of one run, as a group: sums, gathers and broadcasts that are free when there is only one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast
from weakref import WeakKeyDictionary

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce as differentiable_all_reduce

_groups_of_sums: WeakKeyDictionary[dist.ProcessGroup, dist.ProcessGroup] = WeakKeyDictionary()


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

    def start_sum(self, value: Tensor) -> dist.Work:
        """Start to sum elementwise over workers, in place: the sum is there after ``wait()`` of what is returned.

        All workers start these sums in the same order. They need not keep that order with respect to other collectives,
        such as those of a batch norm in the same backward pass. Takes tensors of the host, too, beside a device's."""
        return cast(dist.Work, dist.all_reduce(value, group=_group_of_sums(), async_op=True))

    def averaged_gradients(
        self, losses: Sequence[Tensor], parameters: Sequence[nn.Parameter], counts: bool = True
    ) -> list[list[Tensor]]:
        """Compute the gradients of each loss, averaged over workers: for each loss one tensor a parameter.

        losses: one number each, weighted by this worker's share; their graphs are kept. A gradient is zeros where a
        loss does not depend on a parameter. Nothing is added to ``grad``. One collective for all losses (of a type).
        counts: False where this worker has no sample, whose gradients, which may be no numbers, count as zeros."""
        own: list[Tensor] = []
        for loss in losses:
            found: Sequence[Tensor | None] = [None] * len(parameters)
            if loss.requires_grad and parameters:
                found = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
            pairs = zip(parameters, found, strict=True)
            own += [torch.zeros_like(p) if g is None or not counts else g for p, g in pairs]
        averages = iter(own if self.size == 1 else self._averages(own))
        return [[next(averages) for _ in parameters] for _ in losses]

    def _averages(self, values: Sequence[Tensor]) -> list[Tensor]:
        """Average each over workers, into new tensors: values may share memory, as gradients of a sum do."""
        averages: dict[int, Tensor] = {}
        # No set: its order differs between processes, which would then add up gradients of different types.
        for dtype in dict.fromkeys(value.dtype for value in values):
            places = [place for place, value in enumerate(values) if value.dtype == dtype]
            group = [values[place] for place in places]
            flat = torch.cat([value.reshape(-1) for value in group])
            dist.all_reduce(flat)
            flat /= self.size
            parts = flat.split([value.numel() for value in group])
            averages |= {p: part.view_as(value) for p, part, value in zip(places, parts, group, strict=True)}
        return [averages[place] for place in range(len(values))]


def worker_slice(total: int, size: int, rank: int) -> slice:
    """Cut out the contiguous part of ``total`` rows that belongs to worker ``rank`` of ``size``: sizes differ by at
    most one, the first workers have the larger ones."""
    base, extra = divmod(total, size)
    start = rank * base + min(rank, extra)
    return slice(start, start + base + (rank < extra))


def _group_of_sums() -> dist.ProcessGroup:
    """Return the process group of ``WorkerGroup.start_sum``, made where it is first asked for.

    A group matches its collectives by their order alone. Among those of the default group, a sum that one worker
    starts before and another after a batch norm's collective would be mixed with that."""
    world = cast(dist.ProcessGroup, dist.group.WORLD)
    if world not in _groups_of_sums:
        backends = dist.get_backend_config(world)
        for_host = "" if "cpu:" in backends else "cpu:gloo,"
        _groups_of_sums[world] = dist.new_group(backend=for_host + backends)
    return _groups_of_sums[world]
