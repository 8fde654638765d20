"""Datasets: one module each, found by its name. Options come in; three splits of model-ready tensors go out.

The modules of this folder are the datasets, and ``registry``, which finds them. Its packages hold what several share:
``base``, what a dataset is; ``readers`` and ``media``, from files to arrays; ``prepared``, media that are decoded once;
``augment``, of whole batches; ``embedded``, the data that ship with the package."""

from __future__ import annotations

from dataclasses import replace

from data.base import SPLIT_SEED, Augmentation, Batch, DataError, Dataset, DatasetOptions, DatasetSource, Split
from data.base.class_notes import class_notes
from data.base.corrupted import corrupted
from data.registry import Registry

__all__ = [
    "DATASETS",
    "Augmentation",
    "Batch",
    "DataError",
    "Dataset",
    "DatasetOptions",
    "DatasetSource",
    "Split",
    "get",
    "load",
    "names",
    "refusal",
]

DATASETS: Registry[DatasetSource] = Registry(__name__, DatasetSource, "sweep.datasets", "dataset")  # type: ignore[type-abstract]


def names() -> list[str]:
    """List the names of every dataset that can be used, those of other packages (entry points ``sweep.datasets``)
    included."""
    return DATASETS.names()


def get(name: str) -> type[DatasetSource]:
    """Find the source called ``name``. Raises UnusableError where its file cannot be imported or another has its name,
    KeyError naming those that exist where there is none."""
    return DATASETS.get(name)


def load(name: str, options: DatasetOptions) -> Dataset:
    """Load the dataset called ``name``, corrupted as its options say, with notes of classes that a split lacks. Raises
    DataError, and what :func:`get` raises."""
    found = corrupted(get(name).load(options.clean()), options.corrupt, getattr(options, SPLIT_SEED, 0))
    splits = {"train": found.train, "validation": found.validation, "test": found.test}
    noted = class_notes(found.classes, {split: of.labels.numpy() for split, of in splits.items()})
    return replace(found, notes=(*found.notes, *noted))


def refusal(name: str) -> str | None:
    """Say why the dataset called ``name`` cannot be used although it is there; None where nothing is wrong with it."""
    return DATASETS.refusal(name)
