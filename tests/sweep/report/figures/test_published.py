"""Published curves beside ours: panels of their own, each with its own range."""

from __future__ import annotations

from pathlib import Path

from support.described_figures import assert_looks_as_before
from support.synthetic_results import Results, all_hyperparameters, swept_alpha

from sweep.analysis.parts import Parts
from sweep.published import DATASETS
from sweep.report.figures import published
from sweep.report.figures.curves import scale_axis
from sweep.report.figures.published import draw_beside, published_curves_over
from sweep.report.figures.style import for_paper
from sweep.results.tables import load


def test_on_other_data_the_published_curves_have_panels_of_their_own(tmp_path: Path) -> None:
    parts = swept_alpha(tmp_path, "digits")
    (grid,) = parts.grids
    drawing = draw_beside(parts, grid, grid.axes[0], "test_accuracy", "x", scale_axis)
    ours, *theirs = drawing.figure.axes
    assert ours.get_title(loc="left").startswith("ours: digits")
    assert len(theirs) == 5
    for printed, ax in zip(published_curves_over(parts, grid, grid.axes[0], "test_accuracy"), theirs, strict=True):
        assert ax.get_title(loc="left").startswith(DATASETS[printed.dataset])
        (line,) = ax.get_lines()
        assert tuple(line.get_ydata()) == printed.values
        low, high = ax.get_ylim()
        assert low <= min(printed.values) < max(printed.values) <= high
    assert ours.get_ylim() not in [ax.get_ylim() for ax in theirs]
    assert "best test epoch" in drawing.caption
    assert "IPRM paper, Figure 2" in drawing.caption
    assert_looks_as_before("published", drawing.figure, drawing.caption)


def test_a_pruned_value_is_marked_beside_the_published_curve(tmp_path: Path) -> None:
    results = Results(tmp_path)
    results.sweep("one")
    for alpha in (0.1, 0.2, 0.3):
        results.run("one", "iprm", 0, values={"alpha": alpha}, status="pruned" if alpha == 0.2 else "done")
    parts = Parts(load(tmp_path / "one"))
    (grid,) = parts.grids
    ours = draw_beside(parts, grid, grid.axes[0], "test_accuracy", "x", scale_axis).figure.axes[0]
    (mark,) = [line for line in ours.get_lines() if line.get_label() == "pruned, or no finished run"]
    assert list(mark.get_xdata()) == [0.2]
    with for_paper(3.3):
        drawing = draw_beside(parts, grid, grid.axes[0], "test_accuracy", "x", scale_axis)
        assert_looks_as_before("published-narrow", drawing.figure, drawing.caption)


def test_modalities_words_and_plain_joint_training_have_their_places_beside_ours(tmp_path: Path) -> None:
    results = Results(tmp_path)
    results.sweep("one")
    for alpha in (0.1, 0.6, 1.0):
        for seed in range(2):
            status = "failed" if (alpha, seed) == (0.6, 1) else "done"
            found = {"multi": 0.6 + alpha / 10 + seed / 100, "left": 0.5, "profile": 0.4 + alpha / 20}
            results.run("one", "bss", seed, found, values={"alpha": alpha}, status=status)
    own = {key: value for key, value in all_hyperparameters("iprm").items() if key != "paired"}
    for place, paired in enumerate((False, True)):
        for seed in range(2):
            found = {"multi": 0.7 + place / 20 + seed / 50, "left": 0.5}
            results.run("one", "iprm", seed, found, values={"paired": paired}, hyperparameters=own)
    parts = Parts(load(tmp_path / "one"))
    for grid in parts.grids:
        (axis,) = grid.axes
        drawing = draw_beside(parts, grid, axis, "test_accuracy", "x", scale_axis)
        assert_looks_as_before(f"published-{grid.label}", drawing.figure, drawing.caption)


def test_the_span_is_that_of_the_means_that_are_known() -> None:
    found = [published._span(values) for values in ([1.0, 4.25, float("nan")], [1.0], [], [float("nan")])]
    assert found == ["span 3.2 points", *["one value"] * 3]
