"""A user's own table of samples: labels, splits, what is held out."""

from __future__ import annotations

import numpy as np
import pytest

from data.base import DataError
from data.prepared.lists.user_tables import carve_splits, number_labels, split_name


def place(row: int) -> str:
    return f"row {row}"


def test_a_split_has_a_name_or_a_number() -> None:
    assert [split_name(value, "row 1") for value in ("train", " test ", 1, "2")] == [
        "train",
        "test",
        "validation",
        "test",
    ]
    with pytest.raises(DataError, match="row 1 is 'dev'; it must be train, validation or test"):
        split_name("dev", "row 1")


def test_words_are_numbered_in_their_order_or_in_the_given_one() -> None:
    labels, names = number_labels(["b", "a", "b"], None, place)
    assert (labels.tolist(), names) == ([1, 0, 1], ("a", "b"))
    labels, names = number_labels(["b", "a", "b"], ["b", "c", "a"], place)
    assert (labels.tolist(), names) == ([0, 2, 0], ("b", "c", "a"))
    labels, names = number_labels([0, 1, 2], None, place)
    assert (labels.tolist(), names) == ([0, 1, 2], ("0", "1", "2"))


@pytest.mark.parametrize(
    ("values", "given", "message"),
    [
        ([0, 2], None, "row 0: no sample has the label 1"),
        ([0, 5], ["a", "b"], "row 1 is 5; labels go from 0 to 1"),
        ([0.5, 1.0], None, "labels must be whole numbers from 0, or words"),
        (["a", "c"], ["a", "b"], "row 1: unknown label 'c'"),
        (["a", ""], None, "row 1 is empty"),
    ],
)
def test_labels_that_make_no_sense_are_refused(values: list[object], given: list[str] | None, message: str) -> None:
    with pytest.raises(DataError, match=message):
        number_labels(values, given, place)


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
