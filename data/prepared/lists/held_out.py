"""Validation splits for datasets that have none: seeded, from the training list, never through a group."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import TypeVar

from data.base import DataError
from data.base.splits import generator
from data.prepared.lists.rows import Row

R = TypeVar("R", bound=Row)
_ATTEMPTS = 200
"""Draws of so many groups before one group more is held out."""


def carve(rows: Sequence[R], share: float, seed: int) -> tuple[list[R], list[R]]:
    """(training, validation): about ``share`` of each class is held out, whole groups only (a row without a group is
    one of its own). Depends on ids, labels, groups and seed, not on the order of ``rows``, which both parts keep.

    A group is taken where that brings the classes no further from their shares (rounded, at least one row), and
    leaves something of each for training."""
    groups: dict[tuple[str, str], list[R]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: row.id):
        groups[("group", row.group) if row.group else ("row", row.id)].append(row)
    members: dict[int, list[tuple[str, str]]] = defaultdict(list)
    for key, group in groups.items():
        for label in {row.label for row in group}:
            members[label].append(key)
    sizes = Counter(row.label for row in rows)
    left = {label: min(max(1, round(share * size)), size - 1) for label, size in sizes.items()}
    rest = sizes.copy()
    held: set[str] = set()
    for label in sorted(members):
        for position in generator(seed, "validation", label).permutation(len(members[label])):
            if left[label] <= 0:
                break
            group = groups[members[label][position]]
            counts = Counter(row.label for row in group)
            further = sum(abs(left[of] - count) - abs(left[of]) for of, count in counts.items())
            remains = all(count < rest[of] for of, count in counts.items())
            if group[0].id not in held and further <= 0 and remains:
                held.update(row.id for row in group)
                rest -= counts
                for of, count in counts.items():
                    left[of] -= count
    return [row for row in rows if row.id not in held], [row for row in rows if row.id in held]


def hold_out(rows: Sequence[R], share: float, seed: int, name: str = "validation") -> tuple[list[R], list[R]]:
    """(rest, held out): as few whole groups as reach ``share`` of the rows, drawn by ``seed`` and ``name``, such that
    every class remains in both parts. For large groups, each with many classes: speakers, subjects.

    Raises DataError where no such choice exists."""
    if parts := whole_groups(rows, share, seed, name):
        return parts
    groups, classes = ({getattr(row, what) for row in rows} for what in ("group", "label"))
    raise DataError(
        f"{name}: no choice of whole groups holds out {share:.0%} and keeps every class on both sides "
        f"({len(groups)} groups, {len(classes)} classes)"
    )


def whole_groups(
    rows: Sequence[R], share: float, seed: int, name: str, classes_held: bool = True
) -> tuple[list[R], list[R]] | None:
    """(rest, held out) as :func:`hold_out`; None where no such choice exists. classes_held: every class is held out,
    too; else it is enough that every class remains in the rest."""
    sizes = Counter(row.group for row in rows)
    classes = {row.label for row in rows}
    names = sorted(sizes)
    random = generator(seed, name)
    fewest, reached = 0, 0
    for size in sorted(sizes.values(), reverse=True):
        fewest, reached = fewest + 1, reached + size
        if reached >= share * len(rows):
            break
    for count in range(fewest, len(names)):
        for _ in range(_ATTEMPTS):
            held = {names[position] for position in random.permutation(len(names))[:count]}
            rest, out = [row for row in rows if row.group not in held], [row for row in rows if row.group in held]
            found = {row.label for row in rest}, {row.label for row in out} if classes_held else classes
            if len(out) >= share * len(rows) and found == (classes, classes):
                return rest, out
    return None
