"""Expected best values by hand and by simulation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.synthetic_results import Results

from sweep.analysis.parts import Parts
from sweep.analysis.search_budget import best_quantile, budget_curves, expected_best
from sweep.report.figures.budgets import draw_budgets
from sweep.results.tables import load


def test_expected_maxima_are_those_of_all_draws() -> None:
    values = np.array([0.3, 0.1, 0.2])
    pairs = [max(a, b) for a in values for b in values]
    triples = [max(a, b, c) for a in values for b in values for c in values]
    assert expected_best(values, 3) == pytest.approx([0.2, np.mean(pairs), np.mean(triples)])
    # Of nine pairs one has 0.1 at most, four 0.2.
    assert best_quantile(values, 2, 0.4)[1] == pytest.approx(0.2)
    assert best_quantile(values, 2, 0.5)[1] == pytest.approx(0.3)


def test_methods_and_searched_baselines_have_a_curve_each_and_lists_none(tmp_path: Path) -> None:
    made = Results(tmp_path)
    made.sweep("s")
    made.run("s", "joint", 0, role="reference", label="both")
    for number, level in enumerate((0.5, 0.7, 0.6)):
        for seed in range(2):
            accuracy = {"multi": level, "left": 0.3, "profile": 0.2}
            made.run("s", "iprm", seed, accuracy, values={"alpha": level}, number=number)
            made.run("s", "joint", seed, accuracy, values={"train.lr": level}, number=number, role="reference")
    parts = Parts(load(tmp_path / "s"))
    method, baseline = budget_curves(parts)
    assert (method.label, baseline.label) == ("iprm", "joint")
    assert (method.baseline, baseline.baseline) == (False, True)
    # Validation is a point above.
    assert method.expected == pytest.approx(expected_best(np.array([0.51, 0.71, 0.61]), 3))
    (drawing,) = draw_budgets(parts)
    assert drawing.figure.axes[0].get_legend_handles_labels()[1] == ["iprm", "joint"]


def test_the_band_of_a_curve_is_averaged_over_splits_up_to_the_smaller_search(tmp_path: Path) -> None:
    made, splits = Results(tmp_path), list[int]()
    made.sweep("s")
    levels = {0: (0.5, 0.7, 0.6), 1: (0.3, 0.4)}
    for split, found in levels.items():
        for number, level in enumerate(found):
            made.run("s", "iprm", 0, {"multi": level - 0.01}, values={"alpha": level}, number=number)
            splits.append(split)
    made.run("s", "iprm", 0, values={"alpha": 0.9}, number=3, status="failed")
    made.run("s", "bss", 0, values={"beta": 0.9}, number=0)
    splits += [1, 0]
    runs = load(tmp_path / "s")
    (curve,) = budget_curves(Parts(runs.assign(split=[splits[int(name) - 1] for name in runs["hash"]])))
    assert (curve.label, curve.dataset, curve.configurations) == ("iprm", "digits", 2)
    expected = [expected_best(np.array(found), 2) for found in levels.values()]
    assert curve.expected == pytest.approx(np.mean(expected, axis=0))
    # One: 5 % of cases give the least and 95 % the most. Two: of three the least in a ninth, of two in a quarter.
    assert curve.low == pytest.approx([(0.5 + 0.3) / 2, (0.5 + 0.3) / 2])
    assert curve.high == pytest.approx([(0.7 + 0.4) / 2, (0.7 + 0.4) / 2])


def test_quantiles_of_a_best_are_the_smallest_that_are_not_exceeded() -> None:
    values = np.arange(1.0, 11.0)
    assert best_quantile(values, 3, 0.5).tolist() == [5, 8, 8]  # 10 sqrt(0.5) = 7.07, 10 cbrt(0.5) = 7.94
    assert best_quantile(values, 1, 0.05).tolist() == [1]
    assert best_quantile(values, 1, 1.0).tolist() == [10]
    assert best_quantile(values, 1, 0.0).tolist() == [1]
