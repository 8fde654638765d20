"""Records that a cache keeps of itself."""

from __future__ import annotations

from pydantic import BaseModel

LAYOUT = "2"
"""Of the files of a cache; whoever changes how these are to be read raises it: caches of earlier ones are not used.
2: samples in the stores of their forms, pictures with the channels last."""


class Skipped(BaseModel, frozen=True):
    """A sample that cannot be used."""

    split: str
    row: int
    id: str
    reason: str


class Marker(BaseModel, frozen=True):
    """Tells what became of a shard."""

    skipped: tuple[Skipped, ...] = ()


class Content(BaseModel, frozen=True):
    """Digests of all that decides what a cache holds: the lists, the media, the forms. layout: of its files."""

    manifest: str
    media: str
    forms: str
    layout: str = "1"

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
    """Size of the samples, each once, holes included."""
    skipped: tuple[Skipped, ...] = ()
    notes: tuple[str, ...] = ()
