"""What a dataset is: splits of model-ready tensors, gathered into batches without per-sample Python.

A dataset is one module of this package with one :class:`DatasetSource`. The source declares what can be known
without touching any media (name, modalities, options, default encoders); :meth:`DatasetSource.load` returns the
:class:`Dataset` itself.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from data.registry import type_argument

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
    method's sampler says of each sample (None: nothing).
    """

    inputs: dict[str, Tensor]
    labels: Tensor
    index: Tensor
    tag: Tensor | None = None

    def __len__(self) -> int:
        return len(self.labels)


class Column(ABC):
    """One modality of a split, kept in whatever form is compact, given out as model-ready batches."""

    shape: tuple[int, ...]
    """Of one model-ready sample."""
    stream: str = ""
    """Columns of one stream draw the same numbers for a batch: a crop shared by two views of a scene. "": its own."""
    substituted: int = 0
    """Samples that stand for ones that could not be read."""

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
    return values[_beside(values, index, placed)].to(device, non_blocking=True)


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
        labels = self.labels[_beside(self.labels, index, placed)].to(placed.device, non_blocking=True)
        return Batch(inputs, labels, placed)

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


@dataclass(frozen=True)
class SampleType:
    """One model-ready sample of a modality: its shape, without the batch axis. tokens: it holds token ids and their
    attention mask, whole numbers, instead of measured numbers."""

    shape: tuple[int, ...]
    tokens: bool = False


@dataclass(frozen=True)
class Description:
    """A dataset as far as it is known before anything is decoded or loaded; what is not known is left out.

    samples: modality -> its samples. labels: split -> int64 [n] in [0, classes)."""

    samples: Mapping[str, SampleType] = field(default_factory=dict)
    labels: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)


SPLIT_SEED = "split_seed"
"""The option that draws a dataset's splits, where it has one."""

SplitDraws = Literal["test", "validation", "nothing"]
"""What a dataset's ``split_seed`` draws anew: the test samples and with them all others; which training samples
validate, while the test samples stay; nothing, as the dataset brings all of its splits."""


class DatasetOptions(BaseModel):
    """Base of every dataset's options: typed, unknown keys refused. ``split_seed`` never is the run's seed."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


OptionsT = TypeVar("OptionsT", bound=DatasetOptions)


class DatasetSource(ABC, Generic[OptionsT]):
    """A dataset that can be loaded, ``class Digits(DatasetSource[DigitsOptions])``: the class attributes are its
    declaration."""

    name: ClassVar[str]
    title: ClassVar[str]
    paper: ClassVar[str] = ""
    """Authors and year of the data; empty for a user's own."""
    Options: ClassVar[type[DatasetOptions]]
    """The argument of the generic base, unless a class says otherwise."""
    paths: ClassVar[frozenset[str]] = frozenset()
    """Names of options that hold paths: they say where the data lies, not what it is (no part of an identity)."""
    recipe: ClassVar[Mapping[str, Any]] = {}
    """Training defaults of this dataset, by the keys of a sweep's ``train`` (and ``epochs``)."""
    test_peak: ClassVar[bool] = False
    """True where the best test epoch is recorded by default, beside the honest number."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        given = type_argument(cls, DatasetOptions)
        if given is not None and "Options" not in vars(cls):
            cls.Options = given

    @classmethod
    @abstractmethod
    def modalities(cls, options: OptionsT) -> tuple[str, ...]:
        """List the modalities in the order in which every method sees them."""

    @classmethod
    @abstractmethod
    def encoders(cls, options: OptionsT) -> dict[str, Any]:
        """Give the default encoder of each modality: a name of ``models.encoders`` or {name: ..., options}."""

    @classmethod
    @abstractmethod
    def fingerprint(cls, options: OptionsT) -> str:
        """Digest the content that the options lead to: equal data, equal digest, wherever it lies.

        Cheap (no decoding). Raises AbsentDataError when the data cannot be found."""

    @classmethod
    def samples(cls, options: OptionsT) -> dict[str, SampleType]:
        """Map modality -> its samples, as far as the options alone decide them: an encoder that cannot take them is
        refused before anything runs. No file is looked at. Default: nothing is known."""
        return {}

    @classmethod
    def describe(cls, options: OptionsT) -> Description:
        """Describe the data that the options lead to, without decoding or loading: from headers and lists. Default:
        what :meth:`samples` says.

        Raises AbsentDataError where the data cannot be found, DataError for everything that is wrong with what is
        looked at."""
        return Description(cls.samples(options))

    @classmethod
    def split_draws(cls, options: OptionsT) -> SplitDraws:
        """Say what ``split_seed`` draws anew. Reads lists at most. Default: the test samples too; nothing where there
        is no such option.

        Raises AbsentDataError, DataError where that depends on files that cannot be read."""
        return "test" if SPLIT_SEED in cls.Options.model_fields else "nothing"

    @classmethod
    @abstractmethod
    def load(cls, options: OptionsT) -> Dataset:
        """Read the data. Raises DataError naming the file and the remedy: every run of this dataset then fails of it.
        AbsentDataError, and whatever an OSError caused, counts for one attempt on one machine alone."""


def require_modalities(chosen: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    """Put ``chosen`` in the order of ``known``. Raises ValueError naming the unknown or repeated one."""
    unknown = [m for m in chosen if m not in known]
    if unknown:
        raise ValueError(f"unknown modality {unknown[0]!r}; there are: {', '.join(known)}")
    if len(set(chosen)) != len(chosen):
        raise ValueError("a modality is named twice")
    if not chosen:
        raise ValueError("name at least one modality")
    return tuple(m for m in known if m in chosen)
