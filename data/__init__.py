"""Datasets: what a sample is, splits, decoding, batches. One dataset, one module; this page finds them by name.

Modules that start with an underscore and packages (media, prepared) hold what several datasets share."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from importlib.metadata import entry_points

from data.base import Augmentation, Batch, DataError, Dataset, DatasetOptions, DatasetSource, Split

__all__ = [
    "Augmentation",
    "Batch",
    "DataError",
    "Dataset",
    "DatasetOptions",
    "DatasetSource",
    "Split",
    "get",
    "names",
]


@cache
def _sources() -> dict[str, type[DatasetSource]]:
    modules = [
        importlib.import_module(f"{__name__}.{found.name}")
        for found in pkgutil.iter_modules(__path__)
        if found.name != "base" and not found.name.startswith("_") and not found.ispkg
    ]
    found = [
        value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, DatasetSource) and value.__module__ == module.__name__
    ]
    found += [entry.load() for entry in entry_points(group="sweep.datasets")]
    return {source.name: source for source in found if hasattr(source, "name")}


def names() -> list[str]:
    """Names of every dataset, those of other packages (entry points ``sweep.datasets``) included."""
    return sorted(_sources())


def get(name: str) -> type[DatasetSource]:
    """The source called ``name``. Raises KeyError naming those that exist."""
    try:
        return _sources()[name]
    except KeyError:
        raise KeyError(f"no dataset called {name!r}; there are: {', '.join(names())}") from None
