"""Curves: means, references, choices and inert regions are those of the rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator
from support.described_figures import assert_looks_as_before
from support.synthetic_results import Results, alpha_sweep

from sweep.analysis.parts import Axis, Parts
from sweep.analysis.statistics import curve
from sweep.report.figures import curves as figures
from sweep.report.figures import gallery
from sweep.report.figures.style import Drawing
from sweep.results.tables import load


@pytest.fixture(scope="module")
def alpha(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("results")
    alpha_sweep(path)
    return path


def frames(folder: Path) -> tuple[Parts, pd.DataFrame]:
    return Parts(load(folder)), load(folder, "epoch")


def drawn(folder: Path) -> Iterator[Drawing]:
    return gallery.drawings(folder, *frames(folder))


def line(ax: Axes, label: str) -> Line2D:
    return next(found for found in ax.get_lines() if found.get_label() == label)


def test_a_curve_draws_means_references_choice_and_lacking_seeds(alpha: Path) -> None:
    parts = Parts(load(alpha / "iprm-alpha"))
    grid = parts.grids[0]
    drawing = figures.draw_curve(parts, grid, grid.axes[0], "test_accuracy", "alpha-accuracy")
    upper, lower = drawing.figure.axes
    table = curve(grid.rows, "vary.alpha", "test_accuracy")
    assert line(upper, "fused").get_xdata() == pytest.approx(table["value"].to_numpy())
    assert line(upper, "fused").get_ydata() == pytest.approx(100 * table["mean"].to_numpy())
    joint = parts.reference_rows("digits", grid.rows)["joint"]["test_accuracy"]
    assert line(upper, "joint (n = 3)").get_ydata() == pytest.approx([100 * joint.mean()] * 2)
    assert line(upper, "chosen on validation").get_xdata() == pytest.approx([0.7])
    assert [t.get_text() for t in upper.texts] == ["n=2"] * 3
    assert {handle.get_label() for handle in lower.get_lines()} >= {"left", "profile"}
    assert upper.get_title() == "digits, n = 2 to 3 seeds"
    assert lower.get_xlabel() == "α (alpha)"
    assert "8 epochs; epoch selected by validation accuracy; test split at the selected epoch" in drawing.caption
    assert "joint (dashed, n = 3), joint + unimodal losses (dotted, n = 3)" in drawing.caption


def test_validation_in_place_of_test_is_said(tmp_path: Path) -> None:
    results = alpha_sweep(tmp_path, range(2))
    for path in results.path.glob("runs/*/test.json"):
        path.write_text('{"metrics": {}}')
    drawing = next(drawn(tmp_path / "iprm-alpha"))
    assert drawing.figure.axes[0].get_ylabel().startswith("validation accuracy (%)")
    assert "no test metrics recorded, so validation is shown" in drawing.caption


def test_pruned_runs_enter_no_curve(tmp_path: Path) -> None:
    results = Results(tmp_path)
    results.sweep("one")
    for value in (0.1, 0.2, 0.3):
        results.run("one", "iprm", 0, values={"alpha": value}, status="pruned" if value == 0.2 else "done")
    parts = Parts(load(tmp_path / "one"))
    upper = figures.draw_curve(parts, parts.grids[0], parts.grids[0].axes[0], "test_accuracy", "x").figure.axes[0]
    assert np.isnan(np.asarray(line(upper, "fused").get_ydata(), float)).tolist() == [False, True, False]
    assert [t.get_text() for t in upper.texts] == ["pruned"]


@pytest.mark.parametrize(
    ("moved", "expected"), [((0.0, 0.004, 0.3, 0.9), 1e-8), ((0.1, 0.2, 0.3, 0.9), None), (None, None)]
)
def test_the_inert_region_is_measured(tmp_path: Path, moved: tuple[float, ...] | None, expected: float | None) -> None:
    results = Results(tmp_path)
    results.sweep("one")
    for number, rho in enumerate((1e-15, 1e-8, 1e-3, 0.1)):
        share = {"weights_moved": moved[number]} if moved else {}
        results.run("one", "igm", 0, values={"rho": rho}, diagnostics=lambda epoch, found=share: found)
    grid = Parts(load(tmp_path / "one")).grids[0]
    assert figures.inert_below(grid, grid.axes[0], load(tmp_path / "one", "epoch")) == expected
    caption = next(drawn(tmp_path / "one")).caption
    assert ("Shaded up to 1e-08" in caption) == (expected is not None)
    assert ("none was measured to do nothing" in caption) == (expected is None)


@pytest.mark.parametrize(
    ("values", "scale", "rotation"),
    [
        ((0.001, 0.4, 1.3, 20.0, 100.0), "log", 35),
        ((0.001, 0.1, 1.0, 20.0, 100.0), "log", 0),
        ((0.0, 1.0, 1.1, 10.0), "symlog", 35),
        ((0.1, 0.11, 0.9), "linear", 0),
    ],
)
def test_labels_that_would_touch_on_a_logarithmic_axis_are_turned(
    values: tuple[float, ...], scale: str, rotation: int
) -> None:
    ax = Figure().add_subplot()
    figures.scale_axis(ax, Axis("vary.x", "x", "x", "", scale, values))
    assert {label.get_rotation() for label in ax.get_xticklabels()} == {rotation}
    assert ax.get_xscale() == scale


@pytest.mark.parametrize(
    ("values", "scale", "each"),
    [
        (tuple(map(float, range(9))), "linear", True),
        (tuple(map(float, range(10))), "linear", False),
        ((1.0, 10.0, 1e5), "log", True),
        ((1.0, 10.0, 1.1e5), "log", False),
        ((0.0, 1.0, 10.0, 1e5), "symlog", True),
        ((0.0, 1.0, 1e6), "linear", True),
    ],
)
def test_every_value_has_a_tick_where_few_lie_not_too_far_apart(
    values: tuple[float, ...], scale: str, each: bool
) -> None:
    ax = Figure().add_subplot()
    figures.scale_axis(ax, Axis("vary.x", "x", "x", "", scale, values))
    assert isinstance(ax.xaxis.get_major_locator(), FixedLocator) is each
    if each:
        assert [label.get_text() for label in ax.get_xticklabels()] == [f"{value:g}" for value in values]


@pytest.mark.parametrize(
    ("drawn", "ends"),
    [
        ([(50, 45, 56), (70, 66, 75)], (45 - 1.6, 75 + 1.6 + 0.4)),
        ([(50, 10, 99), (70, np.nan, np.nan)], (30 - 1.6, 90 + 1.6 + 0.4)),
        ([(50, np.nan, np.nan), (np.nan, np.nan, np.nan)], (50 - 0.08, 50 + 0.08 + 0.02)),
        ([(0.5, 0, 1), (99.5, 99, 100)], (0, 100 + 0.02 * 99)),
        ([(np.nan, 0.0, 1.0)], (0, 1)),
        ([], (0, 1)),
    ],
)
def test_a_panel_holds_every_mean_and_of_intervals_as_much_again(
    drawn: list[tuple[float, float, float]], ends: tuple[float, float]
) -> None:
    ax = Figure().add_subplot()
    figures._fit_to_means(ax, drawn)
    assert ax.get_ylim() == pytest.approx(ends)


def test_hollow_marks_and_gaps_are_explained_where_there_are_any(tmp_path: Path) -> None:
    results = Results(tmp_path)
    results.sweep("one")
    for results.dataset in ("digits", "av_digits"):
        for alpha in (0.1, 0.2, 0.3):
            for seed in range(2):
                lost = results.dataset == "av_digits" and (alpha == 0.3 or (alpha, seed) == (0.2, 1))
                results.run("one", "iprm", seed, values={"alpha": alpha}, status="pruned" if lost else "done")
    rows = load(tmp_path / "one")
    axis = Parts(rows).grids[0].axes[0]
    of, other = rows[rows["dataset"].eq("digits")], rows[rows["dataset"].eq("av_digits")]
    hollow, ended = "Hollow: fewer seeds than the others. ", "marked and without a mean. "
    assert [figures._lacking_text(part, axis, "test_accuracy") for part in (of, rows, other[other["seed"].eq(0)])] == [
        "", f"{hollow}Early stopping ended 1 value, {ended}", f"Early stopping ended 1 value, {ended}"
    ]  # fmt: skip
    twice = pd.concat([other, of.assign(status=of["status"].mask(of["vary.alpha"].eq(0.1), "pruned"))])
    assert figures._lacking_text(twice, axis, "test_accuracy").endswith(f"Early stopping ended 2 values, {ended}")


def test_names_stand_at_even_distances() -> None:
    ax = Figure().add_subplot()
    figures.scale_axis(ax, Axis("vary.x", "x", "x", "", "category", ("a", "b", "c")))
    assert ax.get_xscale() == "linear"
    assert [label.get_text() for label in ax.get_xticklabels()] == ["a", "b", "c"]
    assert list(ax.get_xticks()) == [0, 1, 2]
    assert {label.get_rotation() for label in ax.get_xticklabels()} == {0}


@pytest.mark.parametrize(
    ("words", "rotation"),
    [
        (("a", "b", "c", "d", "e", "f"), 0),
        (("modality",) * 4, 0),  # 40 letters
        (("modality",) * 5, 20),
        (("[0.014, 0.63, 0.356]", "[0.0, 0.0, 1.0]", "[0.333]"), 45),
    ],
)
def test_long_names_are_turned_and_end_at_their_ticks(words: tuple[str, ...], rotation: int) -> None:
    ax = Figure().add_subplot()
    figures.scale_axis(ax, Axis("vary.x", "x", "x", "", "category", words))
    placed = {(label.get_rotation(), label.get_horizontalalignment()) for label in ax.get_xticklabels()}
    assert placed == {(rotation, "right" if rotation else "center")}


def test_curves_look_as_before(alpha: Path) -> None:
    parts = Parts(load(alpha / "iprm-alpha"))
    grid = parts.grids[0]
    drawing = figures.draw_curve(parts, grid, grid.axes[0], "test_accuracy", "x", inert=0.25)
    assert_looks_as_before("curve", drawing.figure, drawing.caption)


def test_curves_of_categories_and_of_a_cut_look_as_before(tmp_path: Path) -> None:
    results = Results(tmp_path)
    results.sweep("one")
    for results.dataset in ("digits", "av_digits"):
        for scope in ("head", "all"):
            for rho in (1e-7, 1e-3, 0.1):
                for seed in range(2):
                    level = 0.7 + 0.05 * (scope == "all") + 0.02 * (rho == 1e-3) + 0.01 * seed
                    status = "pruned" if rho == 0.1 and scope == "all" else "done"
                    found, values = {"multi": level, "left": 0.5, "profile": 0.4}, {"scope": scope, "rho": rho}
                    results.run("one", "igm", seed, found, values=values, status=status)
    parts = Parts(load(tmp_path / "one"))
    (grid,) = parts.grids
    for axis in grid.axes:
        drawing = figures.draw_curve(parts, grid, axis, "test_accuracy", "x")
        assert_looks_as_before(f"curve-{axis.name}", drawing.figure, drawing.caption)
