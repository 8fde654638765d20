"""Folders as the owners of the datasets ship them, with next to nothing in the media."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest

from data.prepared import Listing

STUB = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 4820\n"
MANIFESTS = os.environ.get("SWEEP_MANIFESTS")
needs_manifests = pytest.mark.skipif(not MANIFESTS, reason="SWEEP_MANIFESTS names no folder with the real lists")


def manifests(name: str) -> Path:
    """The folder of a dataset's real lists."""
    assert MANIFESTS
    return Path(MANIFESTS) / name


def touch(*paths: Path, content: bytes = b"x") -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def lines(path: Path, rows: Iterable[str], end: str = "\n", start: str = "") -> Path:
    """A list of ``rows``, each closed by ``end``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes((start + "".join(row + end for row in rows)).encode())
    return path


def ids(listing: Listing) -> dict[str, list[str]]:
    return {split: [item.id for item in items] for split, items in listing.splits.items()}


def counts(listing: Listing) -> dict[str, dict[int, int]]:
    """Samples of each class, by split."""
    return {split: dict(sorted(Counter(i.label for i in items).items())) for split, items in listing.splits.items()}
