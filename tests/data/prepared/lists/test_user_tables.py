"""A user's own table of samples: labels, splits, what is held out."""

from __future__ import annotations

import math

import numpy as np
import pytest

from data.base import DataError
from data.prepared.lists.user_tables import (
    carve_splits,
    label_notes,
    number_labels,
    repeat_notes,
    split_draws,
    split_name,
)


def place(row: int) -> str:
    return f"row {row}"


def test_a_split_has_a_name_or_a_number() -> None:
    assert [split_name(value, "row 1") for value in ("train", " test ", 1, "2")] == [
        "train",
        "test",
        "validation",
        "test",
    ]
    assert {split_name(word, "") for word in ("val", "valid", "dev", " Dev", "VALIDATION")} == {"validation"}
    assert (split_name("Training", ""), split_name("testing", "")) == ("train", "test")
    with pytest.raises(DataError, match="row 1 is 'devil'; it must be train, validation or test"):
        split_name("devil", "row 1")


def test_words_are_numbered_in_their_order_or_in_the_given_one() -> None:
    labels, names = number_labels(["b", "a", "b"], None, place)
    assert (labels.tolist(), names) == ([1, 0, 1], ("a", "b"))
    labels, names = number_labels(["b", "a", "b"], ["b", "c", "a"], place)
    assert (labels.tolist(), names) == ([0, 2, 0], ("b", "c", "a"))
    labels, names = number_labels([0, 1, 2], None, place)
    assert (labels.tolist(), names) == ([0, 1, 2], ("0", "1", "2"))
    labels, names = number_labels([1.0, 0.0, -0.0], None, place)
    assert (labels.tolist(), names) == ([1, 0, 0], ("0", "1"))


@pytest.mark.parametrize(
    ("values", "given", "message"),
    [
        ([0, 2], None, "row 1 is 2, and no sample has the label 1; number them from 0"),
        ([0, 5], ["a", "b"], "row 1 is 5; labels go from 0 to 1; name all classes"),
        ([1.0, 0.5], None, "row 1 is 0.5; labels must be whole numbers from 0, or words: number the classes"),
        ([0.0, 1.0, math.nan], None, "row 2 is nan; labels must be whole numbers"),
        ([0.0, 2.0], None, "row 1 is 2, and no sample has the label 1"),
        (["a", "c"], ["a", "b"], "row 1: unknown label 'c'"),
        (["a", ""], None, "row 1 is empty"),
        ([0, 10**12], None, "row 1 is 1000000000000, and no sample has the label 1"),
        (["0", "9" * 40], ["a", "b"], "row 1 is 9{40}; labels go from 0 to 1"),
        (["-1", "0"], None, "row 0 is -1; labels go from 0 to 1; number them from 0"),
        (["a", "a "], None, "row 0: every sample has the label 'a'; there must be two classes"),
        (["a", "b"], ["a", " a"], "row 0: 'a' stands twice among the names of the classes"),
    ],
)
def test_labels_that_make_no_sense_are_refused(values: list[object], given: list[str] | None, message: str) -> None:
    with pytest.raises(DataError, match=message):
        number_labels(values, given, place)


def test_names_are_compared_as_they_look() -> None:
    labels, names = number_labels(["caf\u00e9", "cafe\u0301", " tea\u00a0"], ["tea ", "cafe\u0301"], place)
    assert (labels.tolist(), names) == ([1, 1, 0], ("tea", "caf\u00e9"))


def test_slips_in_labels_are_told() -> None:
    classes = ("Happy", "happy", "very_sad", "Very Sad", "one", "two")
    assert label_notes(np.array([0, 0, 1, 1, 2, 2, 3, 3, 4, 5, 5]), classes) == (
        "classes that look alike: 'Happy', 'happy'; give them one name if they are one class",
        "classes that look alike: 'very_sad', 'Very Sad'; give them one name if they are one class",
        "classes of one sample, which no two splits can share: 'one'",
    )
    assert label_notes(np.array([0, 0, 1, 1]), ("+", "-")) == ()
    many = label_notes(np.arange(7), tuple("abcdefg"))
    assert many == ("classes of one sample, which no two splits can share: 'a', 'b', 'c', 'd', 'e' and 2 more",)


def test_samples_in_two_splits_are_refused_unless_allowed() -> None:
    parts = {"train": np.array([0, 1, 2]), "validation": np.array([3]), "test": np.array([4, 5])}
    assert repeat_notes("abcdef", parts, "table", False) == ()  # type: ignore[arg-type]
    assert repeat_notes("aacdee", parts, "table", False) == ("samples that stand more than once within their split: 2",)  # type: ignore[arg-type]
    with pytest.raises(
        DataError,
        match=r"table: samples in two splits: 1 \(sample 1 of train and sample 4 of test\); .*set allow_repeats: true",
    ):
        repeat_notes("abcdbe", parts, "table", False)  # type: ignore[arg-type]
    assert repeat_notes("abcdbe", parts, "table", True) == ("samples in two splits: 1, as allow_repeats says",)  # type: ignore[arg-type]


def test_six_speakers_of_fifty_rows_are_held_out_whole() -> None:
    labels, speakers = np.arange(300) % 10, [f"speaker {k // 50}" for k in range(300)]
    parts, notes = carve_splits(labels, None, speakers, (0.1, 0.2), 0, "table")
    assert {name: len(part) for name, part in parts.items()} == {"train": 200, "validation": 50, "test": 50}
    assert len({speakers[k] for k in parts["train"]}) == 4
    assert len(notes) == 2


def test_groups_that_lack_a_class_are_held_out_where_no_other_can_be() -> None:
    group = np.arange(40) // 10
    labels = np.where(group == np.arange(40) % 3, 0, 1 + np.arange(40) % 2)
    parts, notes = carve_splits(labels, None, [f"g{k}" for k in group], (0.3, 0.3), 0, "table")
    assert {len({int(group[k]) for k in part}) for part in parts.values()} <= {1, 2}
    assert set(labels[parts["train"]].tolist()) == {0, 1, 2}
    assert all("held out" in note for note in notes)


def test_what_stands_in_the_way_of_holding_out_is_said() -> None:
    with pytest.raises(
        DataError,
        match=r"table: no whole group can be held out for the test split: 4 of 4 classes are in one of the 4 groups "
        r"alone, and would be lost for training; .* or leave the group out",
    ):
        carve_splits(np.arange(40) % 4, None, [f"g{k % 4}" for k in range(40)], (0.1, 0.2), 0, "table")
    with pytest.raises(DataError, match="for the validation split: one group is left, and three splits need three"):
        carve_splits(np.arange(40) % 4, None, [f"g{k // 20}" for k in range(40)], (0.1, 0.2), 0, "table")
    with pytest.raises(
        DataError, match=r"no sample can be held out for the test split, .*give each class three samples"
    ):
        carve_splits(np.arange(40), None, None, (0.1, 0.2), 0, "table")


def test_what_a_table_leaves_open_is_held_out() -> None:
    labels = np.arange(40) % 2
    parts, notes = carve_splits(labels, None, None, (0.1, 0.2), 0, "table")
    assert {name: len(part) for name, part in parts.items()} == {"train": 28, "validation": 4, "test": 8}
    assert sorted(np.concatenate(list(parts.values())).tolist()) == list(range(40))
    assert [note.partition(":")[0] for note in notes] == ["test", "validation"]


def test_a_split_that_the_table_names_stays() -> None:
    labels = np.arange(40) % 2
    split = ["test" if k < 10 else "train" for k in range(40)]
    parts, notes = carve_splits(labels, split, [f"group {k % 8}" for k in range(40)], (0.1, 0.2), 0, "table")
    assert parts["test"].tolist() == list(range(10))
    assert "groups on more than one side of the split: 8 (group 0, ...)" in notes
    with pytest.raises(DataError, match="table: no sample is of the test split"):
        carve_splits(labels, ["train"] * 40, None, (0.1, 0.2), 0, "table")


@pytest.mark.parametrize(
    ("split", "draws"),
    [(None, "test"), (["train", "test"], "validation"), (["train", "validation", "test"], "nothing")],
)
def test_the_seed_draws_what_the_table_leaves_open(split: list[str] | None, draws: str) -> None:
    assert split_draws(split) == draws
