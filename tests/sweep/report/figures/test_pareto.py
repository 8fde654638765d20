"""Figures of Pareto fronts: marks, intervals and captions follow the fronts' tables."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.synthetic_results import pareto_search

from sweep.analysis.completeness import raced_out_seeds, read_request
from sweep.analysis.fronts import Front, pareto_fronts
from sweep.analysis.parts import Parts
from sweep.report.figures.pareto import draw_fronts
from sweep.results.tables import load


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("results")
    pareto_search(path)
    return path / "two"


@pytest.fixture(scope="module")
def parts(folder: Path) -> Parts:
    return Parts(load(folder))


@pytest.fixture(scope="module")
def front(folder: Path, parts: Parts) -> Front:
    wanted = read_request(folder)
    assert wanted.objectives == ("accuracy", "imbalance")
    (found,) = pareto_fronts(parts, wanted.objectives, wanted.seeds, raced_out_seeds(folder))
    return found


def test_the_figure_marks_the_front_its_intervals_and_what_is_not_compared(parts: Parts, front: Front) -> None:
    (drawing,) = draw_fronts(parts, [front])
    ax = drawing.figure.axes[0]
    labels = ax.get_legend_handles_labels()[1]
    assert {"front", "beaten", "fewer seeds, not ranked", "joint", "joint + unimodal losses"} == set(labels)
    members = next(c for c in ax.containers if c.get_label() == "front")
    assert list(members[0].get_xdata()) == pytest.approx([10, 25, 40])
    row = front.table[front.table["point"].eq("alpha=0.2")].iloc[0]
    low, high = members[2][1].get_segments()[0][:, 1]
    assert (low, high) == pytest.approx((100 * row["accuracy_low"], 100 * row["accuracy_high"]))
    assert "n=1" in [text.get_text() for text in ax.texts]
    assert drawing.stem == "pareto-accuracy-imbalance"
    assert "1 without a finished seed" in drawing.caption
