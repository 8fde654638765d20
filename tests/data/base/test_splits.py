"""Seeded, stratified splits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.base.splits import evenly, generator, stratified_parts


@pytest.mark.parametrize(
    ("total", "classes", "sizes"), [(10, 3, [4, 3, 3]), (6, 3, [2, 2, 2]), (2, 4, [1, 1, 0, 0]), (0, 2, [0, 0])]
)
def test_evenly(total: int, classes: int, sizes: list[int]) -> None:
    assert evenly(total, classes) == sizes


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=80), st.integers(0, 5))
def test_stratified_parts_cover_every_position_once(labels: list[int], seed: int) -> None:
    parts = stratified_parts(np.array(labels), (0.2, 0.3), seed)
    assert len(parts) == 3
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(labels)))
    for part in parts:
        assert part.tolist() == sorted(part.tolist())
    for label in set(labels):
        members = labels.count(label)
        first = sum(labels[i] == label for i in parts[0])
        assert first == max(1, round(0.2 * members))
        second = sum(labels[i] == label for i in parts[1])
        assert second == min(max(1, round(0.3 * members)), members - first)


def test_stratified_parts_depend_on_the_seed_alone() -> None:
    labels = np.arange(200) % 4
    first, again, other = (stratified_parts(labels, (0.5,), seed) for seed in (0, 0, 1))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0], other[0])


def test_generator_streams_differ_by_name_and_never_change() -> None:
    keys: list[tuple[int, str | int]] = [(0, "a"), (0, "b"), (1, "a"), (0, 1)]
    draws = {tuple(generator(seed, name).permutation(12).tolist()) for seed, name in keys}
    assert len(draws) == 4
    assert generator(0, "a", 0).permutation(12).tolist() != generator(0, "a").permutation(12).tolist()
    assert generator(0, "a").permutation(6).tolist() == [4, 2, 0, 1, 5, 3]


def test_stratified_parts_never_change() -> None:
    """Every result that was measured on such a split would be of another one."""
    labels = np.array([0, 1, 2, 1, 0, 0, 1, 0, 2, 1, 0, 1])
    found = [part.tolist() for part in stratified_parts(labels, (0.2, 0.3), seed=0)]
    assert found == [[0, 1, 2], [3, 5, 6, 8, 10], [4, 7, 9, 11]]
