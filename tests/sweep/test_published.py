"""The published numbers are all there, and stand beside the configurations that they are numbers of."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers_results import Results, noisy

import methods
from sweep import published
from sweep.figures import scale_axis
from sweep.published import DATASETS, cells, cells_of, curves, curves_over
from sweep.published_figures import draw_beside, published_over
from sweep.report_tables import published_blocks
from sweep.results import load
from sweep.shape import Shape


def defaults(method: str, **own: object) -> dict[str, object]:
    """The hyperparameters of a method as a run has them."""
    return methods.get(method).Hyperparameters(**own).model_dump(mode="json")


def test_every_printed_number_is_read() -> None:
    assert len(cells()) == 1635
    assert sum(len(curve.at) + (curve.reference is not None) for curve in curves()) == 611
    assert {cell.source for cell in cells()} | {curve.source for curve in curves()} <= published.sources().keys()


def test_a_curve_is_the_figure() -> None:
    found = [c for c in curves_over("iprm", "alpha", "accuracy", defaults("iprm")) if c.dataset == "crema_d"]
    (crema,) = found
    assert crema.cited == "IPRM paper, Figure 2"
    assert dict(zip(crema.at, crema.values, strict=True))[0.8] == 84.27
    assert len(crema.at) == 9


def test_a_reference_line_belongs_to_its_figure() -> None:
    (fused,) = [c for c in curves_over("bss", "beta", "accuracy", defaults("bss")) if c.modality == "multi"]
    assert fused.reference == 72.41


def test_a_curve_holds_for_the_settings_that_it_names() -> None:
    constant = curves_over("lfa", "alpha", "accuracy", defaults("lfa", strategy="constant"))
    assert {c.series for c in constant} == {"strategy=constant"}
    assert curves_over("lfa", "alpha", "accuracy", defaults("lfa", strategy="cubic")) == []
    assert curves_over("amss", "tau", "accuracy", defaults("amss", plus=False)) == []
    (tau,) = curves_over("amss", "tau", "accuracy", defaults("amss"))
    assert len(tau.at) == 13


@pytest.mark.parametrize(
    ("method", "own", "value"),
    [
        ("iprm", {"alpha": 0.3}, 84.27),
        ("iprm", {"kind": "linear"}, 75.53),
        ("iprm", {"passes": 1}, 83.47),
        ("igm", {"use_sam": False, "gm_scope": 0.0}, 64.52),
        ("igm", {"gm_scope": 0.3}, 82.97),
        ("lfa", {"strategy": "stepwise", "alpha": 0.95}, 71.45),
    ],
)
def test_hyperparameters_make_the_variant(method: str, own: dict[str, object], value: float) -> None:
    found = cells_of(method, defaults(method, **own))
    wanted = {c.value for c in found if (c.dataset, c.modality, c.metric) == ("crema_d", "multi", "accuracy")}
    assert value in wanted


def test_a_fusion_is_a_variant_of_joint_training() -> None:
    assert {c.variant for c in cells_of("joint", defaults("joint", fusion="etmc"))} == {"fusion=etmc"}


def test_what_nobody_printed_has_no_number() -> None:
    assert cells_of("iprm", defaults("iprm", kind="linear", passes=1)) == []
    assert cells_of("joint", defaults("joint", unimodal_loss_weight=1.0)) == []
    assert cells_of("unknown", {}) == []


def test_every_variant_can_be_trained() -> None:
    known = {cell.variant for cell in cells() if cell.method}
    for method, variants in published._variants().items():
        assert variants.keys() <= known
        for own in variants.values():
            assert cells_of(method, defaults(method, **own))


def swept(path: Path, dataset: str) -> Shape:
    results = Results(path, dataset)
    results.sweep("one")
    own = defaults("iprm")
    del own["alpha"]
    for alpha in (0.2, 0.5, 0.8):
        for seed in range(3):
            level = noisy(seed, 0.9 - 0.1 * (alpha - 0.8) ** 2, 0.8, 0.5)
            results.run("one", "iprm", seed, level, values={"alpha": alpha}, hyperparameters=own, peak=0.02)
    return Shape(load(path / "one"))


def test_on_other_data_the_published_curves_have_panels_of_their_own(tmp_path: Path) -> None:
    shape = swept(tmp_path, "digits")
    (grid,) = shape.grids
    drawing = draw_beside(grid, grid.axes[0], "test_accuracy", "x", scale_axis)
    ours, *theirs = drawing.figure.axes
    assert ours.get_title(loc="left").startswith("ours: digits")
    assert len(theirs) == 5
    for printed, ax in zip(published_over(grid, grid.axes[0], "test_accuracy"), theirs, strict=True):
        assert ax.get_title(loc="left").startswith(DATASETS[printed.dataset])
        (line,) = ax.get_lines()
        assert tuple(line.get_ydata()) == printed.values
        low, high = ax.get_ylim()
        assert low <= min(printed.values) < max(printed.values) <= high
    assert ours.get_ylim() not in [ax.get_ylim() for ax in theirs]
    assert "best test epoch" in drawing.caption
    assert "IPRM paper, Figure 2" in drawing.caption


def test_on_other_data_the_table_names_no_number_as_ours(tmp_path: Path) -> None:
    table, sources = published_blocks(swept(tmp_path, "digits"))
    assert table.heading == "Published, on other datasets"
    assert table.table is not None
    (row,) = table.table.rows
    assert row[0] == "iprm: alpha=0.8"
    assert row[1].startswith("digits: ")
    assert "84.27" in row
    assert "best test epoch" in table.table.note
    assert "IJCAI 2025" in sources.text


def test_on_the_same_data_ours_stands_beside_with_its_best_test_epoch(tmp_path: Path) -> None:
    shape = swept(tmp_path, "crema_d")
    block = published_blocks(shape)[0]
    assert block.heading == "Published, on the same dataset"
    assert block.table is not None
    row = next(r for r in block.table.rows if r[2] == "accuracy")
    best = shape.runs[shape.runs["vary.alpha"].eq(0.8)]
    assert row[3].startswith(f"{100 * best['test_accuracy'].mean():.1f} ± ")
    assert row[4].startswith(f"{100 * best['test_peak_accuracy'].mean():.1f} ± ")
    assert row[5] == "84.27"
    assert "IPRM paper, Table 2" in row[6]


def test_a_pruned_value_is_marked_beside_the_published_curve(tmp_path: Path) -> None:
    results = Results(tmp_path)
    results.sweep("one")
    for alpha in (0.1, 0.2, 0.3):
        results.run("one", "iprm", 0, values={"alpha": alpha}, status="pruned" if alpha == 0.2 else "done")
    (grid,) = Shape(load(tmp_path / "one")).grids
    ours = draw_beside(grid, grid.axes[0], "test_accuracy", "x", scale_axis).figure.axes[0]
    (mark,) = [line for line in ours.get_lines() if line.get_label() == "pruned, or no finished run"]
    assert list(mark.get_xdata()) == [0.2]
