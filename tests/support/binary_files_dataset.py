"""A dataset of small binary files, decoded by a form of its own: what the tests of the cache prepare."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from data.base import Column
from data.media import MediaError
from data.prepared import SPLITS, Arrays, Form, Item, Listing, Medium, SplitName, Stored
from data.prepared.cache.decoding import Watcher
from data.prepared.cache.preparation import Preparation
from data.prepared.cache.store import SampleStore
from data.prepared.source import PreparedOptions, PreparedSource

LENGTH = 64


@dataclass(frozen=True)
class Bytes(Form):
    """The first bytes of a file, and how many there are. pause: seconds that decoding takes."""

    length: int = LENGTH
    pause: float = 0.0
    version: ClassVar[int] = 1

    def stored(self, split: SplitName) -> Mapping[str, Stored]:
        return {"bytes": Stored("uint8", (self.length,)), "count": Stored("int64", ())}

    def decode(self, medium: Medium, split: SplitName) -> Arrays:
        assert isinstance(medium, Path)
        content = medium.read_bytes()[: self.length]
        if content.startswith(b"crash"):
            os._exit(9)
        if not content:
            raise MediaError(medium, "the file is empty")
        time.sleep(self.pause)
        return {"bytes": np.frombuffer(content, np.uint8), "count": np.array(len(content), np.int64)}

    def column(self, arrays: Mapping[str, Tensor], rows: Tensor, split: SplitName) -> Column:
        return BytesColumn(arrays["bytes"][rows])


class BytesColumn(Column):
    """Serves bytes as numbers; in training a number of each sample's own is added."""

    def __init__(self, values: Tensor) -> None:
        self.values, self.shape = values, tuple(values.shape[1:])

    def __len__(self) -> int:
        return len(self.values)

    def gather(self, index: Tensor, device: torch.device | str) -> Tensor:
        return self.values[index].float().to(device)

    def draw(
        self, index: Tensor, device: torch.device | str, generator: torch.Generator, part: slice = slice(None)
    ) -> Tensor:
        moved = torch.rand(len(index), generator=generator)
        return self.gather(index[part], device) + moved[part, None].to(device)

    def resident(self, device: torch.device | str) -> Column:
        return BytesColumn(self.values.to(device))

    @property
    def nbytes(self) -> int:
        return self.values.numel()


class ShelfOptions(PreparedOptions):
    profile: Literal["short", "long"] = "short"
    pause: float = 0.0


class Shelf(PreparedSource):
    """ROOT/SPLIT/NUMBER_LABEL.bin"""

    name = "shelf"
    title = "Binary files"
    Options = ShelfOptions

    @classmethod
    def modalities(cls, options: ShelfOptions) -> tuple[str, ...]:  # type: ignore[override]
        return ("bytes",)

    @classmethod
    def encoders(cls, options: ShelfOptions) -> dict[str, Any]:  # type: ignore[override]
        return {"bytes": "mlp"}

    @classmethod
    def listing(cls, options: ShelfOptions) -> Listing:  # type: ignore[override]
        splits = {
            split: tuple(
                Item(f"{split}/{path.stem}", int(path.stem[-1]), {"bytes": path})
                for path in sorted(Path(options.root, split).iterdir())
            )
            for split in SPLITS
        }
        return Listing(("no", "yes"), splits)

    @classmethod
    def forms(cls, options: ShelfOptions) -> dict[str, Form]:  # type: ignore[override]
        return {"bytes": Bytes(LENGTH if options.profile == "short" else 2 * LENGTH, options.pause)}


def write_shelf(root: Path, train: int = 40, others: int = 6) -> Path:
    """Files of different lengths and content."""
    for split, count, first in zip(SPLITS, (train, others, others), (0, 100, 200), strict=True):
        (root / split).mkdir(parents=True)
        for number in range(count):
            content = bytes((first + number + k) % 251 + 1 for k in range(LENGTH - number % 7))
            (root / split / f"{number:03d}_{number % 2}.bin").write_bytes(content)
    return root


def shelf(root: Path, **options: Any) -> Preparation:
    return Shelf.preparation(ShelfOptions(root=str(root), **options))


def contents(caches: Path) -> dict[str, bytes]:
    """Every file of a folder of caches but for locks, and for the times of media that it remembers."""
    return {
        path.relative_to(caches).as_posix(): path.read_bytes()
        for path in sorted(caches.rglob("*"))
        if path.is_file() and path.name != "lock" and path.parent.name != "media-digests"
    }


def decoded(work: Preparation, split: SplitName, modality: str = "bytes") -> dict[str, Tensor]:
    """What is stored of the samples of a split, in the order of the list."""
    store = SampleStore.of(work.forms[modality], split)
    rows, written = store.find(work.keys[split][modality])
    assert written.all()
    return {name: values[torch.from_numpy(rows)] for name, values in store.arrays(int(rows.max()) + 1).items()}


def write_pictures(root: Path, count: int = 20) -> Path:
    """Pictures, dark or bright, listed in ROOT/list.csv: a dataset for ``manifest``."""
    root.mkdir(parents=True)
    lines = ["photo,label,split"]
    for k in range(count):
        Image.new("RGB", (20, 16), (40 + 150 * (k % 2), k, 0)).save(root / f"{k}.png")
        lines.append(f"{k}.png,{('dark', 'bright')[k % 2]},{'train' if k < count - 8 else SPLITS[1 + k % 4 // 2]}")
    (root / "list.csv").write_text("\n".join(lines) + "\n")
    return root / "list.csv"


class CountingWatcher(Watcher):
    """Counts the samples that a preparation expects and has done."""

    expected = done = 0

    def expect(self, samples: int) -> None:
        self.expected += samples

    def advance(self, samples: int) -> None:
        self.done += samples
