"""Figures over severities: every method is named, those that stand out in colour."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.axes import Axes
from support.corrupted_results import noisier_and_noisier
from support.described_figures import assert_looks_as_before

from sweep.analysis.parts import Parts
from sweep.analysis.robustness import robustness
from sweep.report.figures.robustness import MOST_COLOURED, coloured_methods, draw_robustness
from sweep.report.figures.style import COLOURS, for_paper
from sweep.results.tables import load


@pytest.fixture
def parts(tmp_path: Path) -> Parts:
    return Parts(load(noisier_and_noisier(tmp_path)))


def test_levels_stand_beside_what_each_method_loses(parts: Parts) -> None:
    (drawing,) = draw_robustness(parts)
    left, right = drawing.figure.axes
    assert isinstance(left, Axes)
    assert [label.get_text() for label in right.get_yticklabels()] == list(robustness(parts)[0].changes["label"])
    assert right.get_xlabel() == "change (points)"
    assert len(left.containers) == 3
    assert "Grey" not in drawing.caption
    assert (drawing.stem, drawing.kind) == ("severity-digits-profile-noise-test-accuracy", "severities")


def test_both_panels_are_as_they_were_looked_at(parts: Parts) -> None:
    (drawing,) = draw_robustness(parts)
    assert_looks_as_before("robustness", drawing.figure, drawing.caption)
    with for_paper(3.3):
        (narrow,) = draw_robustness(parts)
    assert_looks_as_before("robustness-narrow", narrow.figure, narrow.caption)


def test_every_method_more_makes_the_figure_higher(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    (found,) = robustness(parts)
    row = found.changes[found.changes["label"].eq("igm")]
    many = [row.assign(label=f"method {number}") for number in range(20)]
    long = replace(found, changes=pd.concat([*many, found.changes[found.changes["plain"]]]))
    monkeypatch.setattr("sweep.report.figures.robustness.robustness", lambda parts: [found, long])
    drawn = list(draw_robustness(parts))
    assert ["Grey: the other methods." in drawing.caption for drawing in drawn] == [False, True]
    marks = [bar[0].get_color() for bar in drawn[1].figure.axes[1].containers]
    assert marks.count("#8a8a8a") == 21 - MOST_COLOURED
    heights = [drawing.figure.get_figheight() for drawing in drawn]
    assert heights[1] / heights[0] == pytest.approx((0.19 * 21 + 1.0) / 2.8)


def test_panels_stand_one_below_the_other_in_a_narrow_column(parts: Parts) -> None:
    with for_paper(3.3):
        (drawing,) = draw_robustness(parts)
    left, right = (ax.get_position() for ax in drawing.figure.axes)
    assert left.y0 > right.y0
    assert left.x0 == right.x0


def test_of_many_methods_joint_training_and_both_ends_are_coloured(parts: Parts) -> None:
    (found,) = robustness(parts)
    row = found.changes[found.changes["label"].eq("igm")]
    many = [row.assign(label=f"method {number}", mean=-0.01 * number) for number in range(9)]
    chosen = coloured_methods(replace(found, changes=pd.concat([*many, found.changes[found.changes["plain"]]])))
    assert list(chosen) == ["joint", "method 0", "method 1", "method 6", "method 7", "method 8"]
    assert [colour for colour, _ in chosen.values()] == list(COLOURS)
    assert len(chosen) == MOST_COLOURED
