"""Datasets of media files: their lists are read, their media decoded once."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
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
from data.prepared.cache.preparation import NAMED, Preparation
from data.prepared.cache.records import Meta
from data.prepared.cache.store import SampleStore
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
    def allows_repeats(cls, options: PreparedT) -> bool | None:
        """Tell whether a file may stand in two splits; None where nobody is to look, as the owners chose the splits."""
        return None

    @classmethod
    def preparation(cls, options: PreparedT) -> Preparation:
        """Give what is to be decoded. Raises DataError, also for more missing files than are allowed."""
        parts = cls.profile(options), cls.folder(options), cls.listing(options), cls.forms(options)
        work = Preparation(cls.name, *parts, options.allowed_missing, cls.allows_repeats(options))
        work.check_listing()
        return work

    @classmethod
    def fingerprint(cls, options: PreparedT) -> str:
        """Digest classes, splits, ids, labels and texts, content of the media, and the forms.

        Raises DataError, also for files in two splits where that is not allowed."""
        work = cls.preparation(options)
        work.repeats()
        return work.key

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
    splits, remarks = [], list[str]()
    for name in SPLITS:
        lost = {skip.row for skip in meta.skipped if skip.split == name}
        kept = [position for position in range(len(work.listing.splits[name])) if position not in lost]
        split, found = _split(work, name, kept)
        splits.append(split)
        remarks += found
    train, validation, test = splits
    said = (*notes(work, meta), *work.repeats(), *remarks)
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


def _split(work: Preparation, name: SplitName, kept: Sequence[int]) -> tuple[Split, list[str]]:
    """Open a split's samples at ``kept``, with what a reader of results must know of them."""
    columns: dict[str, Tensor | Column] = {}
    remarks = list[str]()
    for modality, form in work.forms.items():
        store = SampleStore.of(form, name)
        keys = work.keys[name][modality]
        rows, written = store.find([keys[position] for position in kept])
        if not written.all():
            raise DataError(f"{store.folder.path}: samples of the {name} split are gone; run again, to decode them")
        arrays, places = store.arrays(int(rows.max()) + 1), torch.from_numpy(rows)
        columns[modality] = form.column(arrays, places, name)
        remarks += [
            f"{name}: {count} of {len(kept)} samples of {modality} {what}"
            for count, what in form.remarks(arrays, places)
            if count
        ]
    labels = [work.listing.splits[name][position].label for position in kept]
    return Split(columns, torch.tensor(labels, dtype=torch.int64)), remarks
