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
