"""What the columns of all forms share: arrays of n samples, kept on the host (a map of a file) or on a device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Generic, Self, TypeVar

import torch
from torch import Tensor

from data.base import Column
from data.base.placement import moved
from data.prepared.forms.base import Form

F = TypeVar("F", bound=Form)
Device = torch.device | str


@dataclass(frozen=True, eq=False)
class ArrayColumn(Column, Generic[F]):
    """Arrays [n, ...] of a form by name. training: whether they are those of a training split; shape: of one
    model-ready sample; substituted: how many samples stand for ones that could not be read."""

    form: F
    arrays: Mapping[str, Tensor]
    training: bool
    shape: tuple[int, ...]
    substituted: int = 0

    facts: ClassVar[frozenset[str]] = frozenset()
    """Arrays of a few numbers a sample that random numbers are drawn by: they stay on the host."""

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values())))

    def take(self, name: str, device: Device, *index: Tensor) -> Tensor:
        """Take ``arrays[name][index]`` to ``device``, in one gather."""
        values = self.arrays[name]
        return moved(values[tuple(moved(part, values.device) for part in index)], device)

    def resident(self, device: Device) -> Self:
        there = {name: values if name in self.facts else values.to(device) for name, values in self.arrays.items()}
        return replace(self, arrays=there)

    @property
    def nbytes(self) -> int:
        return sum(values.nbytes for values in self.arrays.values())
