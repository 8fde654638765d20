"""Reference lines: of the runs under the seeds beside them, or none."""

from __future__ import annotations

from pathlib import Path

import plotly.graph_objects as go
import pytest
from support.synthetic_results import Results, noisy

from sweep.analysis.parts import Parts
from sweep.report.figures.comparisons import draw_comparison
from sweep.report.figures.curves import draw_curve
from sweep.report.figures.reference_lines import reference_lines, references_text
from sweep.report.plots import curve_plot
from sweep.results.tables import load


@pytest.fixture
def searched(tmp_path: Path) -> Parts:
    """A search of one seed a configuration; the choice and one reference have report seeds, the other has none."""
    results = Results(tmp_path)
    results.sweep("one")
    for seed, role in ((0, "sweep"), (100, "report"), (101, "report")):
        results.run("one", "iprm", seed, {"multi": 0.93}, role=role, values={"alpha": 0.5}, number=0)
    for seed, level, role in ((0, 0.95, "reference"), (100, 0.90, "report"), (101, 0.88, "report")):
        results.run("one", "joint", seed, {"multi": level}, role=role, values={"train.lr": 0.1}, number=0)
    results.run("one", "joint", 0, {"multi": 0.97}, role="reference", label="joint + unimodal losses")
    return Parts(load(tmp_path / "one"))


def test_a_line_beside_report_seeds_is_the_mean_under_report_seeds(searched: Parts) -> None:
    lines = reference_lines(searched, searched.reports[searched.reports["label"].eq("iprm")], "test_accuracy")
    assert [(line.title, line.found.mean) for line in lines] == [("joint (n = 2)", pytest.approx(0.89))]
    assert references_text(lines) == "Reference lines, under the same seeds: joint (dashed, n = 2)."


def test_a_reference_that_varies_the_axis_is_drawn_as_a_curve(tmp_path: Path) -> None:
    results = Results(tmp_path)
    results.sweep("one")
    for lr, level in ((0.1, 0.7), (0.2, 0.8)):
        for method, role in (("iprm", "sweep"), ("joint", "reference")):
            results.run("one", method, 0, noisy(0, level, 0.5, 0.5, 0), role=role, values={"train.lr": lr})
    parts = Parts(load(tmp_path / "one"))
    (grid,) = parts.grids
    (line,) = reference_lines(parts, grid.rows, "test_accuracy", grid.axes[0].column)
    assert line.found.mean == pytest.approx(0.8)
    upper = draw_curve(parts, grid, grid.axes[0], "test_accuracy", "x").figure.axes[0]
    (drawn,) = [each for each in upper.get_lines() if each.get_label() == "joint (n = 1)"]
    assert list(drawn.get_xdata()) == [0.1, 0.2]
    assert drawn.get_ydata() == pytest.approx([70, 80])
    plot = go.Figure(curve_plot(parts, grid, grid.axes[0], "digits"))
    (trace,) = [each for each in plot.data if each.name == "joint (n = 1)" and each.visible is True]
    assert (list(trace.x), list(trace.y)) == ([0.1, 0.2], pytest.approx([70, 80]))


def test_of_unimodal_models_the_best_on_validation_is_the_line(tmp_path: Path) -> None:
    results = Results(tmp_path)
    results.sweep("one")
    for seed in (0, 1):
        results.run("one", "iprm", seed, {"multi": 0.9, "left": 0.5})
        for modality, level in (("left", 0.7), ("profile", 0.6)):
            kept = {"label": "best unimodal", "role": "reference", "values": {"modality": modality}}
            results.run("one", "unimodal", seed, {"multi": level, modality: level}, **kept)
    parts = Parts(load(tmp_path / "one"))
    lines = reference_lines(parts, parts.planned, "test_accuracy")
    assert [(line.title, line.found.mean) for line in lines] == [("best unimodal: left (n = 2)", pytest.approx(0.7))]
    (line,) = reference_lines(parts, parts.planned, "test_accuracy_left")
    assert line.found.mean == pytest.approx(0.7)
    assert reference_lines(parts, parts.planned, "test_accuracy_profile") == []


def test_a_reference_keeps_its_dash_where_another_has_no_line(searched: Parts) -> None:
    lines = reference_lines(searched, searched.searched, "test_accuracy")
    assert [(line.label, line.dash_word) for line in lines] == [
        ("joint", "dashed"),
        ("joint + unimodal losses", "dotted"),
    ]


def test_a_reference_that_is_a_row_is_no_line(searched: Parts) -> None:
    drawing = draw_comparison(searched, searched.reports, "test_accuracy", "x")
    left = drawing.figure.axes[0]
    assert [text.get_text() for text in left.get_yticklabels()] == ["iprm: alpha=0.5", "joint: train.lr=0.1"]
    assert not left.get_lines()[0].get_label().startswith("joint")
    assert "Reference lines" not in drawing.caption
    assert references_text([]) == ""
