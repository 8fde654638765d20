"""Means over the samples of an epoch, kept on the device until the epoch ends."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from sweep.training.workers import WorkerGroup


class EpochMeans:
    """What a method logs in an epoch: by name, the sum over samples and their number."""

    def __init__(self, device: torch.device, workers: WorkerGroup) -> None:
        self._device, self._workers = device, workers
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}
        self._of_step: dict[str, tuple[Tensor | float, int]] = {}
        self._read: dict[str, float] | None = None

    def set(self, name: str, value: Tensor | float, samples: int) -> None:
        """Take the mean over ``samples`` of this worker as the step's value of ``name``; the name alone where there are
        none."""
        self._of_step[name] = value.detach() if isinstance(value, Tensor) else value, samples
        self._read = None

    def end_step(self) -> None:
        """Add the values of a step to the sums."""
        for name, (value, samples) in self._of_step.items():
            if name not in self._sums:
                self._sums[name] = torch.zeros((), dtype=torch.float64, device=self._device)
                self._counts[name] = 0
            if samples:
                self._sums[name] += (value.double() if isinstance(value, Tensor) else value) * samples
                self._counts[name] += samples
        self._of_step = {}

    def end_recorded_step(self) -> Callable[[], None]:
        """End a step that is being recorded, so that its sums are part of the recording; return what counts its
        samples, once a replay. Raises RuntimeError for a name that no step before it has logged."""
        counts = {name: samples for name, (_, samples) in self._of_step.items()}
        if new := counts.keys() - self._sums.keys():
            raise RuntimeError(f"a step that is recorded logs {min(new)!r}, which the one before did not")
        before = dict(self._counts)
        self.end_step()
        self._counts = before

        def count() -> None:
            for name, samples in counts.items():
                self._counts[name] += samples
            self._read = None

        return count

    def values(self) -> dict[str, float]:
        """Read the means over all workers, in one collective; names are alike on every worker."""
        self.end_step()
        if self._read is None:
            self._read = self._means() if self._sums else {}
        return dict(self._read)

    def _means(self) -> dict[str, float]:
        names = sorted(self._sums)
        counts = torch.tensor([self._counts[name] for name in names], dtype=torch.float64, device=self._device)
        sums, counts = self._workers.sum(torch.stack([torch.stack([self._sums[name] for name in names]), counts]))
        return dict(zip(names, (sums / counts).tolist(), strict=True))
