"""The published numbers are all there, and fit the configurations that they are numbers of."""

from __future__ import annotations

import numpy as np
import pytest

import methods
from sweep import published
from sweep.published import cells, cells_of, cost_ratios, curves, curves_over, numbers


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
    assert crema.citation == "IPRM paper, Figure 2"
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


def test_numbers_of_one_family_of_encoders_are_no_others() -> None:
    towers = ["clip_image", "clip_text"]
    for method, variant in (("joint", "encoder=clip"), ("lfa", "lb encoder=clip"), ("mla", "encoder=clip")):
        under_clip = cells_of(method, defaults(method), towers)
        assert {cell.variant for cell in under_clip} == {variant}
        for others in ([], ["resnet18", "bert"], ["clip_image", "bert"]):
            assert variant not in {cell.variant for cell in cells_of(method, defaults(method), others)}
    assert cells_of("bss", defaults("bss"), towers) == []


def test_costs_are_multiples_of_joint_training_in_the_same_table() -> None:
    found = {cell.citation: cell.value for cell in cost_ratios("iprm", defaults("iprm"))}
    assert found["IPRM paper, Table 4"] == pytest.approx(57.03 / 55.08)
    assert [cell.value for cell in cost_ratios("joint", defaults("joint"))] == [1.0] * len(found)
    assert cost_ratios("iprm", defaults("iprm"), ["clip_image", "clip_text"]) == []


def test_every_variant_can_be_trained() -> None:
    known = {cell.variant for cell in cells() if cell.method}
    for method, variants in numbers._variants().items():
        assert variants.keys() <= known
        for own in variants.values():
            family = own.get(numbers.ENCODERS)
            named = {name: value for name, value in own.items() if name != numbers.ENCODERS}
            assert cells_of(method, defaults(method, **named), [f"{family}_image"] if family else [])


def test_a_figure_is_read_whole() -> None:
    (curve,) = [c for c in curves() if (c.source, c.figure, c.dataset) == ("iprm_paper", "Figure 2", "crema_d")]
    assert (curve.method, curve.series, curve.modality, curve.hyperparameter) == ("iprm", "", "multi", "alpha")
    assert curve.at == tuple(n / 10 for n in range(1, 10))
    assert curve.values[:4] == (82.53, 83.87, 83.06, 83.33)
    assert curve.precision == "vector path in the PDF, ± 0.03 points"
    assert curve.reference is None
    keys = [
        (c.source, c.figure, c.method, c.series, c.dataset, c.modality, c.hyperparameter, c.metric) for c in curves()
    ]
    assert keys == sorted(keys)
    assert len(set(keys)) == len(keys)


def test_a_cell_names_its_source_and_table() -> None:
    first = cells()[0]
    assert (first.citation, first.value, first.note) == ("lecture, AMSS, masks", 64.55, 'printed "Baseline"')


@pytest.mark.parametrize(
    ("ours", "published", "same"),
    [
        (np.float64(0.5), 0.5, True),
        (0.5, 0.4, False),
        (np.float64("nan"), None, True),
        (None, None, True),
        (0.0, None, False),
        (True, True, True),
        (np.bool_(True), True, True),
        (1, True, False),
        (True, 1, False),
        ("[1, 2]", [1, 2], True),
        ([1, 2], [1, 2], True),
        ('{"a": 1}', {"a": 2}, False),
        ("word", "word", True),
    ],
)
def test_hyperparameters_are_compared_as_tables_hold_them(ours: object, published: object, same: bool) -> None:
    assert numbers._is_same(ours, published) is same


def test_texts_of_the_files_are_the_values_that_they_write() -> None:
    found = [numbers._cell_value(text) for text in ("true", "false", "0.5", "1e-3", "all", "")]
    assert found == [True, False, 0.5, 0.001, "all", ""]


def test_a_curve_fits_what_does_not_name_its_series() -> None:
    (curve,) = [c for c in curves() if c.method == "lfa" and c.hyperparameter == "alpha" and c.dataset == "crema_d"][:1]
    assert curve.series == "strategy=constant"
    assert curve.fits({})
    assert curve.fits({"strategy": "constant", "alpha": 3})
    assert not curve.fits({"strategy": "cubic"})


def test_numbers_are_no_defaults_that_make_a_variant() -> None:
    assert [numbers._is_number(kind) for kind in ("float", "int", "float | None", "str", "bool", "str | int")] == [
        True, True, True, False, False, False
    ]  # fmt: skip
