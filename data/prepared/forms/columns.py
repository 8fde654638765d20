"""What the columns of all forms share: arrays of n samples, kept on the host (a map of a file) or on a device."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Generic, Self, TypeVar

import torch
from torch import Tensor

from data.base import Column
from data.base.placement import batch_memory, gathered, moved
from data.prepared.forms.base import Form

F = TypeVar("F", bound=Form)
Device = torch.device | str


def on_host(values: Tensor, device: Device = "cpu") -> bool:
    """Tell whether samples lie on the host and go to nowhere else: then their batch is made there alone."""
    return values.device.type == torch.device(device).type == "cpu"


def assembled(
    shape: tuple[int, ...], samples: Iterable[Tensor], finish: Callable[[Tensor], Tensor] = lambda batch: batch
) -> Tensor:
    """Make a float32 batch of ``shape`` on the host, of as many ``samples`` [...] of any type: each is converted into
    its own place and finished there (``finish`` works in place, on batches of any size) while the processor has it at
    hand. Nothing is gathered first, so that a sample is read once from where it is stored and written once."""
    batch = torch.empty(shape)
    for place, sample in zip(batch, samples, strict=True):
        finish(place.copy_(sample).unsqueeze(0))
    return batch


def sent(shape: tuple[int, ...], dtype: torch.dtype, samples: Iterable[Tensor], device: Device) -> Tensor:
    """Send ``samples`` [...] of the host to a device as one batch of ``shape``, of the type that they have: each is
    written once, into memory that a GPU copies from."""
    batch = batch_memory(shape, dtype, device)
    for place, sample in zip(batch, samples, strict=True):
        place.copy_(sample)
    return batch.to(device, non_blocking=True)


@dataclass(frozen=True, eq=False)
class ArrayColumn(Column, Generic[F]):
    """Samples of a form. arrays: [N, ...] by name; rows: int64 [n], where in them the samples lie; training: whether
    they are those of a training split; shape: of one model-ready sample."""

    form: F
    arrays: Mapping[str, Tensor]
    rows: Tensor
    training: bool
    shape: tuple[int, ...]

    facts: ClassVar[frozenset[str]] = frozenset()
    """Arrays of a few numbers a sample that random numbers are drawn by: they stay on the host."""

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, name: str, device: Device, index: Tensor, within: Tensor | None = None) -> Tensor:
        """Take an array's values of the samples at ``index``, and ``within`` these, to ``device``, in one gather.
        index: of any shape, with which that of ``within`` broadcasts."""
        values, rows = self.arrays[name], self.located(index)
        if within is not None:
            rows, values = rows * values.shape[1] + within, values.flatten(0, 1)
        return gathered(values, rows, device)

    def located(self, index: Tensor, device: Device = "cpu") -> Tensor:
        """Find the rows of the samples at ``index``, for a gather on ``device``."""
        return moved(self.rows[index.cpu()], device)

    def fact(self, name: str, index: Tensor) -> Tensor:
        """Take one of the ``facts`` of the samples at ``index``."""
        return self.arrays[name][self.located(index)]

    def resident(self, device: Device) -> Self:
        there = {name: values[self.rows] for name, values in self.arrays.items()}
        there = {name: values if name in self.facts else values.to(device) for name, values in there.items()}
        return replace(self, arrays=there, rows=torch.arange(len(self.rows)))

    @property
    def nbytes(self) -> int:
        return len(self.rows) * sum(values[:1].nbytes for values in self.arrays.values())
