"""The figure of cost: dots where the means are, and what the front is."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.described_figures import assert_looks_as_before
from support.synthetic_results import Results

from sweep.analysis.costs import SECONDS
from sweep.analysis.parts import Parts
from sweep.report.figures.costs import draw_costs
from sweep.results.tables import load


def test_a_dot_a_configuration_beside_joint_training(tmp_path: Path) -> None:
    results = Results(tmp_path)
    results.sweep("one")
    methods = ("joint", "iprm", "bss")
    for method in methods:
        for seed in range(2):
            results.run("one", method, seed, {"multi": 0.7 + 0.02 * methods.index(method), "left": 0.6, "profile": 0.3})
    runs = load(tmp_path / "one")
    parts = Parts(runs.assign(**{SECONDS: 2.0 + runs["method"].map(methods.index)}))
    (drawing,) = draw_costs(parts, parts.points, "accuracy", "x")
    (ax,) = drawing.figure.axes
    dots = {container.get_label(): container[0] for container in ax.containers}
    assert dots["method"].get_xdata() == pytest.approx([1.5, 2.0])
    assert dots["baseline"].get_xdata() == pytest.approx([1.0])
    assert ax.get_xlabel() == "seconds of an epoch (joint training: 1)"
    assert "(1 bss, 2 iprm, 3 joint)" in drawing.caption
    assert_looks_as_before("costs", drawing.figure, drawing.caption)
