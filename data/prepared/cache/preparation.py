"""A dataset as it is to be decoded: every medium one time, in shards of some samples, into the stores of its forms.
What a store has already, of an earlier list or another dataset, is not decoded again. Killed at any moment it goes on
from what is there, and ends with the same bytes; several processes share the work."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data.base import AbsentDataError, DataError
from data.media import MediaError
from data.prepared.cache.folder import CacheFolder
from data.prepared.cache.media_keys import medium_files, medium_key, remembered_digests
from data.prepared.cache.records import LAYOUT, Content, Marker, Meta, Skipped
from data.prepared.cache.store import SampleStore, form_text
from data.prepared.cache.threads import one_thread
from data.prepared.forms.base import Arrays, Form, Stored
from data.prepared.lists.items import SPLITS, Item, Listing, SplitName
from data.prepared.lists.user_tables import repeat_notes

SMALLEST_SHARD, MOST_SHARDS = 16, 2048
NAMED = 5
"""Samples that an error names."""


@dataclass(frozen=True)
class Shard:
    """Samples of a split, to be decoded wherever there is a processor: everything that this needs, but for the
    media."""

    cache: str
    number: int
    """Of the shard among those of its dataset."""
    split: SplitName
    positions: tuple[int, ...]
    """Of the samples in their split."""
    items: tuple[Item, ...]
    forms: Mapping[str, Form]
    keys: Mapping[str, tuple[bytes, ...]]
    """Modality -> key of each sample's medium."""

    @property
    def bytes(self) -> int:
        """Count the bytes on the disk, at most."""
        return len(self.items) * sum(SampleStore.of(form, self.split).row_bytes for form in self.forms.values())

    def only(self, places: Sequence[int]) -> Shard:
        """Give the shard with those of its samples alone that are at ``places`` in it."""
        return replace(
            self,
            positions=tuple(self.positions[place] for place in places),
            items=tuple(self.items[place] for place in places),
            keys={m: tuple(keys[place] for place in places) for m, keys in self.keys.items()},
        )

    def run(self, wait: bool = True) -> Marker | None:
        """Decode the samples and put them on the disk, where that has not been done. None, with ``wait`` off, where
        another process is doing it. Raises CacheError."""
        folder = CacheFolder(self.cache)
        with folder.writing(self.bytes):
            folder.path.mkdir(parents=True, exist_ok=True)
            with folder.locked(self.number, wait) as mine:
                return self._write() if mine else None

    def _write(self) -> Marker:
        stores = {m: SampleStore.of(form, self.split) for m, form in self.forms.items()}
        rows = dict[str, list[int]]()
        written = dict[str, set[int]]()
        for modality, store in stores.items():
            store.allocate(self.keys[modality])
            found, there = store.find(self.keys[modality])
            rows[modality], written[modality] = found.tolist(), set(found[there].tolist())
        skipped = list[Skipped]()
        with ExitStack() as stack, one_thread():
            writers = {m: stack.enter_context(store.writer()) for m, store in stores.items()}
            for place, item in enumerate(self.items):
                wanted = [m for m in self.forms if rows[m][place] not in written[m]]
                try:
                    decoded = {m: self._decode(m, place) for m in wanted}
                except (MediaError, OSError) as error:
                    reason = str(error)
                    skipped.append(Skipped(split=self.split, row=self.positions[place], id=item.id, reason=reason))
                    continue
                except Exception as error:
                    error.add_note(f"while {item.id} was decoded for {CacheFolder(self.cache).path}")
                    raise
                for modality, arrays in decoded.items():
                    writers[modality].put(rows[modality][place], arrays)
                    written[modality].add(rows[modality][place])
        return Marker(skipped=tuple(skipped))

    def _decode(self, modality: str, place: int) -> Arrays:
        form, medium = self.forms[modality], self.items[place].media[modality]
        arrays = form.decode(medium, self.split)
        stored = form.stored(self.split)
        for name, values in arrays.items():
            _check(f"{self.split}.{modality}.{name}", values, stored[name])
        if medium_key(medium) != self.keys[modality][place]:
            raise MediaError(medium_files(medium)[0], "changed while it was prepared; run again")
        return arrays


@dataclass(frozen=True)
class Preparation:
    """A dataset under one profile, as it is to be decoded. allowed: share of the samples that may be missing or
    unusable; allow_repeats: whether one file may be in two splits (None: nobody looks)."""

    dataset: str
    profile: str
    root: Path
    listing: Listing
    forms: Mapping[str, Form]
    allowed: float = 0.0
    allow_repeats: bool | None = None

    @cached_property
    def keys(self) -> Mapping[SplitName, Mapping[str, tuple[bytes, ...]]]:
        """Map split -> modality -> key of each sample's medium. Reads all files that have changed since the last
        time."""
        splits = self.listing.splits
        media = [item.media[m] for items in splits.values() for item in items for m in self.forms]
        digests = remembered_digests(self.root, (path for medium in media for path in medium_files(medium)))
        return {
            split: {m: tuple(medium_key(item.media[m], digests.__getitem__) for item in items) for m in self.forms}
            for split, items in splits.items()
        }

    @cached_property
    def content(self) -> Content:
        """Digest lists, media and forms: equal wherever the data lies, and however its files are called."""
        manifest, media = hashlib.sha256(), hashlib.sha256()
        manifest.update(repr(self.listing.classes).encode())
        for split, items in self.listing.splits.items():
            for position, item in enumerate(items):
                words = {m: medium for m, medium in item.media.items() if m in self.forms and isinstance(medium, str)}
                manifest.update(repr((split, item.id, item.label, words)).encode())
                for modality in (m for m in self.forms if m not in words):
                    media.update(self.keys[split][modality][position])
        forms = hashlib.sha256(repr({m: form_text(form) for m, form in self.forms.items()}).encode())
        return Content(manifest=_short(manifest), media=_short(media), forms=_short(forms), layout=LAYOUT)

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
            Shard(
                self.folder.name,
                number,
                split,
                tuple(range(first, min(first + step, len(items)))),
                items[first : first + step],
                self.forms,
                {m: keys[first : first + step] for m, keys in self.keys[split].items()},
            )
            for number, (split, items, first) in enumerate(parts)
        )

    def pending(self, skipped: Iterable[Skipped] = ()) -> list[Shard]:
        """List the shards with the samples alone that are not on the disk, without those that were skipped. Raises
        CacheError where others may have written there."""
        missing = {split: self._missing(split) for split in self.listing.splits}
        for skip in skipped:
            missing[skip.split][skip.row] = False  # type: ignore[index]
        found = []
        for shard in self.shards:
            places = np.flatnonzero(missing[shard.split][list(shard.positions)]).tolist()
            if places:
                found.append(shard.only(places))
        return found

    def _missing(self, split: SplitName) -> NDArray[np.bool_]:
        missing = np.zeros(len(self.listing.splits[split]), bool)
        for modality, form in self.forms.items():
            missing |= ~SampleStore.of(form, split).find(self.keys[split][modality])[1]
        return missing

    def allocate(self, pending: Sequence[Shard]) -> None:
        """Give all samples that are to be decoded their places, in the order of the lists. Raises CacheError."""
        for split in self.listing.splits:
            for modality, form in self.forms.items():
                keys = [key for shard in pending if shard.split == split for key in shard.keys[modality]]
                if keys:
                    SampleStore.of(form, split).allocate(keys)

    def require(self) -> None:
        """Check that all that decoding needs is there, a tokenizer for one. Raises DataError."""
        for form in self.forms.values():
            form.require()

    def check(self, skipped: Sequence[Skipped] = ()) -> None:
        """Check what is missing: raises DataError, naming the first of them, where more samples are missing or unusable
        than may be, and where a split is left without any."""
        lost = [*(f"{name} ({why})" for name, why in self.listing.missing), *(f"{s.id} ({s.reason})" for s in skipped)]
        total = self.size + len(self.listing.missing)
        if len(lost) > self.allowed * total:
            kind = DataError if skipped else AbsentDataError
            raise kind(
                f"{self.dataset}: {len(lost)} of {total} samples cannot be used, {100 * len(lost) / total:.3g} % where "
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

    def repeats(self) -> tuple[str, ...]:
        """Say which files stand for several samples; of texts, which are often alike, whole samples alone. Raises
        DataError where that is so in two splits, and not allowed."""
        if self.allow_repeats is None:
            return ()
        items = [
            (split, position, item) for split, of in self.listing.splits.items() for position, item in enumerate(of)
        ]
        parts = {split: np.flatnonzero([of == split for of, _, _ in items]) for split in self.listing.splits}
        files = [m for m in self.forms if not all(isinstance(item.media[m], str) for _, _, item in items)]
        found = []
        together: list[tuple[str, ...]] = [(m,) for m in files] or [tuple(self.forms)]
        for what in together:
            keys = [tuple(self.keys[split][m][position] for m in what) for split, position, _ in items]
            name = " and ".join(what)
            where = f"{self.dataset}: {name}"
            notes = repeat_notes(keys, parts, where, self.allow_repeats, lambda row: items[row][2].id)
            found += [f"{name}: {note}" for note in notes]
        return tuple(found)

    def ending(self, skipped: Iterable[Skipped]) -> Meta:
        """Give the record that completes the cache when all samples are there."""
        lost = tuple(sorted(dict.fromkeys(skipped), key=lambda s: (s.split, s.row)))
        counts = {
            split: len(items) - sum(s.split == split for s in lost) for split, items in self.listing.splits.items()
        }
        forms = {modality: form_text(form) for modality, form in self.forms.items()}
        return Meta(dataset=self.dataset, profile=self.profile, key=self.key, content=self.content, forms=forms,
                    samples=counts, bytes=self._bytes(), skipped=lost, notes=self.listing.notes)  # fmt: skip

    def _bytes(self) -> int:
        """Count the bytes of the samples, each once."""
        keys: dict[str, tuple[int, set[bytes]]] = {}
        for split in self.listing.splits:
            for modality, form in self.forms.items():
                store = SampleStore.of(form, split)
                keys.setdefault(store.name, (store.row_bytes, set()))[1].update(self.keys[split][modality])
        return sum(size * len(of) for size, of in keys.values())


def _check(name: str, values: NDArray[np.generic], declared: Stored) -> None:
    shape = declared.shape
    fits = values.shape == shape or (shape and values.shape[1:] == shape[1:] and 0 < len(values) <= shape[0])
    if values.dtype != np.dtype(declared.dtype) or not fits:
        raise TypeError(f"{name} was decoded to {values.dtype} {values.shape}, its form declares {declared}")


def _short(state: hashlib._Hash) -> str:
    return state.hexdigest()[:16]


def _first(names: Sequence[str]) -> str:
    more = len(names) - NAMED
    return "; ".join(names[:NAMED]) + (f"; and {more} more" if more > 0 else "")
