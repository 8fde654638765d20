"""Held-out parts: their share, whole groups, the seed alone."""

from __future__ import annotations

from collections import Counter

import pytest

from data.base import DataError
from data.prepared.lists.held_out import carve, hold_out
from data.prepared.lists.rows import (
    Row,
)


def rows(count: int, classes: int, groups: int = 0) -> list[Row]:
    return [Row(f"s{i:04d}", i % classes, "", f"g{i % groups}" if groups else "") for i in range(count)]


def ids(part: list[Row]) -> set[str]:
    return {row.id for row in part}


def test_carving_takes_its_share_of_each_class() -> None:
    everything = [*rows(300, 3), Row("lonely", 3, ""), Row("rare a", 4, ""), Row("rare b", 4, "")]
    train, validation = carve(everything, 0.1, 0)
    assert Counter(row.label for row in validation) == {0: 10, 1: 10, 2: 10, 4: 1}
    assert ids(train) | ids(validation) == ids(everything)
    assert not ids(train) & ids(validation)
    assert "lonely" in ids(train)
    assert train == [row for row in everything if row in train]


def test_carving_depends_on_the_samples_and_the_seed_not_on_their_order() -> None:
    everything = rows(200, 4, 90)
    chosen = ids(carve(everything, 0.1, 0)[1])
    assert ids(carve(everything[::-1], 0.1, 0)[1]) == chosen
    assert ids(carve(everything, 0.1, 1)[1]) != chosen
    assert sorted(ids(carve(rows(20, 2), 0.1, 0)[1])) == ["s0007", "s0014"]


def test_carving_never_parts_a_group() -> None:
    everything = [Row(f"s{i:03d}", i % 4, "", f"g{(i // 4) % 120 if i % 4 else i}") for i in range(800)]
    train, validation = carve(everything, 0.1, 0)
    assert not {row.group for row in train} & {row.group for row in validation}
    wanted = Counter(row.label for row in everything)
    taken = Counter(row.label for row in validation)
    assert all(0.09 * wanted[label] <= taken[label] <= 0.11 * wanted[label] for label in wanted)


def test_carving_large_groups_comes_near_the_share() -> None:
    sizes = [(7 * group % 31 + 8, group) for group in range(100)]
    everything = [
        Row(f"g{group:02d}-{i:02d}", (group + i * i) % 4, "", f"g{group}") for size, group in sizes for i in range(size)
    ]
    train, validation = carve(everything, 0.1, 0)
    assert not {row.group for row in train} & {row.group for row in validation}
    wanted, taken = (Counter(row.label for row in part) for part in (everything, validation))
    assert all(0.08 * wanted[label] <= taken[label] <= 0.12 * wanted[label] for label in wanted)


def test_carving_leaves_something_of_each_class_to_train_on() -> None:
    two = [Row("a1", 0, "", "a"), Row("a2", 1, "", "a"), Row("b1", 0, "", "b"), Row("b2", 1, "", "b")]
    assert {row.group for row in carve(two, 0.1, 0)[0]} in ({"a"}, {"b"})
    one = [Row("a1", 0, "", "a"), Row("a2", 1, "", "a"), Row("b1", 0, "", "b")]
    train, validation = carve(one, 0.1, 0)
    assert (ids(train), ids(validation)) == ({"a1", "a2"}, {"b1"})


def test_whole_subjects_are_held_out_as_few_as_reach_the_share() -> None:
    everything = rows(280, 7, 20)
    train, validation = hold_out(everything, 0.1, 0)
    assert len({row.group for row in validation}) == 2
    assert not {row.group for row in train} & {row.group for row in validation}
    assert {row.label for row in train} == {row.label for row in validation} == set(range(7))
    assert ids(hold_out(everything[::-1], 0.1, 0)[1]) == ids(validation)
    draws = {tuple(sorted(ids(hold_out(everything, 0.1, seed)[1]))) for seed in range(5)}
    assert len(draws) > 1
    assert ids(hold_out(everything, 0.1, 0, "test")[1]) != ids(validation)


def test_more_subjects_are_held_out_where_few_lack_a_class() -> None:
    uneven = [Row(f"s{i}-{c}", c, "", f"g{i}") for i in range(10) for c in range(4) if (i + c) % 2]
    train, validation = hold_out(uneven, 0.1, 0)
    assert len({row.group for row in validation}) == 2
    assert {row.label for row in train} == {row.label for row in validation} == set(range(4))
    alone = [Row("a", 0, "", "g1"), Row("b", 1, "", "g2"), Row("c", 0, "", "g3")]
    with pytest.raises(DataError, match=r"validation: no choice of whole groups holds out 10%.*3 groups, 2 classes"):
        hold_out(alone, 0.1, 0)


def test_the_same_samples_are_held_out_for_ever() -> None:
    """A split that changed would make other runs of the same name: these are pinned by value, in any order of rows."""
    everything = [Row(f"s{i:02d}", i % 3, "", f"g{i // 2 % 7}") for i in range(42)]
    for given in (everything, everything[::-1], everything[1::2] + everything[::2]):
        assert {row.group for row in carve(given, 0.2, 3)[1]} == {"g2", "g5"}
        assert {row.group for row in hold_out(given, 0.2, 3)[1]} == {"g1", "g2"}
    alone = [Row(f"s{i:02d}", i % 3, "") for i in range(30)]
    for given in (alone, alone[::-1]):
        assert sorted(ids(carve(given, 0.2, 3)[1])) == ["s03", "s04", "s10", "s20", "s27", "s29"]


def test_no_more_groups_are_held_out_than_reach_the_share_exactly() -> None:
    everything = [Row(f"s{i:02d}", i % 3, "", f"g{i // 2 % 7}") for i in range(42)]
    for count in (1, 2, 3):
        assert len({row.group for row in hold_out(everything, 6 * count / 42, 0)[1]}) == count
    for count in (1, 2, 3):
        parts = carve(everything, 6 * count / 42, 0)
        assert (len({row.group for row in parts[1]}), len(parts[0])) == (count, 42 - 6 * count)


def test_carving_by_group_never_changes() -> None:
    # Groups are numbered against the order of the samples, classes against that of their first samples.
    everything = [Row(f"s{i:02d}", (7 - i) % 4, "", f"g{(59 - i) // 3}") for i in range(60)]
    train, validation = carve(everything, 0.2, 1)
    assert sorted({row.group for row in validation}) == ["g12", "g14", "g8", "g9"]
    assert not {row.group for row in train} & {row.group for row in validation}
    assert ids(carve(everything[::-1], 0.2, 1)[1]) == ids(validation)


def test_carving_groups_of_several_classes_never_changes() -> None:
    # A class that has its share takes no further group, and one that only comes no further from the shares is taken.
    everything = [Row(f"s{i:03d}", (i * i // 7) % 4, "", f"g{(i * i) % 29}") for i in range(60)]
    validation = carve(everything, 0.2, 0)[1]
    assert sorted({row.group for row in validation}) == ["g16", "g23", "g24", "g4"]


def test_holding_out_whole_groups_never_changes() -> None:
    everything = [Row(f"s{i:03d}", i % 3, "", f"g{(7 * i) % 13}") for i in range(130)]
    assert [sorted({row.group for row in hold_out(everything, share, 0)[1]}) for share in (0.05, 0.1, 0.3)] == [
        ["g8"],
        ["g5", "g8"],
        ["g1", "g5", "g7", "g8"],
    ]
    assert sorted({row.group for row in hold_out(everything, 0.1, 0, "test")[1]}) == ["g3", "g6"]
