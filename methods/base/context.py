"""The Context: what a method may ask of the training loop."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

import torch
from torch import Tensor, nn

from data.base import Batch


class Context(Protocol):
    """What a training step may ask of the loop; it hides whether one worker runs or many.

    Every number that steers training must be that of the joint batch, so that N workers on batches of B/N equal
    one worker on B. ``mean`` and ``backward`` weight by the number of samples, so unequal shares are right too.
    """

    device: torch.device
    epoch: int
    """Epoch of the loop, counted from 1."""
    epochs: int
    """Epochs of the loop in all: the method's ``total_epochs()``."""
    step: int
    """Optimizer steps finished since the start of training."""
    seed: int
    """Seed of the run."""
    batch_size: int
    """Samples of the joint batch, over all workers."""
    train_size: int
    """Samples of the training split."""
    rank: int
    world_size: int
    optimizer: torch.optim.Optimizer

    def autocast(self) -> AbstractContextManager[object]:
        """Switch to the recipe's precision, for forward passes and losses."""

    def backward(self, loss: Tensor) -> None:
        """Add d loss / d parameters of the joint batch to the gradients, alike on every worker.

        ``loss`` is the mean over this worker's samples, or a value computed alike on gathered tensors."""

    def gradients(self, loss: Tensor, parameters: Sequence[nn.Parameter]) -> list[Tensor]:
        """Compute the gradient of ``loss`` over the joint batch for each parameter; zeros where it does not depend on
        it. The graph is kept; ``.grad`` stays untouched."""

    def optimizer_step(self) -> None:
        """Clip the gradients as the recipe says, then step the optimizer. Parameters without gradient rest."""

    def mean(self, value: Tensor) -> Tensor:
        """Turn a mean over this worker's part of the current training batch into that over the joint batch.
        Not differentiable."""

    def sum(self, value: Tensor) -> Tensor:
        """Add up over workers, elementwise. Not differentiable."""

    def gather(self, value: Tensor) -> Tensor:
        """Join the rows of all workers in rank order: [b, ...] -> [B, ...] of the joint batch. Differentiable."""

    def gather_rows(self, value: Tensor) -> Tensor:
        """Join any number of rows a worker, as scoring passes have; not differentiable."""

    def broadcast(self, value: Tensor) -> Tensor:
        """Give rank 0's value to every worker."""

    def generator(self, name: str, *keys: int) -> torch.Generator:
        """Make a CPU generator that depends on the run's seed, ``name`` and ``keys`` (epoch, step) alone: alike on all
        workers, and in a resumed run, without any state to keep."""

    def train_batches(
        self,
        size: int | None = None,
        *,
        augment: bool = False,
        index: Tensor | None = None,
        shard: bool = True,
        passes: float = 1.0,
    ) -> Iterator[Batch]:
        """Yield training samples in joint batches of ``size`` (default: the batch size), the last short one kept.

        index: int64 positions in the training split, in this order (default: all, ascending). shard: this worker's
        part of each joint batch (contiguous; possibly empty in the last one), else the whole batch on each worker.
        passes: forward passes through all encoders that a sample will cost (one branch of M: 1/M), for the account.
        """

    def add_parameters(self, parameters: Sequence[nn.Parameter]) -> None:
        """Let the optimizer learn of parameters created after the start."""

    def new_optimizer(self, parameters: Sequence[nn.Parameter], epochs: int) -> None:
        """Start a fresh optimizer of the recipe over ``parameters`` alone, and a fresh learning-rate schedule that
        counts from 0 over ``epochs``."""

    def warn(self, message: str) -> None:
        """Write a line into the run's log, once for each different message."""
