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
