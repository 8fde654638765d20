"""Media of samples: which files a row stands for, and the samples whose files are not there."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Generic, TypeVar

from data.base import AbsentDataError
from data.prepared.lists.folders import pictures
from data.prepared.lists.items import Item, Medium, SplitName
from data.prepared.lists.rows import Row, refuse_repeats

R = TypeVar("R", bound=Row)
K = TypeVar("K", bound=Hashable)


class AbsentError(Exception):
    """A medium of a sample is not there; the text says which."""


def find_media(
    splits: Mapping[SplitName, Sequence[R]],
    media: Callable[[R], Mapping[str, Medium]],
    allowed_missing: float,
    show: int = 3,
) -> tuple[dict[SplitName, tuple[Item, ...]], tuple[tuple[str, str], ...]]:
    """(items of each split, samples left out with the reason). ``media`` names the files of a row, or raises
    :class:`AbsentError`.

    Raises DataError for a sample that is listed twice, and where more than a share ``allowed_missing`` of a split is
    not there (or all of it)."""
    refuse_repeats(row for rows in splits.values() for row in rows)
    items: dict[SplitName, tuple[Item, ...]] = {}
    missing: list[tuple[str, str]] = []
    for name, rows in splits.items():
        kept: list[Item] = []
        lacking: list[tuple[str, str]] = []
        for row in rows:
            try:
                kept.append(Item(row.id, row.label, media(row), row.group))
            except AbsentError as absent:
                lacking.append((row.id, str(absent)))
        if len(lacking) > allowed_missing * len(rows) or not kept:
            named = "; ".join(f"{id}: {reason}" for id, reason in lacking[:show])
            raise AbsentDataError(
                f"{name}: {len(lacking)} of {len(rows)} samples cannot be used, {len(lacking) / max(1, len(rows)):.1%} "
                f"where `allowed_missing` is {allowed_missing:.1%} ({named}{'; ...' if len(lacking) > show else ''}). "
                "Complete the data, or raise `allowed_missing`"
            )
        items[name] = tuple(kept)
        missing += lacking
    return items, tuple(missing)


class Files(Generic[K]):
    """Single files by key. ``what``: the kind of file, for messages."""

    def __init__(self, files: Mapping[K, Path], what: str) -> None:
        self._files, self._what = files, what

    def __getitem__(self, key: K) -> Path:
        """Raises :class:`AbsentError`."""
        if key not in self._files:
            raise AbsentError(f"no {self._what}")
        return self._files[key]


class FrameFolders(Generic[K]):
    """The pictures of a folder, by key; ``least``: how many a clip needs to be used."""

    def __init__(self, folders: Mapping[K, Path], keys: Iterable[K], what: str, least: int = 1) -> None:
        self._folders, self._what, self._least = folders, what, least
        self._pictures = pictures(folders[key] for key in keys if key in folders)

    def __getitem__(self, key: K) -> tuple[Path, ...]:
        """Raises :class:`AbsentError`, also for a folder with fewer pictures than needed."""
        if key not in self._folders:
            raise AbsentError(f"no folder of {self._what}")
        found = self._pictures[self._folders[key]]
        if len(found) < self._least:
            raise AbsentError(
                f"{len(found)} frame{'' if len(found) == 1 else 's'} of {self._what}, fewer than {self._least}"
            )
        return found
