"""Arrays that a dataset computes as a whole, kept in a cache like media that are decoded: computed once, and then read
by every process of a machine from the same pages."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.base import Split
from data.base.files import digest
from data.prepared.cache.folder import CacheFolder, read_only, stored_bytes
from data.prepared.cache.records import Content, Meta
from data.prepared.cache.threads import one_thread
from data.prepared.forms.base import Stored
from data.prepared.lists.items import SplitName


@dataclass(frozen=True)
class ComputedSplit:
    """Holds a split as it was computed: modality -> [n, ...], labels int64 [n]."""

    inputs: Mapping[str, NDArray[np.generic]]
    labels: NDArray[np.int64]


@dataclass(frozen=True)
class Computed:
    """Everything that was computed. notes: what a reader of results must know."""

    splits: Mapping[SplitName, ComputedSplit]
    notes: tuple[str, ...] = ()


def cached_splits(
    dataset: str, content: str, compute: Callable[[], Computed]
) -> tuple[dict[str, Split], tuple[str, ...]]:
    """Give splits and notes, from the cache where it has them. content: all that decides what ``compute`` gives. Raises
    DataError."""
    key = digest([(dataset, content.encode())])
    folder = CacheFolder(f"{dataset}-computed-{key}")
    if (meta := folder.meta()) is None:
        with folder.writing(0):
            folder.path.mkdir(parents=True, exist_ok=True)
        with folder.locked(0, wait=True), one_thread():
            meta = folder.meta() or _write(folder, dataset, key, compute())
    splits = {}
    for name in meta.samples:
        arrays = folder.arrays(name)
        inputs = {modality: found["values"] for modality, found in arrays.items()}
        splits[name] = Split(inputs, read_only(folder.labels(name)))
    return splits, meta.notes


def _write(folder: CacheFolder, dataset: str, key: str, found: Computed) -> Meta:
    for name, split in found.splits.items():
        arrays = {f"{name}.{m}.values": Stored(str(x.dtype), x.shape[1:]) for m, x in split.inputs.items()}
        needed = len(split.labels) * stored_bytes(arrays)
        folder.check_room(needed)
        with folder.writing(needed), folder.writer(arrays, len(split.labels)) as writer:
            for modality, values in split.inputs.items():
                writer.put(f"{name}.{modality}.values", 0, values)
    content = Content(manifest=key, media=key, forms=key)
    counts: dict[str, int] = {name: len(split.labels) for name, split in found.splits.items()}
    meta = Meta(dataset=dataset, profile="computed", key=key, content=content, samples=counts, bytes=0,
                notes=found.notes)  # fmt: skip
    with folder.writing(0):
        return folder.finish(meta, {name: split.labels for name, split in found.splits.items()})
