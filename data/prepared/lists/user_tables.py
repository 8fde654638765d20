"""What a user's own table of samples says: labels in words or numbers, splits, and what is held out where it names
none."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from data.base import DataError, SplitDraws
from data.base.class_notes import first_names
from data.prepared.lists.held_out import carve, whole_groups
from data.prepared.lists.items import SPLITS, SplitName
from data.prepared.lists.rows import Row, class_name

Positions = NDArray[np.int64]


_SPLITS: Mapping[str, SplitName] = {
    **dict.fromkeys(("0", "train", "training"), "train"),
    **dict.fromkeys(("1", "validation", "val", "valid", "dev"), "validation"),
    **dict.fromkeys(("2", "test", "testing"), "test"),
}
_WHOLE = re.compile(r"-?[0-9]+")
_SEPARATORS = re.compile(r"[\W_]+")


def plain_text(value: object) -> str:
    """Write a value as it is compared: composed Unicode (NFC), without blanks at its ends."""
    return unicodedata.normalize("NFC", str(value)).strip()


def split_name(value: object, where: str) -> SplitName:
    """Read the name of a split off a word, or of 0, 1, 2. Raises DataError."""
    text = plain_text(value)
    if text.lower() in _SPLITS:
        return _SPLITS[text.lower()]
    raise DataError(f"{where} is {text!r}; it must be train, validation or test (or val, valid, dev, or 0, 1, 2)")


def number_labels(
    values: Sequence[object], given: Sequence[str] | None, where: Callable[[int], str]
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Give labels int64 [n] and names of the classes. values: words, or whole numbers from 0, also as 0.0, 1.0; given:
    names of the classes, in their order (default: words sorted; "0", "1", ... up to the largest). Raises DataError."""
    texts = [plain_text(_without_point(value)) for value in values]
    names = None if given is None else tuple(map(plain_text, given))
    if names and (twice := [name for name, count in Counter(names).items() if count > 1]):
        raise DataError(f"{where(0)}: {twice[0]!r} stands twice among the names of the classes; give each its own")
    if all(_WHOLE.fullmatch(text) for text in texts):
        return _counted([int(text) for text in texts], names, where)
    for row, value in enumerate(values):
        if isinstance(value, float) and not value.is_integer():
            raise DataError(
                f"{where(row)} is {value}; labels must be whole numbers from 0, or words: number the classes, or leave "
                "such samples out"
            )
    if len(set(texts)) == 1 and not names:
        raise DataError(f"{where(0)}: every sample has the label {texts[0]!r}; there must be two classes or more")
    names = names or tuple(sorted(set(texts)))
    numbers = {name: number for number, name in enumerate(names)}
    for row, text in enumerate(texts):
        if text not in numbers:
            class_name(text, names, where(row))
        if not text:
            raise DataError(f"{where(row)} is empty: give the sample a label, or leave it out")
    return np.array([numbers[text] for text in texts], np.int64), names


def _without_point(value: object) -> object:
    """Write a whole number as such: NumPy's zeros and CSV readers make 1.0 of 1."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _counted(
    numbers: Sequence[int], names: tuple[str, ...] | None, where: Callable[[int], str]
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Check labels that are whole numbers, before anything is made of their size. Raises DataError."""
    count = len(names) if names else max(2, max(numbers, default=0) + 1)
    for row, number in enumerate(numbers):
        if not 0 <= number < count:
            remedy = "name all classes, in their order" if names else "number them from 0 without gaps"
            raise DataError(f"{where(row)} is {number}; labels go from 0 to {count - 1}; {remedy}")
    there = set(numbers)
    if not names and len(there) == 1:
        raise DataError(f"{where(0)}: every sample has the label {numbers[0]}; there must be two classes or more")
    if not names and len(there) < count:
        empty = next(number for number in range(count) if number not in there)
        raise DataError(
            f"{where(numbers.index(count - 1))} is {count - 1}, and no sample has the label {empty}; number them from "
            "0 without gaps, or name the classes"
        )
    return np.array(numbers, np.int64), names or tuple(map(str, range(count)))


def label_notes(labels: NDArray[np.int64], classes: Sequence[str]) -> tuple[str, ...]:
    """Say what may be a slip in the labels: names of classes that look alike, and classes of one sample."""
    alike: dict[str, list[str]] = {}
    for name in classes:
        key = _SEPARATORS.sub("", unicodedata.normalize("NFKC", name).casefold())
        alike.setdefault(key or name, []).append(name)
    notes = [
        f"classes that look alike: {', '.join(map(repr, names))}; give them one name if they are one class"
        for names in alike.values()
        if len(names) > 1
    ]
    counts = np.bincount(labels, minlength=len(classes))
    if single := [classes[label] for label in np.flatnonzero(counts == 1).tolist()]:
        notes.append(f"classes of one sample, which no two splits can share: {first_names(single)}")
    return tuple(notes)


def repeat_notes(
    samples: Sequence[Hashable],
    parts: Mapping[SplitName, Positions],
    where: str,
    allowed: bool,
    describe: Callable[[int], str] = "sample {}".format,
) -> tuple[str, ...]:
    """Say which samples stand twice. samples: equal for equal samples. allowed: in two splits, too; else raises
    DataError for these, with what ``describe`` calls them."""
    places: dict[Hashable, list[tuple[SplitName, int]]] = {}
    for name, rows in parts.items():
        for row in rows.tolist():
            places.setdefault(samples[row], []).append((name, row))
    repeated = [found for found in places.values() if len(found) > 1]
    shared = [found for found in repeated if len({name for name, _ in found}) > 1]
    if shared and not allowed:
        named = "; ".join(
            " and ".join(f"{describe(row)} of {name}" for name, row in dict(found).items()) for found in shared[:3]
        )
        raise DataError(
            f"{where}: samples in two splits: {len(shared)} ({named}{'; ...' if len(shared) > 3 else ''}); a model "
            "would be tested on what it has seen: keep each in one split, or set allow_repeats: true"
        )
    notes = []
    if shared:
        notes.append(f"samples in two splits: {len(shared)}, as allow_repeats says")
    if within := len(repeated) - len(shared):
        notes.append(f"samples that stand more than once within their split: {within}")
    return tuple(notes)


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
    groups = None if group is None else [plain_text(each) for each in group]
    rows = [Row(f"{k:09d}", int(label), where, groups[k] if groups else "") for k, label in enumerate(labels)]
    parts = {name: [row for row, own in zip(rows, names, strict=True) if own == name] for name in SPLITS}
    notes = []
    wanted: list[tuple[SplitName, float]]
    wanted = [("test", shares[1]), ("validation", shares[0])] if split is None else [("validation", shares[0])]
    for name, share in wanted:
        if not parts[name]:
            parts["train"], parts[name] = _held_out(parts["train"], share, seed, name, groups is not None, where)
            by = "class and whole group" if groups is not None else "class"
            notes.append(f"{name}: {len(parts[name])} samples held out of training by {by}, split_seed {seed}")
    for name in SPLITS:
        if not parts[name]:
            raise DataError(f"{where}: no sample is of the {name} split; name some, or leave split out")
    if groups is not None and split is not None:
        sides = [{row.group for row in parts[name]} for name in SPLITS]
        shared = (sides[0] & sides[1]) | (sides[0] & sides[2]) | (sides[1] & sides[2])
        if shared:
            notes.append(f"groups on more than one side of the split: {len(shared)} ({min(shared)}, ...)")
    return {name: np.array([int(row.id) for row in part], np.int64) for name, part in parts.items()}, tuple(notes)


def _held_out(
    rows: Sequence[Row], share: float, seed: int, name: SplitName, grouped: bool, where: str
) -> tuple[list[Row], list[Row]]:
    """(rest, held out) by class and whole group; by few large groups where that holds out nothing. Raises DataError
    that says what stands in the way."""
    rest, held = carve(rows, share, seed)
    if held or not rows:
        return rest, held
    if not grouped:
        raise DataError(
            f"{where}: no sample can be held out for the {name} split, as every class would lose its last one; give "
            "each class three samples or more, or name the split of each sample"
        )
    for classes_held in (True, False):
        if parts := whole_groups(rows, share, seed, name, classes_held):
            return parts
    of: dict[int, set[str]] = {}
    for row in rows:
        of.setdefault(row.label, set()).add(row.group)
    count, alone = len(set().union(*of.values())), sum(len(groups) == 1 for groups in of.values())
    why = f"no choice of the {count} groups leaves every class for training"
    if count == 1:
        why = "one group is left, and three splits need three"
    elif alone:
        why = f"{alone} of {len(of)} classes are in one of the {count} groups alone, and would be lost for training"
    raise DataError(
        f"{where}: no whole group can be held out for the {name} split: {why}; name the split of each sample, make the "
        "groups finer, or leave the group out"
    )
