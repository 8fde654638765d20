"""Corrupts the modalities of a dataset as samples are served, whatever the dataset and wherever its samples lie.

All that is drawn follows from ``split_seed``, the modality, the split and the sample's position in it: no worker, batch
size, order or epoch changes it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from data.base.corruption import Corruption, modality_refusal, sample_refusal, time_axis
from data.base.dataset import Column, DataError, Dataset, Split, sample_shape
from data.base.noise import normal_numbers, stream_key
from data.base.placement import gathered, moved
from data.base.splits import generator

MOST_MEASURED = 4096
"""Training samples, evenly spaced, of which mean and deviation of a modality are computed."""
_AT_ONCE = 256


Mask = NDArray[np.bool_]


def corrupted(dataset: Dataset, corrupt: Mapping[str, Corruption], seed: int) -> Dataset:
    """Corrupt modalities of a dataset; ``corrupt``: modality -> how. seed: the ``split_seed``.

    Raises DataError for an unknown modality, for samples that cannot be corrupted so, and from
    :meth:`Dataset.check`."""
    if not corrupt:
        return dataset
    dataset.check()
    kinds = {}
    for modality, corruption in corrupt.items():
        if (reason := modality_refusal(modality, dataset.modalities)) is None:
            values = dataset.train.inputs[modality]
            kinds[modality] = _Kind.of(values)
            reason = sample_refusal(corruption, sample_shape(values), kinds[modality].tokens)
        if reason is not None:
            raise DataError(f"{dataset.name}: corrupt.{modality}: {reason}")
    everywhere = {m: c for m, c in corrupt.items() if c.where == "all"}
    train = _corrupted_split(dataset.train, "train", everywhere, kinds, seed)
    validation = _corrupted_split(dataset.validation, "validation", everywhere, kinds, seed)
    test = _corrupted_split(dataset.test, "test", corrupt, kinds, seed)
    said = [f"corrupted: test {text}" for text in _notes(test, corrupt)]
    for name, split in (("training", train), ("validation", validation)):
        said += [f"corrupted: {name} {text}" for text in _notes(split, everywhere)]
    if clean := [m for m in corrupt if m not in everywhere]:
        said.append(f"corrupted in the test split alone: {', '.join(clean)}; validation, which chooses, is clean")
    return replace(dataset, train=train, validation=validation, test=test, notes=(*dataset.notes, *said))


@dataclass(frozen=True)
class _Kind:
    """What corrupting a modality must know of its training samples."""

    tokens: bool
    mean: float
    deviation: float

    @classmethod
    def of(cls, values: Tensor | Column) -> _Kind:
        """Measure mean and deviation over everything in the training samples, of at most MOST_MEASURED of them."""
        count = min(len(values), MOST_MEASURED)
        rows = torch.linspace(0, len(values) - 1, count, dtype=torch.float64).round().long()
        total, squares, numbers = 0.0, 0.0, 0
        for part in rows.split(_AT_ONCE):
            found = _served(values, part, "cpu")
            if not found.is_floating_point():
                return cls(True, 0.0, 1.0)
            exact = found.double()
            total, squares = total + float(exact.sum()), squares + float(exact.square().sum())
            numbers += exact.numel()
        mean = total / numbers
        return cls(False, mean, math.sqrt(max(0.0, squares / numbers - mean**2)))


def _served(values: Tensor | Column, index: Tensor, device: torch.device | str) -> Tensor:
    if isinstance(values, Column):
        return values.gather(index, device)
    return gathered(values, index, device)


def _corrupted_split(
    split: Split, name: str, corrupt: Mapping[str, Corruption], kinds: Mapping[str, _Kind], seed: int
) -> Split:
    if not corrupt:
        return split
    count, present = len(split), _present(len(split), list(split.inputs), name, corrupt, seed)
    inputs = dict(split.inputs)
    for modality, corruption in corrupt.items():
        values, kind, stream = inputs[modality], kinds[modality], (modality, name)
        noisy = _chosen(_draws(count, seed, "noise", *stream), corruption.share if corruption.noise else 0.0)
        segment = _Segment.drawn(values, corruption, seed, *stream)
        inputs[modality] = CorruptedColumn(
            values,
            _exchanged(count, corruption.shuffle, seed, *stream),
            torch.from_numpy(noisy),
            corruption.noise * kind.deviation,
            stream_key(seed, "corrupt", "noise", *stream),
            segment,
            kind.mean,
            sample_shape(values),
            present.get(modality),
            values.stream if isinstance(values, Column) else "",
        )
    return Split(inputs, split.labels)


# What is drawn -----------------------------------------------------------------------------------------------------


def _draws(count: int, seed: int, *stream: str) -> NDArray[np.float64]:
    """Draw a number in [0, 1) for each of ``count`` samples."""
    return generator(seed, "corrupt", *stream).random_sample(count)


def _chosen(draws: NDArray[np.float64], share: float) -> Mask:
    """Choose the samples of the smallest draws, [n]: exactly the share of them, rounded."""
    chosen = np.zeros(len(draws), bool)
    chosen[np.argsort(draws, kind="stable")[: round(share * len(draws))]] = True
    return chosen


def _exchanged(count: int, share: float, seed: int, *stream: str) -> Tensor:
    """Say for each sample whose modality it shows: those chosen show each the next one's, in a random circle."""
    draws = _draws(count, seed, "shuffle", *stream)
    circle = np.argsort(draws, kind="stable")[: round(share * count)]
    shown = np.arange(count)
    shown[circle] = np.roll(circle, -1)
    return torch.from_numpy(shown)


def _present(
    count: int, modalities: list[str], name: str, corrupt: Mapping[str, Corruption], seed: int
) -> dict[str, Tensor]:
    """Say which samples have each modality that is dropped, bool [n]. A sample that would lose all of them keeps the
    one whose draw is the largest beside its share."""
    shares = {m: c.drop for m, c in corrupt.items() if c.drop and not c.segment}
    draws = {m: _draws(count, seed, "drop", m, name) for m in shares}
    present = {m: ~_chosen(draws[m], share) for m, share in shares.items()}
    if len(shares) == len(modalities):
        lost = ~np.any(list(present.values()), axis=0)
        kept = np.argmax([draws[m] / share for m, share in shares.items()], axis=0)
        for place, found in enumerate(present.values()):
            found |= lost & (kept == place)
    return {m: torch.from_numpy(found) for m, found in present.items()}


@dataclass(frozen=True, eq=False)
class _Segment:
    """A contiguous part of each sample's time that is not there. starts: int64 [n]; length in steps; axis of time in a
    batch."""

    starts: Tensor
    length: int
    axis: int

    @classmethod
    def drawn(cls, values: Tensor | Column, corruption: Corruption, seed: int, *stream: str) -> _Segment | None:
        """Draw where each sample's segment begins, evenly over all places where it fits; None where there is none."""
        shape = sample_shape(values)
        if not corruption.segment or (axis := time_axis(shape)) is None:
            return None
        length = round(corruption.drop * shape[axis])
        places = shape[axis] - length + 1
        starts = (_draws(len(values), seed, "segment", *stream) * places).astype(np.int64)
        return cls(torch.from_numpy(starts), length, axis + 1) if length else None

    def mask(self, index: Tensor, values: Tensor) -> Tensor:
        """Mark what the samples at ``index`` lack of ``values`` [b, ...], in a shape that broadcasts over these."""
        starts = moved(self.starts[index], values.device)
        steps = torch.arange(values.shape[self.axis], device=values.device)
        inside = (steps >= starts[:, None]) & (steps < starts[:, None] + self.length)
        return inside.view(*(n if at in (0, self.axis) else 1 for at, n in enumerate(values.shape)))


# What is served ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class CorruptedColumn(Column):
    """A modality of a split that is corrupted when it is gathered or drawn: first exchanged, then noisy, then absent.

    shown: whose modality each sample shows, int64 [n]; noisy: which get noise of ``deviation``, bool [n]; blank: the
    number in the place of what is absent."""

    values: Tensor | Column
    shown: Tensor
    noisy: Tensor
    deviation: float
    key: int
    segment: _Segment | None
    blank: float
    shape: tuple[int, ...]
    present: Tensor | None = None
    stream: str = ""

    def __len__(self) -> int:
        return len(self.shown)

    def gather(self, index: Tensor, device: torch.device | str) -> Tensor:
        index = index.cpu()
        return self._corrupt(_served(self.values, self.shown[index], device), index)

    def draw(
        self, index: Tensor, device: torch.device | str, generator: torch.Generator, part: slice = slice(None)
    ) -> Tensor:
        index = index.cpu()
        if not isinstance(self.values, Column):
            return self.gather(index[part], device)
        return self._corrupt(self.values.draw(self.shown[index], device, generator, part), index[part])

    def resident(self, device: torch.device | str) -> Column:
        values = self.values.resident(device) if isinstance(self.values, Column) else self.values.to(device)
        return replace(self, values=values)

    @property
    def nbytes(self) -> int:
        return self.values.nbytes

    def _corrupt(self, values: Tensor, index: Tensor) -> Tensor:
        noisy = self.noisy[index]
        if bool(noisy.any()):
            rows = moved(noisy.nonzero().flatten(), values.device)
            numbers = normal_numbers(self.key, moved(index[noisy], values.device), self.shape)
            values = values.index_add(0, rows, (self.deviation * numbers).to(values.dtype))
        for absent in self._absent(values, index):
            values = self._blanked(values, absent)
        return values

    def _absent(self, values: Tensor, index: Tensor) -> Iterator[Tensor]:
        if self.segment is not None:
            yield self.segment.mask(index, values)
        if self.present is not None:
            yield moved(~self.present[index], values.device).view(-1, *[1] * len(self.shape))

    def _blanked(self, values: Tensor, absent: Tensor) -> Tensor:
        if values.is_floating_point():
            return values.masked_fill(absent, self.blank)
        # Of token ids, id and attention are nought; the first stays, as attention to nothing is no number.
        return torch.cat([values[..., :1], values.masked_fill(absent, 0)[..., 1:]], dim=-1)


# What is said ------------------------------------------------------------------------------------------------------


def _notes(split: Split, corrupt: Mapping[str, Corruption]) -> Iterator[str]:
    for modality, corruption in corrupt.items():
        column: Any = split.inputs[modality]
        count = len(split)
        if corruption.noise:
            yield (
                f"{modality}: noise of deviation {corruption.noise:g} on {int(column.noisy.sum())} of {count} samples"
            )
        if column.segment is not None:
            yield f"{modality}: {column.segment.length} of {column.shape[column.segment.axis - 1]} steps absent"
        if column.present is not None:
            yield f"{modality}: absent from {int((~column.present).sum())} of {count} samples"
        if corruption.shuffle:
            moved_samples = int((column.shown != torch.arange(count)).sum())
            yield f"{modality}: exchanged among {moved_samples} of {count} samples"
