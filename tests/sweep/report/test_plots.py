"""Interactive plots: bands, marks and series are those of the rows."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest
from support.kept_texts import assert_plots_as_before
from support.optuna_studies import random_search
from support.synthetic_results import Results, noisy, references

from sweep.analysis.parts import Parts
from sweep.analysis.search_results import Importance, search_results
from sweep.report.blocks import plot_html
from sweep.report.figures.style import COLOURS
from sweep.report.plots import MOST_LINES, band_outline, curve_plot, heat_plot, learning_plot, search_plots
from sweep.results.tables import load


def test_a_band_has_a_gap_where_no_interval_is_known() -> None:
    nan = math.nan
    x, y = band_outline(np.arange(5.0), np.array([1, 2, nan, 4, 5]), np.array([2, 3, nan, 5, 6]))
    assert x == pytest.approx([0, 1, 1, 0, nan, 3, 4, 4, 3, nan], nan_ok=True)
    assert y == pytest.approx([2, 3, 2, 1, nan, 5, 6, 5, 4, nan], nan_ok=True)


def test_a_pruned_value_is_marked_on_the_curve(tmp_path: Path) -> None:
    results = Results(tmp_path)
    results.sweep("one")
    for alpha in (0.1, 0.2, 0.3):
        for seed in range(3):
            status = "pruned" if alpha == 0.3 else "done"
            results.run("one", "iprm", seed, noisy(seed, 0.9 - alpha, 0.8, 0.5), values={"alpha": alpha}, status=status)
    parts = Parts(load(tmp_path / "one"))
    plot = go.Figure(curve_plot(parts, parts.grids[0], parts.grids[0].axes[0], "digits"))
    (mark,) = [
        trace for trace in plot.data if trace.name == "pruned, or no finished run" and trace.visible is not False
    ]
    assert (list(mark.x), list(mark.text)) == ([0.3], ["pruned"])


def test_a_search_is_plotted_with_the_reason_where_importances_say_nothing(tmp_path: Path) -> None:
    (found,) = search_results(random_search(tmp_path, 12), "accuracy")
    plots = dict(search_plots(found))
    assert list(plots) == ["Optimisation history", "Slices", "Parallel coordinates", "Importances"]
    assert plots["Importances"] == "Importances need 20 finished trials, there are 11: fewer show chance alone."
    best = next(trace for trace in go.Figure(plots["Optimisation history"]).data if trace.name == "best so far")
    assert list(best.y) == sorted(best.y)


@pytest.mark.parametrize(
    ("values", "scale"),
    [
        ((0.1, 0.5, 0.9), "linear"),
        ((0.001, 0.01, 0.1), "log"),
        ((0, 0.001, 0.01, 0.1), "linear"),
        (("a", "b"), "category"),
    ],
)
def test_the_axis_of_a_plot_is_logarithmic_where_the_grid_is(
    tmp_path: Path, values: tuple[Any, ...], scale: str
) -> None:
    results = Results(tmp_path)
    results.sweep("one")
    for value in values:
        results.run("one", "iprm", 0, noisy(0, 0.5, 0.8, 0.5), values={"alpha": value})
    parts = Parts(load(tmp_path / "one"))
    plot = curve_plot(parts, parts.grids[0], parts.grids[0].axes[0], "digits")
    assert plot["layout"]["xaxis"]["type"] == scale


def test_names_and_categories_are_shown_without_their_tags_being_read() -> None:
    hover = "%{x}<extra></extra>"
    bars = {"type": "scatter", "x": ["<b>a</b>", "b"], "name": "<a href='x'>n</a>", "hovertemplate": hover}
    page = plot_html({"data": [bars], "layout": {"xaxis": {"title": {"text": "<i>t</i>"}}}})
    written = page.encode().decode("unicode_escape")
    for text in ("&lt;b&gt;a&lt;/b&gt;", "&lt;a href='x'&gt;n", "&lt;i&gt;t", "%{x}<extra>"):
        assert text in written


def test_curves_and_maps_are_plotted_as_before(tmp_path: Path) -> None:
    results = Results(tmp_path)
    results.sweep("one")
    for a in (0.1, 0.2):
        for b in (1, 2):
            for seed in range(3):
                status = "pruned" if a == 0.2 and b == 2 else "failed" if a == b / 10 == 0.1 and seed == 0 else "done"
                found = {"multi": 0.5 + a + b / 20 + 0.01 * seed, "left": 0.4 + a, "profile": 0.3}
                results.run("one", "bss", seed, found, values={"lambda0": a, "t_grow": b}, status=status)
    references(results, "one", range(3))
    parts = Parts(load(tmp_path / "one"))
    (grid,) = parts.grids
    first, second = grid.axes
    assert_plots_as_before("curve", curve_plot(parts, grid, first, "digits", ("accuracy",)))
    assert_plots_as_before("map", heat_plot(grid, (first, second), "test_accuracy", "digits"))
    named = replace(second, scale="category")
    assert_plots_as_before("curve-of-names", curve_plot(parts, grid, named, "digits", ("accuracy",)))


def test_learning_is_plotted_as_before(tmp_path: Path) -> None:
    results = Results(tmp_path)
    results.sweep("one")
    for method, level in (("iprm", 0.8), ("bss", 0.9), ("aug", 0.7)):
        for seed in range(2):
            status = "failed" if (method, seed) == ("bss", 1) else "done"
            results.run(
                "one", method, seed, {"multi": level, "left": 0.5}, status=status, diagnostics=lambda e: {"x": e / 2}
            )
    runs, epochs = load(tmp_path / "one"), load(tmp_path / "one", "epoch")
    assert_plots_as_before("learning", learning_plot(runs, epochs))
    assert learning_plot(runs, epochs.iloc[:0]) is None


@pytest.mark.parametrize("count", [6, 7, MOST_LINES + 1])
def test_of_many_configurations_the_best_are_plotted_each_in_a_colour_of_its_own(tmp_path: Path, count: int) -> None:
    results = Results(tmp_path)
    results.sweep("one")
    for number in range(count):
        results.run("one", "iprm", 0, {"multi": 0.5 + number / 100}, values={"alpha": number}, epochs=1)
    plot = learning_plot(load(tmp_path / "one"), load(tmp_path / "one", "epoch"))
    assert plot is not None
    lines = [trace for trace in go.Figure(plot).data if trace.visible is not False]
    names = [f"iprm: alpha={number}" for number in range(count)]
    assert [line.name for line in lines] == names[-MOST_LINES:]
    assert len({line.line.color for line in lines}) == len(lines)
    assert (lines[0].line.color == COLOURS[0]) == (count == 6)
    assert "rgb(68, 1, 84)" in {line.line.color for line in lines} or count == 6


def test_a_search_is_plotted_as_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "sweep.report.plots.importances", lambda search: [Importance("rho", 0.9, 0.4), Importance("tau", 0.1, 0.3)]
    )
    (found,) = search_results(random_search(tmp_path, 12), "accuracy")
    plots = dict(search_plots(found))
    assert_plots_as_before("history", plots["Optimisation history"])
    assert_plots_as_before("importances", plots["Importances"])
    (nothing,) = search_results(random_search(tmp_path / "none", 0), "accuracy")
    assert search_plots(nothing) == [("Optimisation history", "No trial has finished.")]
