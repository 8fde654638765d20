"""The figure of balance: dots where the means are, baselines apart, the front numbered."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.described_figures import assert_looks_as_before
from support.synthetic_results import Results

from sweep.analysis.parts import Parts
from sweep.report.figures.balance import draw_balance
from sweep.results.tables import load


def test_a_dot_a_configuration_with_the_front_and_the_baselines(tmp_path: Path) -> None:
    results = Results(tmp_path)
    results.sweep("one")
    methods = ("joint", "iprm", "bss", "aug", "amss")
    for method in methods:
        for seed in range(2):
            found = {"multi": 0.7 + 0.02 * methods.index(method) + 0.002 * seed, "left": 0.6, "profile": 0.3}
            results.run("one", method, seed, found)
    runs = load(tmp_path / "one")
    parts = Parts(runs.assign(test_imbalance=0.1 + 0.1 * runs["method"].map(methods.index) + 0.01 * runs["seed"]))
    (drawing,) = draw_balance(parts, parts.points, "accuracy", "x")
    (ax,) = drawing.figure.axes
    dots = {container.get_label(): container[0] for container in ax.containers}
    assert dots["method"].get_xdata() == pytest.approx([20.5, 30.5, 40.5, 50.5])
    assert dots["baseline"].get_ydata() == pytest.approx([70.1])
    assert [text.get_text() for text in ax.texts] == ["1", "2", "3", "4", "5", *methods]
    assert "(1 amss, 2 aug, 3 bss, 4 iprm, 5 joint)" in drawing.caption
    assert "digits +1.00" in drawing.caption
    assert_looks_as_before("balance", drawing.figure, drawing.caption)
    assert list(draw_balance(parts, parts.points[parts.points["label"].eq("iprm")], "accuracy", "x")) == []
