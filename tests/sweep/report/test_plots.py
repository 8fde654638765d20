"""Interactive plots: bands, marks and series are those of the rows."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.optuna_studies import random_search
from support.synthetic_results import Results, noisy

from sweep.analysis.parts import Parts
from sweep.analysis.search_results import search_results
from sweep.report.blocks import plot_html
from sweep.report.plots import band_outline, curve_plot, search_plots
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
    plot = curve_plot(parts, parts.grids[0], parts.grids[0].axes[0], "digits")
    (mark,) = [
        trace for trace in plot.data if trace.name == "pruned, or no finished run" and trace.visible is not False
    ]
    assert (list(mark.x), list(mark.text)) == ([0.3], ["pruned"])


def test_a_search_is_plotted_with_the_reason_where_importances_say_nothing(tmp_path: Path) -> None:
    (found,) = search_results(random_search(tmp_path, 12), "accuracy")
    plots = dict(search_plots(found))
    assert list(plots) == ["Optimisation history", "Slices", "Parallel coordinates", "Importances"]
    assert plots["Importances"] == "Importances need 20 finished trials, there are 11: fewer show chance alone."
    best = next(trace for trace in plots["Optimisation history"].data if trace.name == "best so far")
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
    assert plot.layout.xaxis.type == scale


def test_names_and_categories_are_shown_without_their_tags_being_read() -> None:
    import plotly.graph_objects as go

    bars = go.Scatter(x=["<b>a</b>", "b"], y=[1.0, 2.0], name="<a href='x'>n</a>", hovertemplate="%{x}<extra></extra>")
    page = plot_html(go.Figure(bars, {"xaxis": {"title": {"text": "<i>t</i>"}}}))
    written = page.encode().decode("unicode_escape")
    for text in ("&lt;b&gt;a&lt;/b&gt;", "&lt;a href='x'&gt;n", "&lt;i&gt;t", "%{x}<extra>"):
        assert text in written
