"""Datasets: what a sample is, splits, decoding, batches. One dataset, one module; found by name.

Packages (media, prepared) hold what several datasets share."""

from __future__ import annotations

from data.base import Augmentation, Batch, DataError, Dataset, DatasetOptions, DatasetSource, Split
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
    "names",
    "refusal",
]

DATASETS: Registry[DatasetSource] = Registry(__name__, DatasetSource, "sweep.datasets", "dataset")  # type: ignore[type-abstract]


def names() -> list[str]:
    """Names of every dataset that can be used, those of other packages (entry points ``sweep.datasets``) included."""
    return DATASETS.names()


def get(name: str) -> type[DatasetSource]:
    """The source called ``name``. Raises UnusableError where its file cannot be imported or another has its name,
    KeyError naming those that exist where there is none."""
    return DATASETS.get(name)


def refusal(name: str) -> str | None:
    """Why the dataset called ``name`` cannot be used although it is there; None where nothing is wrong with it."""
    return DATASETS.refusal(name)
