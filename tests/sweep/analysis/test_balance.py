"""Does balance pay: rank correlations against scipy, the front, and one sentence a dataset."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from support.synthetic_results import Results

from sweep.analysis.balance import balance_sentences, balances, correlation_interval, rank_correlation
from sweep.analysis.parts import Parts
from sweep.results.tables import load

METHODS = ("iprm", "bss", "aug", "amss", "lfa", "igm")


def compared(folder: Path, slope: float, methods: int = 6, seeds: int = 3) -> Parts:
    """Methods whose imbalance rises by 0.05 each and whose accuracy by ``slope`` each, with joint training beside."""
    results = Results(folder)
    results.sweep("one")
    for seed in range(seeds):
        for number, method in enumerate((*METHODS[:methods], "joint")):
            found = {"multi": 0.7 + slope * number + 0.001 * seed, "left": 0.6, "profile": 0.3}
            role = "reference" if method == "joint" else "sweep"
            results.run("one", method, seed, found, role=role)
    runs = load(folder / "one")
    places = {method: number for number, method in enumerate((*METHODS, "joint"))}
    return Parts(runs.assign(test_imbalance=0.2 + 0.05 * runs["method"].map(places) + 0.001 * runs["seed"]))


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=3, max_size=12))
def test_rank_correlation_equals_scipys(pairs: list[tuple[int, int]]) -> None:
    a, b = (np.array(side, float) for side in zip(*pairs, strict=True))
    if len(set(a)) > 1 and len(set(b)) > 1:
        assert rank_correlation(a, b) == pytest.approx(stats.spearmanr(a, b).statistic)
    else:
        assert math.isnan(rank_correlation(a, b))


def test_the_interval_by_hand_and_its_coverage() -> None:
    low, high, p = correlation_interval(0.0, 12)
    assert (low, high) == pytest.approx((-math.tanh(1.959964 / 3), math.tanh(1.959964 / 3)))
    assert p == 1
    assert all(map(math.isnan, correlation_interval(0.5, 3)))
    draw = np.random.default_rng(0)
    found = [correlation_interval(rank_correlation(*draw.standard_normal((2, 12))), 12) for _ in range(400)]
    assert 0.92 <= np.mean([low <= 0 <= high for low, high, _ in found]) <= 0.99
    assert np.mean([p < 0.05 for _, _, p in found]) <= 0.07


def test_a_model_of_one_modality_has_no_balance(tmp_path: Path) -> None:
    parts = compared(tmp_path, slope=-0.02)
    runs = parts.runs.copy()
    runs.loc[runs["method"].eq("joint"), ["method", "label"]] = ["unimodal", "best unimodal"]
    (with_joint,) = balances(parts, parts.points, "accuracy")
    (without,) = balances(Parts(runs), Parts(runs).points, "accuracy")
    assert [len(found.table) for found in (with_joint, without)] == [7, 6]


def test_balance_pays_where_the_balanced_are_more_accurate(tmp_path: Path) -> None:
    parts = compared(tmp_path, slope=-0.02)
    (found,) = balances(parts, parts.points, "accuracy")
    assert found.correlation == pytest.approx(-1)
    assert found.table["label"].tolist() == [*METHODS, "joint"]
    assert found.table["baseline"].tolist() == [False] * 6 + [True]
    assert found.table["front"].tolist() == [True] + [False] * 6
    assert (found.repeated.mean, found.repeated.n) == (pytest.approx(-1), 3)
    (sentence,) = balance_sentences(parts)
    assert sentence.startswith("On digits balance pays: rank correlation of accuracy and imbalance -1.00 (-1.00 to ")
    assert sentence.endswith("over 7 configurations, -1.00 (-1.00 to -1.00) over 3 seeds.")


def test_balance_does_not_pay_where_the_imbalanced_are_more_accurate(tmp_path: Path) -> None:
    parts = compared(tmp_path, slope=0.02)
    (sentence,) = balance_sentences(parts)
    assert sentence.startswith("On digits balance does not pay, imbalance goes with accuracy")
    (found,) = balances(parts, parts.points, "accuracy")
    assert found.table["front"].all()


def test_without_a_relation_or_with_few_configurations_nothing_is_claimed(tmp_path: Path) -> None:
    parts = compared(tmp_path, slope=0.0, seeds=1)
    (sentence,) = balance_sentences(parts)
    assert sentence.startswith("On digits it is not shown that balance pays")
    few = compared(tmp_path / "few", slope=0.02, methods=3)
    assert balance_sentences(few) == balances(few, few.points, "accuracy") == []
