"""Datasets of media files: their lists are read, their media decoded once."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from data.base import (
    Column,
    DataError,
    Dataset,
    DatasetOptions,
    DatasetSource,
    Description,
    SampleType,
    Split,
    SplitDraws,
)
from data.prepared.cache.decoding import prepare
from data.prepared.cache.folder import read_only
from data.prepared.cache.preparation import NAMED, Preparation
from data.prepared.cache.records import Meta
from data.prepared.forms.base import Form
from data.prepared.lists.items import SPLITS, Listing, SplitName


class PreparedOptions(DatasetOptions):
    """Options that every dataset of media files has; each narrows ``profile`` to the names it knows."""

    root: str = Field(min_length=1, description="folder of the dataset")
    profile: str = Field(description="how media are decoded")
    allowed_missing: float = Field(0.0, ge=0, lt=1, description="share of samples that may be missing or unreadable")
    split_seed: int = Field(0, ge=0, description="draws the splits that the dataset does not bring")


PreparedT = TypeVar("PreparedT", bound=PreparedOptions)


class PreparedSource(DatasetSource[PreparedT]):
    """A dataset by its lists (:meth:`listing`) and by how each modality is stored and served (:meth:`forms`)."""

    paths: ClassVar[frozenset[str]] = frozenset({"root"})

    @classmethod
    @abstractmethod
    def listing(cls, options: PreparedT) -> Listing:
        """List every sample by split. Cheap: reads lists and folders, opens no medium. Raises DataError."""

    @classmethod
    @abstractmethod
    def forms(cls, options: PreparedT) -> dict[str, Form]:
        """Map modality -> how it is stored and served, in the order of ``modalities``."""

    @classmethod
    def profile(cls, options: PreparedT) -> str:
        """Give the name of the forms' choice, for the record and the cache's folder."""
        return options.profile

    @classmethod
    def folder(cls, options: PreparedT) -> Path:
        """From which names of media count."""
        return Path(options.root).expanduser().absolute()

    @classmethod
    def preparation(cls, options: PreparedT) -> Preparation:
        """Give what is to be decoded. Raises DataError, also for more missing files than are allowed."""
        parts = cls.profile(options), cls.folder(options), cls.listing(options), cls.forms(options)
        work = Preparation(cls.name, *parts, options.allowed_missing)
        work.check_listing()
        return work

    @classmethod
    def fingerprint(cls, options: PreparedT) -> str:
        """Digest classes, splits, ids, labels and texts, names and sizes of the media, and the forms."""
        return cls.preparation(options).key

    @classmethod
    def samples(cls, options: PreparedT) -> dict[str, SampleType]:
        served = {modality: form.sample() for modality, form in cls.forms(options).items()}
        return {modality: sample for modality, sample in served.items() if sample is not None}

    @classmethod
    def describe(cls, options: PreparedT) -> Description:
        """Read the lists: opens no medium. Raises AbsentDataError, DataError."""
        splits = cls.preparation(options).listing.splits
        labels: dict[str, NDArray[np.int64]]
        labels = {name: np.array([item.label for item in items], np.int64) for name, items in splits.items()}
        return Description(cls.samples(options), labels)

    @classmethod
    def split_draws(cls, options: PreparedT) -> SplitDraws:
        """Say what ``split_seed`` draws anew: of most sets the validation samples, which their owners do not name."""
        return "validation"

    @classmethod
    def load(cls, options: PreparedT) -> Dataset:
        """Load from the cache, which is made here where it is missing. Raises DataError."""
        work = cls.preparation(options)
        return open_dataset(work, prepare(work))


def open_dataset(work: Preparation, meta: Meta) -> Dataset:
    """Open the dataset in a complete cache. Raises DataError."""
    train, validation, test = splits = [_split(work, name) for name in SPLITS]
    said = (*notes(work, meta), *_substituted(splits))
    return Dataset(work.dataset, tuple(work.forms), work.listing.classes, train, validation, test, notes=said)


def notes(work: Preparation, meta: Meta) -> tuple[str, ...]:
    """Say what a reader of results must know: profile, forms, skipped files, how the lists were read."""
    forms = "; ".join(f"{modality} {form!r}" for modality, form in work.forms.items())
    found = [f"profile {work.profile}: {forms}", *work.listing.notes]
    lost = [*(f"{name} ({why})" for name, why in work.listing.missing), *(f"{s.id} ({s.reason})" for s in meta.skipped)]
    if lost:
        more = f"; and {len(lost) - NAMED} more" if len(lost) > NAMED else ""
        total = work.size + len(work.listing.missing)
        found.append(f"{len(lost)} of {total} samples left out: {'; '.join(lost[:NAMED])}{more}")
    return tuple(found)


def _substituted(splits: Sequence[Split]) -> Iterator[str]:
    for name, split in zip(SPLITS, splits, strict=True):
        for modality, column in split.inputs.items():
            if isinstance(column, Column) and column.substituted:
                yield f"{name}: {column.substituted} of {len(split)} samples of {modality} are grey, unreadable"


class _Kept(Column):
    """The samples of a column that were not skipped."""

    def __init__(self, column: Column, rows: Tensor) -> None:
        self._column, self._rows = column, rows
        self.shape, self.stream, self.substituted = column.shape, column.stream, column.substituted

    def __len__(self) -> int:
        return len(self._rows)

    def gather(self, index: Tensor, device: torch.device | str) -> Tensor:
        return self._column.gather(self._rows[index.cpu()], device)

    def draw(
        self, index: Tensor, device: torch.device | str, generator: torch.Generator, part: slice = slice(None)
    ) -> Tensor:
        return self._column.draw(self._rows[index.cpu()], device, generator, part)

    def resident(self, device: torch.device | str) -> Column:
        return _Kept(self._column.resident(device), self._rows)

    @property
    def nbytes(self) -> int:
        return self._column.nbytes


def _split(work: Preparation, name: SplitName) -> Split:
    samples, arrays = work.folder.samples(name), work.folder.arrays(name)
    columns: dict[str, Tensor | Column] = {}
    for modality, form in work.forms.items():
        if modality not in arrays:
            raise DataError(f"{work.folder.path}: {modality} of the {name} split is gone; remove the folder")
        column = form.column(arrays[modality], name)
        whole = len(samples.rows) == len(samples.ids)
        columns[modality] = column if whole else _Kept(column, torch.from_numpy(samples.rows.copy()))
    return Split(columns, read_only(samples.labels))
