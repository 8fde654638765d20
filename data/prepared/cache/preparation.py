"""A dataset as it is to be decoded: every medium one time, in shards of some samples, into the arrays of a
:class:`data.prepared.cache.folder.CacheFolder`. Killed at any moment it goes on from the shards that are there, and
ends with the same bytes; several processes on one cache share the work."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data.base import AbsentDataError, DataError
from data.media import MediaError
from data.prepared.cache.folder import CacheFolder, stored_bytes
from data.prepared.cache.records import Content, Marker, Meta, Samples, Skipped
from data.prepared.cache.threads import one_thread
from data.prepared.forms.base import Form, Stored
from data.prepared.lists.items import SPLITS, Clip, Item, Listing, Medium, SplitName

SMALLEST_SHARD, MOST_SHARDS = 16, 2048
NAMED = 5
"""Samples that an error names."""


@dataclass(frozen=True)
class Shard:
    """Samples of a split that follow one another, to be decoded wherever there is a processor: everything that this
    needs, but for the media."""

    cache: str
    number: int
    split: SplitName
    first: int
    rows: int
    """Of the whole split."""
    items: tuple[Item, ...]
    forms: Mapping[str, Form]

    @property
    def name(self) -> str:
        return f"{self.split}-{self.first:07d}"

    @property
    def bytes(self) -> int:
        """Count the bytes on the disk, at most."""
        return len(self.items) * sum(stored_bytes(form.stored(self.split)) for form in self.forms.values())

    def run(self, wait: bool = True) -> Marker | None:
        """Decode the samples and put them on the disk, where that has not been done. None, with ``wait`` off, where
        another process is doing it. Raises CacheError."""
        folder = CacheFolder(self.cache)
        with folder.writing(self.bytes):
            (folder.path / "shards").mkdir(parents=True, exist_ok=True)
            with folder.locked(self.number, wait) as mine:
                if not mine:
                    return None
                return folder.marker(self.name) or self._write(folder)

    def _write(self, folder: CacheFolder) -> Marker:
        skipped = list[Skipped]()
        declared = {self._file(m, name): stored for m, form in self.forms.items()
                    for name, stored in form.stored(self.split).items()}  # fmt: skip
        with folder.writer(declared, self.rows) as writer, one_thread():
            for row, item in enumerate(self.items, start=self.first):
                try:
                    # All modalities before any is written: a sample that is skipped leaves a hole.
                    found = {m: form.decode(item.media[m], self.split) for m, form in self.forms.items()}
                except (MediaError, OSError) as error:
                    skipped.append(Skipped(split=self.split, row=row, id=item.id, reason=str(error)))
                    continue
                except Exception as error:
                    error.add_note(f"while {item.id} was decoded for {folder.path}")
                    raise
                for modality, arrays in found.items():
                    for name, values in arrays.items():
                        file = self._file(modality, name)
                        _check(file, values, declared[file])
                        writer.put(file, row, values)
        marker = Marker(skipped=tuple(skipped))
        folder.mark(self.name, marker)
        return marker

    def _file(self, modality: str, array: str) -> str:
        return f"{self.split}.{modality}.{array}"


@dataclass(frozen=True)
class Preparation:
    """A dataset under one profile, as it is to be decoded. allowed: share of the samples that may be missing or
    unusable."""

    dataset: str
    profile: str
    root: Path
    listing: Listing
    forms: Mapping[str, Form]
    allowed: float = 0.0

    @cached_property
    def content(self) -> Content:
        """Digest lists, media and forms: equal wherever the data lies. Opens no medium."""
        manifest, media = hashlib.sha256(), hashlib.sha256()
        manifest.update(repr(self.listing.classes).encode())
        for split, items in self.listing.splits.items():
            for item in items:
                words = {m: medium for m, medium in item.media.items() if m in self.forms and isinstance(medium, str)}
                manifest.update(repr((split, item.id, item.label, words)).encode())
                for modality in (m for m in self.forms if m not in words):
                    media.update(repr((modality, list(_files(item.media[modality], self.root)))).encode())
        forms = hashlib.sha256(repr({m: description(form) for m, form in self.forms.items()}).encode())
        return Content(manifest=_short(manifest), media=_short(media), forms=_short(forms))

    @cached_property
    def key(self) -> str:
        """Give the fingerprint of the dataset, and of its cache."""
        return _short(hashlib.sha256(self.content.model_dump_json().encode()))

    @cached_property
    def folder(self) -> CacheFolder:
        return CacheFolder(f"{self.dataset}-{self.profile}-{self.key}")

    @property
    def size(self) -> int:
        """Count the samples to be decoded."""
        return sum(map(len, self.listing.splits.values()))

    @cached_property
    def shards(self) -> tuple[Shard, ...]:
        """List all shards."""
        step = max(SMALLEST_SHARD, -(-self.size // MOST_SHARDS))
        parts = [(s, items, first) for s, items in self.listing.splits.items() for first in range(0, len(items), step)]
        return tuple(
            Shard(self.folder.name, number, split, first, len(items), items[first : first + step], self.forms)
            for number, (split, items, first) in enumerate(parts)
        )

    def check(self, skipped: Sequence[Skipped] = ()) -> None:
        """Check what is missing: raises DataError, naming the first of them, where more samples are missing or unusable
        than may be, and where a split is left without any."""
        lost = [*(f"{name} ({why})" for name, why in self.listing.missing), *(f"{s.id} ({s.reason})" for s in skipped)]
        total = self.size + len(self.listing.missing)
        if len(lost) > self.allowed * total:
            kind = DataError if skipped else AbsentDataError
            raise kind(
                f"{self.dataset}: {len(lost)} of {total} samples cannot be used, {100 * len(lost) / total:.2g} % where "
                f"allowed_missing is {100 * self.allowed:g} %: {_first(lost)}; complete or repair them, or raise "
                "allowed_missing"
            )
        for split in SPLITS:
            if len(self.listing.splits.get(split, ())) == sum(s.split == split for s in skipped):
                raise DataError(f"{self.dataset}: the {split} split has no sample that can be used")

    def check_listing(self) -> None:
        """Check the lists: raises DataError for an id that stands twice, a label that is no class, and as
        :meth:`check`."""
        seen = set[str]()
        for items in self.listing.splits.values():
            for item in items:
                if item.id in seen:
                    raise DataError(f"{self.dataset}: the sample {item.id} stands twice in the lists")
                seen.add(item.id)
                if not 0 <= item.label < len(self.listing.classes):
                    raise DataError(
                        f"{self.dataset}: sample {item.id} has the label {item.label}; there are classes 0 to "
                        f"{len(self.listing.classes) - 1}"
                    )
        self.check()

    def ending(self, skipped: Iterable[Skipped]) -> tuple[Meta, dict[SplitName, Samples]]:
        """Give what completes the cache when all shards are there."""
        lost = sorted(skipped, key=lambda s: (s.split, s.row))
        samples: dict[SplitName, Samples] = {}
        for split, items in self.listing.splits.items():
            rows = np.setdiff1d(np.arange(len(items)), [s.row for s in lost if s.split == split])
            labels = np.array([item.label for item in items], np.int64)
            samples[split] = Samples(rows.astype(np.int64), labels[rows], np.array([item.id for item in items], str))
        counts = {split: len(found.rows) for split, found in samples.items()}
        forms = {modality: description(form) for modality, form in self.forms.items()}
        meta = Meta(dataset=self.dataset, profile=self.profile, key=self.key, content=self.content, forms=forms,
                    samples=counts, bytes=0, skipped=tuple(lost), notes=self.listing.notes)  # fmt: skip
        return meta, samples


def _check(name: str, values: NDArray[np.generic], declared: Stored) -> None:
    shape = declared.shape
    fits = values.shape == shape or (shape and values.shape[1:] == shape[1:] and 0 < len(values) <= shape[0])
    if values.dtype != np.dtype(declared.dtype) or not fits:
        raise TypeError(f"{name} was decoded to {values.dtype} {values.shape}, its form declares {declared}")


def description(form: Form) -> str:
    """Describe a form with all that decides what it stores."""
    return f"{form!r} version {form.version}"


def _files(medium: Medium, root: Path) -> Iterator[tuple[str, int]]:
    """List names, from the root of the data, and sizes; -1 for what decoding will find to be unreadable."""
    paths: tuple[Path, ...]
    if isinstance(medium, Clip):
        yield f"frames {medium.start} to {medium.end}", 0
        paths = (medium.path,)
    else:
        paths = medium if isinstance(medium, tuple) else (Path(medium),)
    base = f"{root}{os.sep}"
    for path in paths:
        name = os.fspath(path)
        relative = name[len(base) :] if name.startswith(base) else os.path.relpath(name, root)
        try:
            yield relative.replace(os.sep, "/"), path.stat().st_size
        except OSError:
            yield relative.replace(os.sep, "/"), -1


def _short(state: hashlib._Hash) -> str:
    return state.hexdigest()[:16]


def _first(names: Sequence[str]) -> str:
    more = len(names) - NAMED
    return "; ".join(names[:NAMED]) + (f"; and {more} more" if more > 0 else "")
