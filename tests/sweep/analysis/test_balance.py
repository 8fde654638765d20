"""Does balance pay: rank correlations against scipy, the front, and one sentence a dataset."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from support.synthetic_results import Results

from sweep.analysis.balance import (
    balance_sentences,
    balances,
    correlation_interval,
    detectable_correlation,
    rank_correlation,
)
from sweep.analysis.parts import Parts
from sweep.analysis.statistics import Estimate
from sweep.results.tables import columns_of, load

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


def test_the_sign_of_the_correlation_says_whether_balance_pays(tmp_path: Path) -> None:
    parts = compared(tmp_path, slope=-0.02)
    (found,) = balances(parts, parts.points, "accuracy")
    for correlation, answer in ((-0.4, "balance pays"), (0.4, "balance does not pay, imbalance goes with accuracy")):
        assert replace(found, correlation=correlation).sentence(0.01).startswith(f"On digits {answer}: rank")


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


def test_the_interval_of_a_correlation_is_bonetts_and_wrights() -> None:
    low, high, p = correlation_interval(0.5, 10)
    z, half = math.atanh(0.5), 1.959964 * math.sqrt((1 + 0.25 / 2) / 7)
    assert (low, high) == pytest.approx((math.tanh(z - half), math.tanh(z + half)))
    assert p == pytest.approx(2 * stats.norm.sf(z / math.sqrt(1.06 / 7)))
    assert not math.isnan(correlation_interval(0.5, 4)[0])
    assert all(map(math.isnan, correlation_interval(math.nan, 10)))
    # One that is complete has an interval beside it, and a p-value that is no zero.
    for sign in (-1, 1):
        ends = correlation_interval(float(sign), 5)
        assert sorted(abs(end) for end in ends[:2]) == pytest.approx([1, 1])
        assert 0.999999 < min(map(abs, ends[:2])) < 1
        assert 1e-60 < ends[2] < 1e-40


def test_the_detectable_correlation_is_found_in_four_of_five_cases() -> None:
    for level, z in ((0.05, 1.959964), (0.01, 2.575829)):
        least = detectable_correlation(10, level)
        assert least == pytest.approx(math.tanh((z + 0.841621) * math.sqrt(1.06 / 7)), abs=1e-6)
    assert detectable_correlation(10) == detectable_correlation(10, 0.05)


def test_the_sentence_on_balance_is_whole(tmp_path: Path) -> None:
    parts = compared(tmp_path, slope=0.0, seeds=2)
    (found,) = balances(parts, parts.points, "accuracy")
    known = replace(found, correlation=-0.5, low=-0.9, high=0.4)
    assert known.repeated.n == 0  # under no seed two accuracies differ
    assert known.sentence(0.2, datasets=2) == (
        "On digits it is not shown that balance pays: rank correlation of accuracy and imbalance -0.50 (-0.90 to "
        f"+0.40) over 7 configurations; a rank correlation of ±{detectable_correlation(7, 0.025):.2f} would have been "
        "found with 80 % probability."
    )
    known = replace(known, repeated=Estimate(-0.4, -0.7, -0.1, 0.1, 2), repeats="splits")
    assert known.sentence(0.0499) == (
        "On digits balance pays: rank correlation of accuracy and imbalance -0.50 (-0.90 to +0.40) over 7 "
        "configurations, -0.40 (-0.70 to -0.10) over 2 splits."
    )
    assert known.sentence(0.05).startswith("On digits it is not shown")
    assert known.sentence(math.nan).startswith("On digits it is not shown")
    assert known.sentence(0.2).endswith(
        f"a rank correlation of ±{detectable_correlation(7, 0.05):.2f} would have been found with 80 % probability."
    )
    once = replace(known, repeated=Estimate(-0.4, -0.7, -0.1, 0.1, 1))
    assert once.sentence(0.01).endswith("over 7 configurations.")


def test_five_configurations_are_enough_and_counted_without_those_that_have_no_result(tmp_path: Path) -> None:
    parts = compared(tmp_path, slope=-0.02, methods=4)
    (found,) = balances(parts, parts.points, "accuracy")
    assert len(found.table) == 5
    assert found.column == "test_accuracy"
    assert found.table["accuracy"].tolist() == pytest.approx([0.701, 0.681, 0.661, 0.641, 0.621])
    assert found.table["imbalance"].tolist() == pytest.approx([0.201, 0.251, 0.301, 0.351, 0.501])
    half = 4.302653 * 0.005 / math.sqrt(12) / math.sqrt(3)  # rounding to 200 samples exceeds the scatter of seeds
    assert (found.table["accuracy_high"] - found.table["accuracy"]).tolist() == pytest.approx([half] * 5, rel=1e-5)
    runs = parts.runs.copy()
    runs.loc[runs["method"].eq("lfa") | runs["method"].eq("amss"), "status"] = "failed"
    assert balances(Parts(runs), Parts(runs).points, "accuracy") == []
    # Of two seeds one has four configurations alone: the correlation is repeated under the others.
    runs = parts.runs.copy()
    runs.loc[runs["method"].eq("amss") & runs["seed"].eq(0), "status"] = "failed"
    (found,) = balances(Parts(runs), Parts(runs).points, "accuracy")
    assert (found.repeated.n, found.repeats) == (2, "seeds")
    assert (found.repeated.low, found.repeated.high) == pytest.approx((-1, -1))


def test_with_several_splits_the_correlation_is_repeated_over_them(tmp_path: Path) -> None:
    runs = compared(tmp_path, slope=-0.02, seeds=4).runs
    parts = Parts(runs.assign(split=runs["seed"] % 2))
    (found,) = balances(parts, parts.points, "accuracy")
    assert (found.repeated.n, found.repeats) == (2, "splits")


def test_without_test_results_balance_is_judged_on_validation(tmp_path: Path) -> None:
    runs = compared(tmp_path, slope=-0.02).runs
    own = runs.drop(columns=columns_of(runs, "test_"))
    assert balances(Parts(own), Parts(own).points, "accuracy")[0].column == "validation_accuracy"
    less = own.drop(columns="validation_imbalance")
    assert balances(Parts(less), Parts(less).points, "accuracy") == []
    assert balances(Parts(runs), runs.iloc[:0], "accuracy") == []


def test_report_seeds_are_judged_where_the_sweep_compares_nothing(tmp_path: Path) -> None:
    runs = compared(tmp_path, slope=-0.02).runs
    fresh = runs.assign(role=runs["role"].replace("sweep", "report"))
    fresh.loc[fresh["role"].eq("report"), "configuration"] = "c" + fresh["method"]
    (sentence,) = balance_sentences(Parts(fresh))
    assert "over 7 configurations" in sentence
