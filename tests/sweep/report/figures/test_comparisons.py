"""Comparisons: dots with intervals in the given order, and paired differences to joint training."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.described_figures import assert_looks_as_before
from support.synthetic_results import Results, noisy, references

from sweep.analysis.parts import Parts
from sweep.analysis.statistics import estimate
from sweep.report.figures.comparisons import draw_comparison, draw_differences
from sweep.report.figures.style import for_paper
from sweep.results.tables import load


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Parts:
    results = Results(tmp_path_factory.mktemp("compared"))
    results.sweep("compare")
    for dataset in ("digits", "av_digits"):
        results.dataset = dataset
        for method, level in (("iprm", 0.93), ("bss", 0.90)):
            for seed in range(3):
                results.run("compare", method, seed, noisy(seed, level, 0.85, 0.5))
        references(results, "compare", range(3))
    return Parts(load(results.path / "compare"))


def test_a_comparison_keeps_the_given_order(compared: Parts) -> None:
    figure = draw_comparison(compared, compared.points, "test_accuracy", "compare").figure
    assert len(figure.axes) == 4
    left = figure.axes[0]
    assert [t.get_text() for t in left.get_yticklabels()] == ["iprm", "bss"]
    rows = compared.points[compared.points["dataset"].eq("digits") & compared.points["label"].eq("iprm")]
    container = left.containers[0]
    assert container[0].get_xdata()[0] == pytest.approx(100 * rows["test_accuracy"].mean())
    low, high = container[2][0].get_segments()[0][:, 0]
    found = estimate(rows["test_accuracy"])
    assert (low, high) == pytest.approx((100 * found.low, 100 * found.high))


def test_differences_to_joint_are_paired(compared: Parts) -> None:
    (drawing,) = draw_differences(compared, compared.points, "test_accuracy", "d")
    rows = compared.points[compared.points["dataset"].eq("digits") & compared.points["label"].eq("iprm")]
    joint = compared.baseline[compared.baseline["dataset"].eq("digits")]
    gap = rows.set_index("seed")["test_accuracy"] - joint.set_index("seed")["test_accuracy"]
    assert drawing.figure.axes[0].containers[0][0].get_xdata()[0] == pytest.approx(100 * gap.mean())
    assert "for all 4 comparisons together; a difference of" in drawing.caption


def test_joint_is_not_compared_with_itself(compared: Parts) -> None:
    assert list(draw_differences(compared, compared.baseline, "test_accuracy", "d")) == []


def test_beside_a_difference_stands_what_is_known_of_it(tmp_path: Path) -> None:
    results = Results(tmp_path)
    results.sweep("one")
    for seed in range(4):
        results.run("one", "joint", seed, {"multi": 0.5 + seed / 500}, hyperparameters={"unimodal_loss_weight": 0.0})
        results.run("one", "iprm", seed, {"multi": 0.9 + seed / 500})
        status = "failed" if seed == 1 else "done" if seed == 0 else "missing"
        results.run("one", "bss", seed, {"multi": 0.6}, status=status)
    results.run("one", "aug", 9, {"multi": 0.6})
    parts = Parts(load(tmp_path / "one"))
    (drawing,) = draw_differences(parts, parts.points, "test_accuracy", "d")
    (ax,) = drawing.figure.axes
    assert [label.get_text() for label in ax.get_yticklabels()] == ["iprm", "bss", "aug"]
    assert [text.get_text() for text in ax.texts] == ["p < 0.001, n = 4", "n = 1, 1 lost"]
    assert [text.xy[1] for text in ax.texts] == [0, 1]  # type: ignore[attr-defined]
    alone = parts.points[parts.points["label"].eq("aug")]
    assert list(draw_differences(parts, alone, "test_accuracy", "d")) == []
    few = parts.points[parts.points["label"].eq("bss")]
    (drawing,) = draw_differences(parts, few, "test_accuracy", "d")
    assert "a difference of" not in drawing.caption  # one seed finds nothing


@pytest.mark.parametrize(("count", "panels"), [(10, (2, 1)), (11, (1, 2))])
def test_in_a_narrow_column_panels_of_a_few_stand_one_below_the_other(
    tmp_path: Path, count: int, panels: tuple[int, int]
) -> None:
    results = Results(tmp_path)
    results.sweep("one")
    for number in range(count):
        results.run("one", "iprm", 0, values={"alpha": number}, epochs=1)
    parts = Parts(load(tmp_path / "one"))
    with for_paper(3.3):
        figure = draw_comparison(parts, parts.planned, "test_accuracy", "compare").figure
    grid = figure.axes[0].get_subplotspec()
    assert grid is not None
    assert (grid.get_gridspec().nrows, grid.get_gridspec().ncols) == panels


def test_comparisons_and_differences_look_as_before(compared: Parts) -> None:
    drawing = draw_comparison(compared, compared.points, "test_accuracy", "compare")
    assert_looks_as_before("comparison", drawing.figure, drawing.caption)
    (drawing,) = draw_differences(compared, compared.points, "test_accuracy", "d")
    assert_looks_as_before("differences", drawing.figure, drawing.caption)


def test_comparisons_in_a_narrow_column_look_as_before(compared: Parts) -> None:
    with for_paper(3.3):
        drawing = draw_comparison(compared, compared.points, "test_accuracy", "compare")
        assert_looks_as_before("comparison-narrow", drawing.figure)
        (drawing,) = draw_differences(compared, compared.points, "test_accuracy", "d")
        assert_looks_as_before("differences-narrow", drawing.figure)
