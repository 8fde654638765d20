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
        if not (self.training and _worker_count() > 1):
            return super().forward(input)
        self._check_input_dim(input)
        # At least single precision, as in torch: sums over a batch in half precision lose digits.
        x = input.to(torch.promote_types(input.dtype, torch.float32))
        over = [axis for axis in range(x.dim()) if axis != 1]
        shape = [1, -1] + [1] * (x.dim() - 2)

        held = x.new_tensor([x.numel() // x.shape[1]])
        *totals, count = _sum_over_workers(torch.cat([x.sum(over), held])).split([x.shape[1], 1])
        # Only where this worker has one value at most can the joint batch have: elsewhere no wait for the device.
        if x.numel() <= x.shape[1] and count.item() < 2:
            raise ValueError("batch norm needs more than one value a channel to train on; use a larger batch")
        mean = totals[0] / count
        centred = x - mean.view(shape)
        variance = _sum_over_workers(centred.square().sum(over)) / count

        self._track(mean.detach(), variance.detach() * count / (count - 1))
        scale = torch.rsqrt(variance + self.eps)
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
        momentum = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.mul_(1 - momentum).add_(mean, alpha=momentum)
        self.running_var.mul_(1 - momentum).add_(variance, alpha=momentum)


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


def _worker_count() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def _sum_over_workers(value: Tensor) -> Tensor:
    """Differentiable: the gradient is the sum over workers too."""
    # torch fixes the default of ``group`` when it is imported, which may be before or after a group is made.
    return all_reduce(value, group=dist.group.WORLD)
