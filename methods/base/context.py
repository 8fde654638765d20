"""The Context: what a method may ask of the training loop."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, overload

import torch
from torch import Tensor, nn

from data.base import Batch
from methods.base.phase import Phase


class Context(Protocol):
    """What a training step may ask of the loop; it hides whether one worker runs or many.

    Every number that steers training must be that of the joint batch, so that N workers on batches of B/N equal
    one worker on B. ``mean`` and ``backward`` weight by the number of samples, so unequal shares are right too, and
    a share of no sample at all.
    """

    device: torch.device
    seed: int
    """Seed of the run."""
    batch_size: int
    """Samples of the joint batch, over all workers."""
    train_size: int
    """Samples of the training split, with those held out."""
    held_out: Tensor
    """Positions of the training samples held out, int64 and ascending: see ``Method.holdout``."""
    rank: int
    world_size: int

    # Where training stands -------------------------------------------------------------------------------------

    phase: Phase
    phase_epoch: int
    """Epoch of the phase, counted from 1."""
    epoch: int
    """Epoch of the budget, counted from 1; in a phase beside the budget, of that phase."""
    epochs: int
    """Epochs of the phases in the budget, in all; in a phase beside the budget, of that phase."""

    @property
    def step(self) -> int:
        """Optimizer steps finished since the start of training; in a phase beside the budget, of that phase."""

    @property
    def steps_in_epoch(self) -> int:
        """Steps of the present epoch, known from its first step on."""

    @property
    def samples_in_step(self) -> int:
        """Samples of the joint batch of the present step: the batch size, but for an epoch's last."""

    @property
    def offset(self) -> int:
        """Position of this worker's first sample in the joint batch of the present step."""

    # Learning rates and optimizers -----------------------------------------------------------------------------

    @property
    def rates(self) -> dict[str, float]:
        """Parameter group -> factor of its learning rate, beside the phase's; groups that are not named have 1. Written
        between epochs only. A group at 0 rests: neither stepped nor decayed, in evaluation mode, without gradients."""

    def zero_grad(self) -> None:
        """Forget the gradients of the parameters that the phase trains."""

    def optimizer_step(self, *, clipped: bool = False) -> None:
        """Clip the gradients as the recipe says, then step the optimizer. Parameters without gradient rest.

        clipped: the method has clipped them itself, in the place of the recipe; the run's log says so where both
        would."""

    def forget_momentum(self, parameters: Sequence[nn.Parameter]) -> None:
        """Clear what the run's optimizers remember of parameters (momentum, moments, counts), as if they were new."""

    def side_optimizer(
        self, name: str, parameters: Sequence[nn.Parameter], kind: str = "sgd", **options: Any
    ) -> torch.optim.Optimizer:
        """Return the optimizer of that name beside the run's own: made at the first call, kept by a resumed run.

        parameters: of no group of the method. kind: ``sgd``, ``adam`` or ``adamw``; options: torch's own."""

    # Gradients -------------------------------------------------------------------------------------------------

    def autocast(self) -> AbstractContextManager[object]:
        """Switch to the recipe's precision, for forward passes and losses."""

    def backward(self, loss: Tensor) -> None:
        """Add d loss / d parameters of the joint batch to the gradients, alike on every worker.

        ``loss`` is the mean over this worker's samples, or a value computed alike on gathered tensors."""

    @overload
    def gradients(self, loss: Tensor, parameters: Sequence[nn.Parameter]) -> list[Tensor]: ...

    @overload
    def gradients(self, loss: Sequence[Tensor], parameters: Sequence[nn.Parameter]) -> list[list[Tensor]]: ...

    def gradients(self, loss: Any, parameters: Sequence[nn.Parameter]) -> Any:
        """Compute the gradient of ``loss`` over the joint batch for each parameter; zeros where it does not depend on
        it. Of several losses: a list for each, averaged over workers together. The graph is kept; ``.grad`` stays
        untouched."""

    # Workers ---------------------------------------------------------------------------------------------------

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

    # Random numbers --------------------------------------------------------------------------------------------

    def generator(self, name: str, *keys: int) -> torch.Generator:
        """Make a CPU generator that depends on the run's seed, ``name`` and ``keys`` (epoch, step) alone: alike on all
        workers, and in a resumed run, without any state to keep."""

    def sample_numbers(self, name: str, columns: int) -> Tensor:
        """Give uniform numbers in [0, 1) for the samples of the present step, float32 [b, columns] on the device.

        They are drawn for the joint batches of the epoch, so any number of workers sees the same ones."""

    def step_numbers(self, name: str, draw: Callable[[torch.Generator], Tensor]) -> Tensor:
        """Give the numbers that ``draw`` makes for the present step, on the device and alike on every worker.

        draw: takes a CPU generator, returns a tensor whose shape is the same in every step. Steps are drawn ahead and
        moved together, so a step waits for nothing."""

    def device_generator(self, name: str, *keys: int) -> torch.Generator:
        """Make a generator on the device, alike on all workers: for noise as large as a whole gradient alone. Its
        numbers differ from those of a CPU."""

    # Samples and messages --------------------------------------------------------------------------------------

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

        index: int64 positions in the training split, in this order (default: all but those held out, ascending).
        shard: this worker's part of each joint batch (contiguous; possibly empty in the last one), else the whole batch
        on each worker. passes: forward passes through all encoders that a sample will cost (one branch of M: 1/M), for
        the account.
        """

    def validation_batches(self, size: int | None = None, *, shard: bool = True) -> Iterator[Batch]:
        """Yield the validation samples in joint batches, as :meth:`train_batches` yields training samples."""

    def log(self, name: str, value: Tensor | float) -> None:
        """Add a mean over this worker's samples to the epoch's mean of the diagnostic ``name``; nothing is read off the
        device before the epoch ends. Every worker logs the same names in an epoch; the last value of a name in a step
        counts, so an objective may be computed twice."""

    def logged(self) -> dict[str, float]:
        """Read the means of what was logged since the epoch's first step: at its end, by every worker."""

    def warn(self, message: str) -> None:
        """Write a line into the run's log, once for each different message."""
