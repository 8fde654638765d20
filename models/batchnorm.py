"""Batch normalisation over the joint batch of all workers, on any backend of torch.distributed.

Ioffe and Szegedy, "Batch Normalization", ICML 2015, with mean and variance of the joint batch, so that N workers on
batches of B/N normalise as one worker on a batch of B. (torch's own SyncBatchNorm needs a GPU.)"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

_Module = TypeVar("_Module", bound=nn.Module)


class SynchronizedBatchNorm(_BatchNorm):
    """Batch norm of [B, C, ...] whose training statistics are those of the whole default process group.

    Takes the place of torch's BatchNorm1d, 2d and 3d, with the same arguments and the same ``state_dict``; with one
    worker, and in evaluation mode, it is theirs bit for bit. With several, every worker must run every training
    forward and backward, whatever its share of the batch: unequal shares count by size, an empty one counts nothing.
    Raises ValueError for an input without channel axis, and in training for a joint batch of one value a channel."""

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() < 2:
            raise ValueError(f"batch norm needs [B, C, ...], got an input of shape {tuple(input.shape)}")

    def forward(self, input: Tensor) -> Tensor:
        if not (self.training and worker_count() > 1):
            return super().forward(input)
        self._check_input_dim(input)
        # At least single precision, as in torch: sums over a batch in half precision lose digits.
        x = input.to(torch.promote_types(input.dtype, torch.float32))
        over = [axis for axis in range(x.dim()) if axis != 1]
        shape = [1, -1] + [1] * (x.dim() - 2)

        held = x.numel() // x.shape[1]
        count, mean, variance = _joint_moments(x, over, held)
        # Only where this worker has one value at most can the joint batch have: elsewhere no wait for the device.
        if held < 2 and count.item() < 2:
            raise ValueError("batch norm needs more than one value a channel to train on; use a larger batch")

        self._track(mean.detach(), variance.detach() * count / (count - 1))
        centred, scale = x - mean.view(shape), torch.rsqrt(variance + self.eps)
        if self.weight is None:
            return (centred * scale.view(shape)).to(input.dtype)
        return (centred * (scale * self.weight).view(shape) + self.bias.view(shape)).to(input.dtype)

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor) -> None:
        """Move the running statistics towards the joint batch's mean and unbiased variance."""
        if not self.track_running_stats or self.running_mean is None or self.running_var is None:
            return
        assert self.num_batches_tracked is not None
        self.num_batches_tracked += 1
        momentum = 1 / self.num_batches_tracked.to(mean.dtype) if self.momentum is None else self.momentum
        self.running_mean.mul_(1 - momentum).add_(momentum * mean)
        self.running_var.mul_(1 - momentum).add_(momentum * variance)


def synchronize(module: _Module) -> _Module:
    """Make every batch norm of torch in ``module`` (itself included) a :class:`SynchronizedBatchNorm`, in place;
    returns ``module``. Subclasses of other packages, which may compute something else, stay as they are."""
    for each in module.modules():
        if type(each) in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d):
            # The state is the same and only the forward pass differs: parameters, buffers, hooks and layers used in
            # two places all stay themselves.
            each.__class__ = SynchronizedBatchNorm
    return module


@contextmanager
def frozen_statistics(module: nn.Module) -> Iterator[None]:
    """Let training passes through ``module`` normalise by the batch for a while but leave ``running_mean``,
    ``running_var`` and ``num_batches_tracked`` of every batch norm bit-identical. Modes (train, eval) stay as they are;
    evaluation passes still use the running statistics."""
    norms = [(each, each.track_running_stats) for each in module.modules() if isinstance(each, _BatchNorm)]
    try:
        for norm, _ in norms:
            norm.track_running_stats = False
        yield
    finally:
        for norm, tracked in norms:
            norm.track_running_stats = tracked


def worker_count() -> int:
    """Count the workers that share a batch."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def _joint_moments(x: Tensor, over: list[int], held: int) -> tuple[Tensor, Tensor, Tensor]:
    """Compute the joint batch's count [1], and its mean and biased variance [C], of this worker's x [B, C, ...].

    over: the axes beside the channels. held: values a channel that this worker has, which may be none. One collective,
    and one more in the backward pass. The parts are merged by Chan, Golub and LeVeque, "Updating Formulae and a
    Pairwise Algorithm for Computing Sample Variances", 1979: sums of squares would lose digits where the mean is
    large."""
    if held:
        own_variance, own_mean = torch.var_mean(x, over, correction=0)
    else:
        own_variance = own_mean = x.sum(over)
    own = torch.cat([x.new_full((1,), held), own_mean, held * own_variance])
    counts, means, squares = _rows_of_workers(own).split([1, x.shape[1], x.shape[1]], dim=1)

    counts = counts.detach()
    count = counts.sum(0)
    mean = (counts * means).sum(0) / count
    variance = (squares + counts * (means - mean).square()).sum(0) / count
    return count, mean, variance


def _rows_of_workers(row: Tensor) -> Tensor:
    """Stack the rows [D] of all workers, [N, D], by rank. Differentiable: the gradients of the workers are summed."""
    rank, size = dist.get_rank(), dist.get_world_size()
    # A sum with zeros: unlike gathering, its backward pass is one collective on every backend.
    # torch fixes the default of ``group`` when it is imported, which may be before or after a group is made.
    return all_reduce(F.pad(row[None], (0, 0, rank, size - 1 - rank)), group=dist.group.WORLD)
