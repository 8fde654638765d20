"""Figures: what they draw is what the rows say."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers_results import Results, alpha_sweep, noisy, references
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from sweep import figures, gallery
from sweep.comparison_figures import draw_comparison, draw_differences
from sweep.drawing import Drawing
from sweep.results import load
from sweep.search_figures import LEAST_TRIALS, draw_history, draw_parallel, draw_slices, importances, searches
from sweep.shape import Axis, Shape
from sweep.statistics import curve, estimate


@pytest.fixture(scope="module")
def alpha(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("results")
    alpha_sweep(path)
    return path


def frames(folder: Path) -> tuple[Shape, pd.DataFrame]:
    return Shape(load(folder)), load(folder, "epoch")


def drawn(folder: Path) -> Iterator[Drawing]:
    return gallery.drawings(folder, *frames(folder))


def line(ax: Axes, label: str) -> Line2D:
    return next(found for found in ax.get_lines() if found.get_label() == label)


def test_a_curve_draws_means_references_choice_and_lacking_seeds(alpha: Path) -> None:
    shape = Shape(load(alpha / "iprm-alpha"))
    grid = shape.grids[0]
    drawing = figures.draw_curve(shape, grid, grid.axes[0], "test_accuracy", "alpha-accuracy")
    upper, lower = drawing.figure.axes
    table = curve(grid.rows, "vary.alpha", "test_accuracy")
    assert line(upper, "fused").get_xdata() == pytest.approx(table["value"].to_numpy())
    assert line(upper, "fused").get_ydata() == pytest.approx(100 * table["mean"].to_numpy())
    joint = shape.reference_rows("digits")["joint"]["test_accuracy"]
    assert line(upper, "joint").get_ydata() == pytest.approx([100 * joint.mean()] * 2)
    assert line(upper, "chosen on validation").get_xdata() == pytest.approx([0.7])
    assert [t.get_text() for t in upper.texts] == ["n=2"] * 3
    assert {handle.get_label() for handle in lower.get_lines()} >= {"left", "profile"}
    assert upper.get_title() == "digits, n = 2 to 3 seeds"
    assert lower.get_xlabel() == "α (alpha)"
    assert "8 epochs; epoch selected by validation accuracy; test split at the selected epoch" in drawing.caption
    assert "joint (dashed), joint + unimodal losses (dotted)" in drawing.caption


def test_validation_in_place_of_test_is_said(tmp_path: Path) -> None:
    results = alpha_sweep(tmp_path, range(2))
    for path in results.path.glob("runs/*/test.json"):
        path.unlink()
    drawing = next(drawn(tmp_path / "iprm-alpha"))
    assert drawing.figure.axes[0].get_ylabel().startswith("validation accuracy (%)")
    assert "no test metrics recorded, so validation is shown" in drawing.caption


def test_pruned_runs_enter_no_curve(tmp_path: Path) -> None:
    results = Results(tmp_path)
    results.sweep("one")
    for value in (0.1, 0.2, 0.3):
        results.run("one", "iprm", 0, values={"alpha": value}, status="pruned" if value == 0.2 else "done")
    shape = Shape(load(tmp_path / "one"))
    upper = figures.draw_curve(shape, shape.grids[0], shape.grids[0].axes[0], "test_accuracy", "x").figure.axes[0]
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
    grid = Shape(load(tmp_path / "one")).grids[0]
    assert figures.inert_below(grid, grid.axes[0], load(tmp_path / "one", "epoch")) == expected
    caption = next(drawn(tmp_path / "one")).caption
    assert ("Shaded up to 1e-08" in caption) == (expected is not None)
    assert ("none was measured to do nothing" in caption) == (expected is None)


def test_a_heat_map_prints_each_mean(tmp_path: Path) -> None:
    results = Results(tmp_path)
    results.sweep("one")
    for a in (0.1, 0.2):
        for b in (1, 2, 3):
            level = {"multi": a + b / 10, "left": 0.5, "profile": 0.5}
            results.run(
                "one",
                "bss",
                0,
                level,
                values={"lambda0": a, "t_grow": b},
                status="failed" if b == 3 and a == 0.2 else "done",
            )
    references(results, "one", range(1))
    shape = Shape(load(tmp_path / "one"))
    grid = shape.grids[0]
    drawing = figures.draw_heat_map(shape, grid, (grid.axes[0], grid.axes[1]), "test_accuracy", "x")
    assert [t.get_text() for t in drawing.figure.axes[0].texts] == ["20.0", "30.0", "30.0", "40.0", "40.0", "–"]
    (outline,) = drawing.figure.axes[0].patches
    assert outline.get_xy() == (-0.5, 1.5)


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Shape:
    results = Results(tmp_path_factory.mktemp("compared"))
    results.sweep("compare")
    for dataset in ("digits", "av_digits"):
        results.dataset = dataset
        for method, level in (("iprm", 0.93), ("bss", 0.90)):
            for seed in range(3):
                results.run("compare", method, seed, noisy(seed, level, 0.85, 0.5))
        references(results, "compare", range(3))
    return Shape(load(results.path / "compare"))


def test_a_comparison_keeps_the_given_order(compared: Shape) -> None:
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


def test_differences_to_joint_are_paired(compared: Shape) -> None:
    (drawing,) = draw_differences(compared, compared.points, "test_accuracy", "d")
    rows = compared.points[compared.points["dataset"].eq("digits") & compared.points["label"].eq("iprm")]
    joint = compared.baseline[compared.baseline["dataset"].eq("digits")]
    gap = rows.set_index("seed")["test_accuracy"] - joint.set_index("seed")["test_accuracy"]
    assert drawing.figure.axes[0].containers[0][0].get_xdata()[0] == pytest.approx(100 * gap.mean())
    assert "Holm-corrected over the 4 comparisons" in drawing.caption


def test_joint_is_not_compared_with_itself(compared: Shape) -> None:
    assert list(draw_differences(compared, compared.baseline, "test_accuracy", "d")) == []


def search(tmp_path: Path, trials: int, level: float = 0.1) -> None:
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    results = Results(tmp_path)
    results.sweep("igm-search")
    journal = JournalFileBackend(str(tmp_path / "igm-search" / "study.journal"))
    sampler = optuna.samplers.RandomSampler(seed=0)
    study = optuna.create_study(
        storage=JournalStorage(journal), study_name="igm-search/igm/digits", direction="maximize", sampler=sampler
    )
    for number in range(trials):
        trial = study.ask()
        rho, scope = (
            trial.suggest_float("rho", 1e-3, 0.5, log=True),
            trial.suggest_categorical("scope", ["head", "all"]),
        )
        trial.suggest_float("tau", 0, 2)
        status = "pruned" if number % 9 == 8 else "done"
        value = 0.8 + level * (np.log10(rho) + 3)
        if status == "done":
            study.tell(trial, value)
        else:
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        results.run(
            "igm-search",
            "igm",
            0,
            noisy(0, value, 0.8, 0.5),
            values={"rho": rho, "scope": scope},
            status=status,
            number=number,
        )


def test_a_search_is_drawn_from_its_study(tmp_path: Path) -> None:
    search(tmp_path, 30)
    (found,) = searches(tmp_path / "igm-search", "accuracy")
    assert (found.label, found.dataset, found.objective) == ("igm", "digits", "accuracy")
    assert found.title == "validation accuracy (%)"
    values = [100 * float(t.value or 0) for t in found.trials("COMPLETE")]
    best = draw_history(found).axes[0].get_lines()[0]
    assert best.get_ydata() == pytest.approx(np.maximum.accumulate(values))
    slices = draw_slices(found)
    assert [ax.get_xlabel() for ax in slices.axes] == ["rho", "scope", "tau"]
    assert [len(ax.get_lines()[0].get_xdata()) for ax in slices.axes] == [3, 3, 3]
    assert slices.axes[0].get_xscale() == "log"
    assert len(draw_parallel(found).axes[0].get_lines()) == len(values)
    shares = importances(found)
    assert not isinstance(shares, str)
    assert shares[0].name == "rho"
    assert shares[0].share > shares[0].chance
    assert sum(s.share for s in shares) == pytest.approx(1)


@pytest.mark.parametrize(
    ("trials", "level", "word"), [(LEAST_TRIALS, 0.1, "20 finished trials"), (30, 0.0, "same value")]
)
def test_importances_are_refused_without_signal(tmp_path: Path, trials: int, level: float, word: str) -> None:
    search(tmp_path, trials, level)
    (found,) = searches(tmp_path / "igm-search", "accuracy")
    reason = importances(found)
    assert isinstance(reason, str)
    assert word in reason


def test_a_sweep_without_a_search_has_no_studies(alpha: Path) -> None:
    assert searches(alpha / "iprm-alpha", "accuracy") == []


def test_files_are_written_in_three_formats(alpha: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gallery, "METRICS", ("accuracy",))
    monkeypatch.setattr(gallery, "MOST_FIGURES", 1)
    made = gallery.save_figures(alpha / "iprm-alpha", *frames(alpha / "iprm-alpha"))
    (saved,) = made.saved
    assert made.left == 3
    folder = alpha / "iprm-alpha" / "report" / "figures"
    assert sorted(p.name for p in folder.iterdir()) == [
        "alpha-accuracy.pdf", "alpha-accuracy.png", "alpha-accuracy.svg", "captions.txt",
    ]  # fmt: skip
    assert (folder / "alpha-accuracy.pdf").read_bytes().startswith(b"%PDF")
    assert saved.caption in (folder / "captions.txt").read_text()


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
