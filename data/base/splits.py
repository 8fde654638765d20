"""Seeded, stratified splits."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Positions = NDArray[np.int64]


def generator(seed: int, *stream: str | int) -> np.random.RandomState:
    """Give the random numbers of ``seed`` and the named stream."""
    name = "/".join(map(str, (seed, *stream)))
    words = np.frombuffer(hashlib.sha256(name.encode()).digest(), ">u4")
    # numpy promises never to change RandomState's numbers; its newer Generator may, and would move the splits.
    return np.random.RandomState(words.astype(np.uint32))


def stratified_parts(labels: NDArray[np.integer], shares: Sequence[float], seed: int) -> list[Positions]:
    """Cut the positions of ``labels`` [n] into disjoint parts, one a share in (0, 1) and the rest as the last.

    Each share is taken from every class: rounded, at least one sample. Positions ascend within a part."""
    parts: list[list[Positions]] = [[] for _ in range(len(shares) + 1)]
    for label in np.unique(labels):
        members = generator(seed, "parts", label).permutation(np.flatnonzero(labels == label))
        cuts = np.cumsum([max(1, round(share * len(members))) for share in shares])
        for part, piece in zip(parts, np.split(members, cuts), strict=True):
            part.append(piece)
    return [np.sort(np.concatenate(part)) for part in parts]


def evenly(total: int, classes: int) -> list[int]:
    """Share out ``total`` samples over ``classes``: sizes differ by at most one, the first classes have more."""
    base, extra = divmod(total, classes)
    return [base + (label < extra) for label in range(classes)]
