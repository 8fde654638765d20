"""Scores and discrepancy ratios of OGM and OPM, against values by hand, a naive loop and what they promise."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from methods.equations.discrepancy import discrepancy_ratios, unimodal_scores


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_scores_are_sums_of_the_right_class_s_probability() -> None:
    strong = torch.tensor([[0.0, math.log(3)], [math.log(4), 0.0]])
    flat = torch.zeros(2, 2)
    assert unimodal_scores([strong, flat], torch.tensor([1, 0])).tolist() == pytest.approx([0.75 + 0.8, 1.0])
    assert unimodal_scores([strong, flat], torch.tensor([0, 0])).tolist() == pytest.approx([0.25 + 0.8, 1.0])


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 4), st.integers(1, 6))
def test_scores_equal_a_loop_over_samples(seed: int, count: int, samples: int) -> None:
    logits = [5 * draw(samples, 3, seed=seed + m) for m in range(count)]
    labels = torch.arange(samples) % 3
    expected = []
    for z in logits:
        exponentials = [[math.exp(v) for v in row] for row in z.tolist()]
        expected.append(sum(row[y] / sum(row) for row, y in zip(exponentials, labels.tolist(), strict=True)))
    assert unimodal_scores(logits, labels).tolist() == pytest.approx(expected)


def test_scores_of_half_precision_are_single_and_no_sample_scores_nothing() -> None:
    logits = draw(8, 3).bfloat16()
    found = unimodal_scores([logits], torch.arange(8) % 3)
    assert found.dtype == torch.float32
    assert found.tolist() == pytest.approx(unimodal_scores([logits.double()], torch.arange(8) % 3).tolist(), rel=1e-5)
    empty = unimodal_scores([torch.zeros(0, 3)] * 2, torch.zeros(0, dtype=torch.int64))
    assert empty.tolist() == [0.0, 0.0]


def test_ratios_by_hand() -> None:
    assert discrepancy_ratios(torch.tensor([6.0, 2.0])).tolist() == pytest.approx([3, 1 / 3])
    # 4/2 and 4/1; 2/4 and 2/1; 1/4 and 1/2, halved
    assert discrepancy_ratios(torch.tensor([4.0, 2.0, 1.0])).tolist() == pytest.approx([3, 1.25, 0.375])


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(1e-3, 64), min_size=2, max_size=5))
def test_ratios_equal_a_loop_over_pairs(scores: list[float]) -> None:
    count = len(scores)
    expected = [sum(scores[m] / scores[j] for j in range(count) if j != m) / (count - 1) for m in range(count)]
    found = discrepancy_ratios(torch.tensor(scores, dtype=torch.float64))
    assert found.tolist() == pytest.approx(expected)
    assert float(found[scores.index(min(scores))]) <= 1
    if count == 2:
        assert float(found.prod()) == pytest.approx(1)


@pytest.mark.parametrize("count", [2, 3, 4, 7])
def test_equal_scores_have_exactly_one_and_a_zero_score_has_zero(count: int) -> None:
    for score in (1e-3, 0.1, 1.0, 37.3):
        assert discrepancy_ratios(torch.full((count,), score)).tolist() == [1.0] * count
    found = discrepancy_ratios(torch.tensor([0.0] + [1.0] * (count - 1)))
    assert float(found[0]) == 0.0
    assert found.isfinite().all()
    assert discrepancy_ratios(torch.zeros(count)).tolist() == [0.0] * count
