"""Records that a cache keeps of itself."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel


class Skipped(BaseModel, frozen=True):
    """A sample that cannot be used."""

    split: str
    row: int
    id: str
    reason: str


class Marker(BaseModel, frozen=True):
    """What became of a shard."""

    skipped: tuple[Skipped, ...] = ()


class Content(BaseModel, frozen=True):
    """Digests of all that decides what a cache holds: the lists, the media's names and sizes, the forms."""

    manifest: str
    media: str
    forms: str

    def changes(self, other: Content) -> list[str]:
        """Name what differs."""
        return [name for name in Content.model_fields if getattr(self, name) != getattr(other, name)]


class Meta(BaseModel, frozen=True):
    """What a complete cache is."""

    dataset: str
    profile: str
    key: str
    content: Content
    forms: dict[str, str] = {}
    """Modality -> form with its parameters and version."""
    samples: dict[str, int]
    """Split -> samples that can be used."""
    bytes: int
    """Size of the arrays, holes included."""
    skipped: tuple[Skipped, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Samples:
    """Of one split. rows: int64 [n], places in the arrays; labels: int64 [n]; ids: of all rows, skipped ones too."""

    rows: NDArray[np.int64]
    labels: NDArray[np.int64]
    ids: NDArray[np.str_]
