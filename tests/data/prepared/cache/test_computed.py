"""Arrays that are computed as a whole are computed once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from data.base import Split
from data.prepared.cache.computed import Computed, Part, cached_splits


@pytest.fixture(autouse=True)
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWEEP_CACHE", str(tmp_path / "caches"))


class Computation:
    """Counts how often it is made."""

    calls = 0

    def __call__(self) -> Computed:
        self.calls += 1
        values = np.arange(6, dtype=np.float32).reshape(3, 2)
        labels = np.array([1, 0, 1])
        return Computed(
            {"train": Part({"left": values}, labels), "test": Part({"left": values[:1]}, labels[:1])}, ("x",)
        )


def shown(split: Split) -> tuple[object, object]:
    values = split.inputs["left"]
    assert isinstance(values, torch.Tensor)
    return values.tolist(), split.labels.tolist()


def test_the_second_time_comes_from_the_cache() -> None:
    compute = Computation()
    first, notes = cached_splits("sums", "a", compute)
    again, noted = cached_splits("sums", "a", compute)
    assert compute.calls == 1
    assert notes == noted == ("x",)
    assert {name: shown(split) for name, split in first.items()} == {
        name: shown(split) for name, split in again.items()
    }
    assert shown(again["train"]) == ([[0, 1], [2, 3], [4, 5]], [1, 0, 1])


def test_another_content_or_dataset_is_computed_anew() -> None:
    compute = Computation()
    for dataset, content in (("sums", "a"), ("sums", "b"), ("others", "a")):
        cached_splits(dataset, content, compute)
    assert compute.calls == 3
