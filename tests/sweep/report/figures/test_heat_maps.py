"""Heat maps print each mean and outline the choice."""

from __future__ import annotations

from pathlib import Path

from support.described_figures import assert_looks_as_before
from support.synthetic_results import Results, references

from sweep.analysis.parts import Parts
from sweep.report.figures.heat_maps import draw_heat_map
from sweep.results.tables import load


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
    parts = Parts(load(tmp_path / "one"))
    grid = parts.grids[0]
    drawing = draw_heat_map(parts, grid, (grid.axes[0], grid.axes[1]), "test_accuracy", "x")
    assert [t.get_text() for t in drawing.figure.axes[0].texts] == ["20.0", "30.0", "30.0", "40.0", "40.0", "–"]
    (outline,) = drawing.figure.axes[0].patches
    assert outline.get_xy() == (-0.5, 1.5)
    assert_looks_as_before("heat-map", drawing.figure, drawing.caption)


def test_maps_of_two_datasets_have_one_scale_and_say_where_seeds_are_lacking(tmp_path: Path) -> None:
    results = Results(tmp_path)
    results.sweep("one")
    for results.dataset, base in (("digits", 0.3), ("av_digits", 0.5)):
        for a in (0.125, 0.25):
            for b in (1, 2):
                for seed in range(2):
                    status = "failed" if (a, b, seed) == (0.125, 2, 1) else "done"
                    level = {"multi": base + a + b / 50 + seed / 100, "left": 0.5}
                    results.run("one", "bss", seed, level, values={"lambda0": a, "elsewhere": b}, status=status)
    results.run("one", "joint", 0, {"multi": 0.5}, hyperparameters={"unimodal_loss_weight": 0.0}, role="reference")
    results.run("one", "joint", 7, {"multi": 0.9}, hyperparameters={"unimodal_loss_weight": 0.0}, role="reference")
    parts = Parts(load(tmp_path / "one"))
    grid = next(grid for grid in parts.grids if grid.label == "bss")
    drawing = draw_heat_map(parts, grid, (grid.axes[0], grid.axes[1]), "test_accuracy", "x")
    first, second, _ = drawing.figure.axes
    assert [ax.get_title() for ax in (first, second)] == [
        "digits, n = 1 to 2 seeds", "av_digits, n = 1 to 2 seeds (joint 50.0, n = 1)"
    ]  # fmt: skip
    assert [text.get_text() for text in first.texts] == ["45.0", "57.5", "46.5\nn=1", "59.5"]
    assert_looks_as_before("heat-maps", drawing.figure, drawing.caption)
