"""What a user's own table of samples says: labels in words or numbers, splits, and what is held out where it names
none."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from data.base import DataError, SplitDraws
from data.prepared.lists.held_out import carve
from data.prepared.lists.items import SPLITS, SplitName
from data.prepared.lists.rows import Row, class_name

Positions = NDArray[np.int64]


def split_name(value: object, where: str) -> SplitName:
    """Read the name of a split off a word, or of 0, 1, 2. Raises DataError."""
    text = str(value).strip()
    if text in SPLITS:
        return text
    if text in ("0", "1", "2"):
        return SPLITS[int(text)]
    raise DataError(f"{where} is {text!r}; it must be train, validation or test (or 0, 1, 2)")


def number_labels(
    values: Sequence[object], given: Sequence[str] | None, where: Callable[[int], str]
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Give labels int64 [n] and names of the classes. values: words, or whole numbers from 0; given: names of the
    classes, in their order (default: words sorted; "0", "1", ... up to the largest). Raises DataError."""
    texts = [str(value).strip() for value in values]
    if all(text.isascii() and text.lstrip("-").isdigit() for text in texts):
        labels = np.array([int(text) for text in texts], np.int64)
        names = tuple(given) if given else tuple(map(str, range(max(2, int(labels.max(initial=0)) + 1))))
        wrong = np.flatnonzero((labels < 0) | (labels >= len(names)))
        if len(wrong):
            row = int(wrong[0])
            raise DataError(f"{where(row)} is {labels[row]}; labels go from 0 to {len(names) - 1}")
        if not given and len(empty := np.setdiff1d(np.arange(len(names)), labels)):
            raise DataError(
                f"{where(0)}: no sample has the label {empty[0]}, though labels go up to {len(names) - 1}; number them "
                "from 0 without gaps, or name the classes"
            )
        return labels, names
    if any(isinstance(value, float) for value in values):
        raise DataError(f"{where(0)} is {values[0]}; labels must be whole numbers from 0, or words")
    names = tuple(given) if given else tuple(sorted(set(texts)))
    numbers = {name: number for number, name in enumerate(names)}
    for row, text in enumerate(texts):
        if text not in numbers:
            class_name(text, names, where(row))
        if not text:
            raise DataError(f"{where(row)} is empty")
    return np.array([numbers[text] for text in texts], np.int64), names


def split_draws(split: Collection[str] | None) -> SplitDraws:
    """Say what the seed of :func:`carve_splits` draws, with these splits of the samples."""
    if split is None:
        return "test"
    return "nothing" if "validation" in split else "validation"


def carve_splits(
    labels: NDArray[np.int64],
    split: Sequence[str] | None,
    group: Sequence[str] | None,
    shares: tuple[float, float],
    seed: int,
    where: str,
) -> tuple[dict[SplitName, Positions], tuple[str, ...]]:
    """Give the positions of each split, ascending, and what a reader must know of how they were made. split: of each
    sample; what it leaves out, and everything where it is None, is held out by class and whole group. shares: of
    validation and test. Raises DataError."""
    names = split if split is not None else ["train"] * len(labels)
    rows = [Row(f"{k:09d}", int(label), where, group[k] if group is not None else "") for k, label in enumerate(labels)]
    parts = {name: [row for row, own in zip(rows, names, strict=True) if own == name] for name in SPLITS}
    notes = []
    wanted: list[tuple[SplitName, float]]
    wanted = [("test", shares[1]), ("validation", shares[0])] if split is None else [("validation", shares[0])]
    for name, share in wanted:
        if not parts[name]:
            parts["train"], parts[name] = carve(parts["train"], share, seed)
            by = "class and whole group" if group is not None else "class"
            notes.append(f"{name}: {len(parts[name])} samples held out of training by {by}, split_seed {seed}")
    for name in SPLITS:
        if not parts[name]:
            raise DataError(f"{where}: no sample is of the {name} split; name some, or leave split out")
    if group is not None and split is not None:
        sides = [{row.group for row in parts[name]} for name in SPLITS]
        shared = (sides[0] & sides[1]) | (sides[0] & sides[2]) | (sides[1] & sides[2])
        if shared:
            notes.append(f"groups on more than one side of the split: {len(shared)} ({min(shared)}, ...)")
    return {name: np.array([int(row.id) for row in part], np.int64) for name, part in parts.items()}, tuple(notes)
