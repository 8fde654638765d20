"""What a dataset is: splits of model-ready tensors, gathered into batches without per-sample Python.

A dataset is one module of this package with one :class:`DatasetSource`. The source declares what can be known
without touching any media (name, modalities, options, default encoders); :meth:`DatasetSource.load` returns the
:class:`Dataset` itself.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

Augmentation = Callable[[dict[str, Tensor], torch.Generator], dict[str, Tensor]]
"""Maps the inputs of a whole batch, on the training device, to augmented inputs; all randomness comes from the
generator (a CPU generator seeded by run, epoch and batch, so that any number of workers draws the same)."""


class DataError(ValueError):
    """The data on disk cannot be used; the message names the file and the remedy."""


@dataclass(frozen=True)
class Batch:
    """Samples on the training device.

    inputs: modality -> [B, ...]; labels: int64 [B]; index: int64 [B], positions in the split.
    """

    inputs: dict[str, Tensor]
    labels: Tensor
    index: Tensor

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Split:
    """One of train, validation and test: modality -> [n, ...], labels int64 [n] in [0, classes)."""

    inputs: dict[str, Tensor]
    labels: Tensor

    def __post_init__(self) -> None:
        for modality, values in self.inputs.items():
            if len(values) != len(self.labels):
                raise DataError(f"modality {modality} has {len(values)} samples, the labels have {len(self.labels)}")

    def __len__(self) -> int:
        return len(self.labels)

    def gather(self, index: Tensor, device: torch.device | str = "cpu") -> Batch:
        """The samples at ``index`` (int64 [B]) as one batch on ``device``: one vectorised gather a modality."""
        at = index.to(self.labels.device)
        inputs = {m: values[at].to(device, non_blocking=True) for m, values in self.inputs.items()}
        return Batch(inputs, self.labels[at].to(device, non_blocking=True), index.to(device))

    def to(self, device: torch.device | str) -> Split:
        """The same split with every tensor on ``device``."""
        return Split({m: v.to(device) for m, v in self.inputs.items()}, self.labels.to(device))


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
        """Shape of one sample of each modality, without the batch axis."""
        return {m: tuple(self.train.inputs[m].shape[1:]) for m in self.modalities}


class DatasetOptions(BaseModel):
    """Base of every dataset's options: typed, unknown keys refused. ``split_seed`` never is the run's seed."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class DatasetSource(ABC):
    """A dataset that can be loaded: the class attributes are its declaration."""

    name: ClassVar[str]
    title: ClassVar[str]
    Options: ClassVar[type[DatasetOptions]]
    paths: ClassVar[frozenset[str]] = frozenset()
    """Names of options that hold paths: they say where the data lies, not what it is (no part of an identity)."""
    recipe: ClassVar[Mapping[str, Any]] = {}
    """Training defaults of this dataset, by the keys of a sweep's ``train`` (and ``epochs``)."""
    test_peak: ClassVar[bool] = False
    """Whether the best test epoch is recorded by default, beside the honest number."""

    @classmethod
    @abstractmethod
    def modalities(cls, options: DatasetOptions) -> tuple[str, ...]:
        """Modalities in the order in which every method sees them."""

    @classmethod
    @abstractmethod
    def encoders(cls, options: DatasetOptions) -> dict[str, Any]:
        """Default encoder of each modality: a name of ``models.encoders`` or {name: ..., options}."""

    @classmethod
    @abstractmethod
    def fingerprint(cls, options: DatasetOptions) -> str:
        """Short digest of the content that the options lead to: equal data, equal digest, wherever it lies.

        Cheap (no decoding). Raises DataError when the data cannot be found."""

    @classmethod
    @abstractmethod
    def load(cls, options: DatasetOptions) -> Dataset:
        """Read the data. Raises DataError naming the file and the remedy."""


def require_modalities(chosen: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    """``chosen`` in the order of ``known``. Raises ValueError naming the unknown or repeated one."""
    unknown = [m for m in chosen if m not in known]
    if unknown:
        raise ValueError(f"unknown modality {unknown[0]!r}; there are: {', '.join(known)}")
    if len(set(chosen)) != len(chosen):
        raise ValueError("a modality is named twice")
    if not chosen:
        raise ValueError("name at least one modality")
    return tuple(m for m in known if m in chosen)
