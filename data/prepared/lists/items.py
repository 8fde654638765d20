"""What the lists of a dataset say, before any medium is opened."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

SplitName = Literal["train", "validation", "test"]
SPLITS: tuple[SplitName, ...] = ("train", "validation", "test")


@dataclass(frozen=True)
class Clip:
    """A part of a video file, in frames from ``start`` (included) to ``end`` (excluded)."""

    path: Path
    start: int
    end: int


Medium = Path | tuple[Path, ...] | Clip | str
"""Where a modality of one sample comes from: a file, several (the frames of a clip, sorted), a part of a file, or the
text itself."""


@dataclass(frozen=True)
class Item:
    """One row of a manifest. id: unique within its dataset; media: one a modality; group: what must stay on one side
    of a split (speaker, video), "" where there is none."""

    id: str
    label: int
    media: Mapping[str, Medium]
    group: str = ""


@dataclass(frozen=True)
class Listing:
    """All samples of a dataset by split, in an order that depends on the manifest alone. Labels in [0, classes)."""

    classes: tuple[str, ...]
    splits: Mapping[SplitName, tuple[Item, ...]]
    missing: tuple[tuple[str, str], ...] = ()
    """Samples of the manifest that are left out because a file is not there: (id, reason)."""
    notes: tuple[str, ...] = ()
    """What a reader of results must know: which lists were used, how validation was made."""
