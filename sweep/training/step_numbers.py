"""Random numbers of steps: drawn on the CPU ahead of the steps that need them, moved to the device together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from data.base.placement import moved

AHEAD_BYTES = 16 * 2**20
"""Size of the numbers of one name that are drawn ahead, at most; one step's are drawn whatever their size."""

Generators = Callable[..., torch.Generator]


class RecordedNumbers:
    """What steps read of the numbers below; while a step is recorded, buffers in their place, filled anew before each
    replay."""

    def __init__(self) -> None:
        self._reads: dict[str, Callable[[], Tensor]] = {}
        self._buffers: dict[str, Tensor] | None = None

    def give(self, name: str, read: Callable[[], Tensor]) -> Tensor:
        """Give what ``read`` reads, and note how: or the buffer. Raises RuntimeError where a recorded step asks for
        what no step before it has asked for."""
        if self._buffers is None:
            self._reads[name] = read
            return read()
        if name not in self._buffers:
            raise RuntimeError(f"a step that is recorded asks for the numbers {name!r}, which the one before did not")
        return self._buffers[name]

    @contextmanager
    def in_buffers(self) -> Iterator[Callable[[], None]]:
        """Give buffers inside; yield what fills them with the numbers of the present step."""
        buffers = {name: read().clone() for name, read in self._reads.items()}
        reads = dict(self._reads)

        def fill() -> None:
            for name, buffer in buffers.items():
                buffer.copy_(reads[name]())

        self._buffers = buffers
        try:
            yield fill
        finally:
            self._buffers = None


class StepNumbers:
    """The numbers of one epoch by name, indexed by the step. On a CPU they are the same as if each step drew its own.

    generator: makes the CPU generator of a name and keys."""

    def __init__(self, device: torch.device, generator: Generators, epoch: int, samples: int) -> None:
        self._device, self._generator = device, generator
        self._epoch, self._samples = epoch, samples
        self._of_samples: dict[str, Tensor] = {}
        self._of_steps: dict[str, tuple[int, Tensor]] = {}

    def of_samples(self, name: str, columns: int, rows: slice) -> Tensor:
        """Give uniform numbers [b, columns] of the epoch's samples at ``rows``, drawn once for all of them. Raises
        ValueError where a name is asked for with another number of columns."""
        if name not in self._of_samples:
            drawn = torch.rand(self._samples, columns, generator=self._generator(name, self._epoch))
            self._of_samples[name] = moved(drawn, self._device)
        found = self._of_samples[name]
        if found.shape[1] != columns:
            raise ValueError(f"{name!r} was drawn with {found.shape[1]} columns in this epoch, not {columns}")
        return found[rows]

    def of_step(self, name: str, step: int, last: int, draw: Callable[[torch.Generator], Tensor]) -> Tensor:
        """Give what ``draw`` makes for ``step``, which is at most ``last``; further steps are drawn with it."""
        first, ahead = self._of_steps.get(name, (step, None))
        if ahead is None or not 0 <= step - first < len(ahead):
            own = draw(self._generator(name, step))
            count = max(1, min(last - step + 1, AHEAD_BYTES // max(1, own.nbytes)))
            others = [draw(self._generator(name, other)) for other in range(step + 1, step + count)]
            first, ahead = step, moved(torch.stack([own, *others]), self._device)
            self._of_steps[name] = (first, ahead)
        return ahead[step - first]
