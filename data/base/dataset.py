"""What a dataset is: splits of model-ready tensors, gathered into batches without per-sample Python."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from data.base.placement import gathered

Augmentation = Callable[[dict[str, Tensor], torch.Generator], dict[str, Tensor]]
"""Maps the inputs of a whole batch, on the training device, to augmented inputs; all randomness comes from the
generator (a CPU generator seeded by run, epoch and batch, so that any number of workers draws the same)."""

Streams = Callable[[str], torch.Generator]
"""A batch's random numbers by name of their stream; always from the start of the stream."""


class DataError(ValueError):
    """The data on disk cannot be used; the message names the file and the remedy."""

    lasting: ClassVar[bool] = True
    """True where every run that reads the same data fails of it, on every machine and whenever it is tried."""


class AbsentDataError(DataError):
    """The data are not where the options say, or cannot be read, on this machine; elsewhere, or later, they may be."""

    lasting = False


@dataclass(frozen=True)
class Batch:
    """Samples on the training device.

    inputs: modality -> [B, ...]; labels: int64 [B]; index: int64 [B], positions in the split; tag: int64 [B], what the
    method's sampler says of each sample (None: nothing); present: modality -> bool [B], which samples have it, of each
    modality that some lack. What a sample lacks is blank among the inputs.
    """

    inputs: dict[str, Tensor]
    labels: Tensor
    index: Tensor
    tag: Tensor | None = None
    present: Mapping[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.labels)

    def at(self, rows: Tensor | slice) -> Batch:
        """Take the samples at ``rows``."""
        return self.changed(lambda values: values[rows])

    def changed(self, change: Callable[[Tensor], Tensor]) -> Batch:
        """Take what ``change`` makes of each tensor."""
        return Batch(
            {m: change(x) for m, x in self.inputs.items()},
            change(self.labels),
            change(self.index),
            None if self.tag is None else change(self.tag),
            {m: change(there) for m, there in self.present.items()},
        )

    @property
    def tensors(self) -> list[Tensor]:
        """List all its tensors, in one order."""
        tag = [] if self.tag is None else [self.tag]
        return [*self.inputs.values(), self.labels, self.index, *tag, *self.present.values()]

    def presence(self, modalities: Sequence[str]) -> Tensor:
        """Tell which sample has which modality, bool [B, M]."""
        everywhere = torch.ones_like(self.labels, dtype=torch.bool)
        return torch.stack([self.present.get(modality, everywhere) for modality in modalities], dim=1)

    def zero_absent(self, modality: str, features: Tensor) -> Tensor:
        """Put zeros in the place of the features [B, d] of the samples that lack the modality; they get no gradient."""
        there = self.present.get(modality)
        return features if there is None else features.masked_fill(~there[:, None], 0.0)


class Column(ABC):
    """One modality of a split, kept in whatever form is compact, given out as model-ready batches."""

    shape: tuple[int, ...]
    """Of one model-ready sample."""
    stream: str = ""
    """Columns of one stream draw the same numbers for a batch: a crop shared by two views of a scene. "": its own."""
    present: Tensor | None = None
    """Which samples have the modality, bool [n] on the host. None: all."""

    @abstractmethod
    def __len__(self) -> int:
        """Samples."""

    @abstractmethod
    def gather(self, index: Tensor, device: torch.device | str) -> Tensor:
        """Gather the samples at ``index`` (int64 [B]) in their evaluation form, [B, *shape], on ``device``; always the
        same for the same sample."""

    def draw(
        self, index: Tensor, device: torch.device | str, generator: torch.Generator, part: slice = slice(None)
    ) -> Tensor:
        """Draw the samples at ``index[part]`` in their training form, [b, *shape]; the evaluation form where nothing is
        augmented.

        index: int64 [B], of the joint batch of all workers; part: the samples of this worker. All randomness comes
        from the (CPU) generator, and is drawn for all of ``index``, whatever ``part`` is: any number of workers sees
        the same samples, and each reads its own alone."""
        return self.gather(index[part], device)

    @abstractmethod
    def resident(self, device: torch.device | str) -> Column:
        """Return the same column with everything stored on ``device``."""

    @property
    @abstractmethod
    def nbytes(self) -> int:
        """Give the size of what is stored."""


def sample_shape(values: Tensor | Column) -> tuple[int, ...]:
    """Give the shape of one model-ready sample."""
    return values.shape if isinstance(values, Column) else tuple(values.shape[1:])


def _gathered(values: Tensor | Column, index: Tensor, device: torch.device | str, placed: Tensor) -> Tensor:
    if isinstance(values, Column):
        return values.gather(index, device)
    return gathered(values, _beside(values, index, placed), device)


def _beside(values: Tensor, index: Tensor, placed: Tensor) -> Tensor:
    """Pick of the same index on the host and on a device the one that lies where the values do."""
    return placed if values.device == placed.device else index.to(values.device)


@dataclass(frozen=True)
class Split:
    """One of train, validation and test: modality -> [n, ...] (or a :class:`Column` of n samples), labels int64 [n] in
    [0, classes)."""

    inputs: Mapping[str, Tensor | Column]
    labels: Tensor

    def __post_init__(self) -> None:
        for modality, values in self.inputs.items():
            if len(values) != len(self.labels):
                raise DataError(f"modality {modality} has {len(values)} samples, the labels have {len(self.labels)}")

    def __len__(self) -> int:
        return len(self.labels)

    def gather(self, index: Tensor, device: torch.device | str = "cpu", placed: Tensor | None = None) -> Batch:
        """Gather the samples at ``index`` (int64 [B]) in their evaluation form, as one batch on ``device``: one
        vectorised gather a modality. placed: the same index on the device, where it is there already: then what is
        stored there is gathered without waiting for a copy."""
        placed = index.to(device) if placed is None else placed
        inputs = {m: _gathered(values, index, device, placed) for m, values in self.inputs.items()}
        return self._batch(inputs, index, placed)

    def draw(
        self,
        index: Tensor,
        device: torch.device | str,
        streams: Streams,
        part: slice = slice(None),
        placed: Tensor | None = None,
    ) -> Batch:
        """Draw the samples at ``index[part]`` in their training form: see :meth:`Column.draw`. Each column draws from
        the stream that it names, else from that of its modality. placed: ``index[part]`` on the device: see
        :meth:`gather`."""
        mine = index[part]
        placed = mine.to(device) if placed is None else placed
        inputs = {
            m: values.draw(index, device, streams(values.stream or m), part)
            if isinstance(values, Column)
            else _gathered(values, mine, device, placed)
            for m, values in self.inputs.items()
        }
        return self._batch(inputs, mine, placed)

    def _batch(self, inputs: dict[str, Tensor], index: Tensor, placed: Tensor) -> Batch:
        labels = gathered(self.labels, _beside(self.labels, index, placed), placed.device)
        present = {
            m: gathered(x.present, index, placed.device)
            for m, x in self.inputs.items()
            if isinstance(x, Column) and x.present is not None
        }
        return Batch(inputs, labels, placed, present=present)

    def to(self, device: torch.device | str) -> Split:
        """Return the same split with everything stored on ``device``."""
        moved = {m: v.resident(device) if isinstance(v, Column) else v.to(device) for m, v in self.inputs.items()}
        return Split(moved, self.labels.to(device))

    @property
    def nbytes(self) -> int:
        """Give the size of what is stored of all modalities."""
        return sum(values.nbytes for values in self.inputs.values())


@dataclass(frozen=True)
class Dataset:
    """Three splits with what a model must know about them."""

    name: str
    modalities: tuple[str, ...]
    classes: tuple[str, ...]
    train: Split
    validation: Split
    test: Split
    augment: Augmentation | None = None
    notes: tuple[str, ...] = field(default=())
    """What a reader of results must know: skipped files, reused recordings, missing classes."""

    @property
    def num_classes(self) -> int:
        return len(self.classes)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Give the shape of one sample of each modality, without the batch axis."""
        return {m: sample_shape(self.train.inputs[m]) for m in self.modalities}

    def check(self) -> None:
        """Check labels, and inputs that are plain tensors. Raises DataError, naming split and row, for a label outside
        [0, classes) and for a number that is not finite."""
        for name, split in (("train", self.train), ("validation", self.validation), ("test", self.test)):
            check_labels(split.labels.cpu().numpy(), self.num_classes, f"{self.name}: the {name} split's labels")
            for modality, values in split.inputs.items():
                if isinstance(values, Tensor) and values.is_floating_point() and not values.isfinite().all():
                    row = int(values.isfinite().flatten(1).all(1).int().argmin())
                    raise DataError(f"{self.name}: {modality}[{row}] of the {name} split {NOT_FINITE}")


NOT_FINITE = "holds a number that is not finite; replace such numbers, or leave such samples out"


def check_labels(labels: NDArray[np.int64], classes: int, what: str) -> None:
    """Check that labels int64 [n] lie in [0, ``classes``): raises DataError naming the first row of ``what`` that does
    not."""
    wrong = np.flatnonzero((labels < 0) | (labels >= classes))
    if len(wrong):
        row = int(wrong[0])
        from_one = " (they seem to be counted from 1)" if labels.min() == 1 and labels.max() == classes else ""
        raise DataError(f"{what}[{row}] is {labels[row]}; labels go from 0 to {classes - 1}{from_one}")
