"""Figures of Pareto fronts: marks, intervals and captions follow the fronts' tables."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
import pytest
from support.described_figures import assert_looks_as_before

from sweep.analysis.fronts import Front
from sweep.analysis.parts import Parts
from sweep.report.figures.pareto import _limits, draw_fronts


def test_the_figure_marks_the_front_its_intervals_and_what_is_not_compared(
    pareto_parts: Parts, pareto_front: Front
) -> None:
    (drawing,) = draw_fronts(pareto_parts, [pareto_front])
    ax = drawing.figure.axes[0]
    labels = ax.get_legend_handles_labels()[1]
    assert {"front", "beaten", "fewer seeds, not ranked", "joint", "joint + unimodal losses"} == set(labels)
    members = next(c for c in ax.containers if c.get_label() == "front")
    assert list(members[0].get_xdata()) == pytest.approx([10, 25, 40])
    row = pareto_front.table[pareto_front.table["point"].eq("alpha=0.2")].iloc[0]
    low, high = members[2][1].get_segments()[0][:, 1]
    assert (low, high) == pytest.approx((100 * row["accuracy_low"], 100 * row["accuracy_high"]))
    assert "n=1" in [text.get_text() for text in ax.texts]
    assert drawing.stem == "pareto-accuracy-imbalance"
    assert "1 without a finished seed" in drawing.caption
    assert_looks_as_before("pareto", drawing.figure, drawing.caption)


@pytest.mark.parametrize(
    ("objective", "means", "low", "high", "ends"),
    [
        ("accuracy", [0.5, 0.7], 0.45, 0.95, (45, 90, 20)),
        ("accuracy", [0.5, 0.7], 0.1, 0.72, (30, 72, 20)),
        ("accuracy", [0.5, 0.7], math.nan, math.nan, (50, 70, 20)),
        ("accuracy", [0.5, 0.5, math.nan], 0.48, 0.6, (48, 55, 5)),
        ("seconds", [0.2, 0.2], math.nan, math.nan, (0.2, 0.2, 0.1)),
        ("seconds", [20.0, 20.0], math.nan, math.nan, (20, 20, 2)),
    ],
)
def test_an_axis_holds_every_mean_and_of_intervals_as_much_again(
    objective: Any, means: list[float], low: float, high: float, ends: tuple[float, float, float]
) -> None:
    members = pd.DataFrame({f"{objective}_low": [low], f"{objective}_high": [high]})
    bottom, top, reach = ends
    assert _limits(pd.DataFrame({objective: means}), members, objective) == pytest.approx(
        (bottom - 0.08 * reach, top + 0.08 * reach)
    )
