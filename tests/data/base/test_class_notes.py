"""Notes of classes that a split has no sample of."""

from __future__ import annotations

import numpy as np

from data.base.class_notes import class_notes


def test_classes_of_one_side_of_the_splits_are_named() -> None:
    labels = {"train": np.array([0, 1, 2]), "validation": [2, 1, 0, 4], "test": [3, 4, 0, 0, -1, 9]}
    assert list(class_notes("abcdef", labels)) == [
        "no split has a sample of 1 class ('f')",
        "validation: 1 class ('e') that no training sample has, and no model can learn",
        "test: 2 classes ('d', 'e') that no training sample has, and no model can learn",
        "test: no sample of 2 classes ('b', 'c') that are trained on",
    ]
    assert list(class_notes("ab", {"train": [0, 1], "validation": [1, 0], "test": [0, 1]})) == []
    (one,) = class_notes("abcdefgh", {"train": range(8), "validation": range(7), "test": range(8)})
    assert one == "validation: no sample of 1 class ('h') that is trained on"
    (many,) = class_notes("abcdefgh", {"train": [0], "validation": [0], "test": range(8)})
    assert many.startswith("test: 7 classes ('b', 'c', 'd', 'e', 'f' and 2 more) that no training sample has")
