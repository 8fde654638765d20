"""What the sweep of a reference keeps of the sweep that it stands beside."""

from __future__ import annotations

from typing import Any

import pytest

from sweep.config import ReferenceName, Sweep
from sweep.plan.references import REFERENCES, reference_sweep

pytest_plugins = ["support.fake_declarations"]

pytestmark = pytest.mark.usefixtures("fakes")

SEARCH = {"algorithm": "tpe", "configurations": 4}


def beside(name: ReferenceName, **keys: Any) -> Sweep:
    methods = [{"method": "mixer", "label": "mixer"}]
    return reference_sweep(
        Sweep.model_validate({"name": "a", "methods": methods, "datasets": ["toy"], **keys}), REFERENCES[name]
    )


def test_each_reference_is_one_method_with_its_own_hyperparameters_alone() -> None:
    found = {name: beside(name, hyperparameters={"alpha": 0.2}) for name in REFERENCES}
    assert {name: [(e.method, e.label, e.hyperparameters) for e in own.methods] for name, own in found.items()} == {
        "joint": [("joint", "joint", {"unimodal_loss_weight": 0.0})],
        "joint + unimodal losses": [("joint", "joint + unimodal losses", {"unimodal_loss_weight": 1.0})],
        "ensemble": [("ensemble", "ensemble", {})],
        "best unimodal": [("unimodal", "best unimodal", {})],
    }
    assert {(len(own.hyperparameters), own.search) for own in found.values()} == {(0, None)}
    assert {name: own.model_dump()["vary"] for name, own in found.items() if own.vary} == {
        "best unimodal": {"modality": "each"}
    }


def test_a_grid_leaves_a_reference_recipe_data_and_budget() -> None:
    vary = {"alpha": "auto", "encoders.left.width": {"grid": [8]}, "ridge": "auto"}
    kept = {"train.lr": {"grid": [0.1]}, "data.toy.noise": {"grid": [0]}, "epochs": {"grid": [2]}}
    points = [{"alpha": 0.1, "epochs": 3}, {"alpha": 0.2}, {"alpha": 0.3, "epochs": 3}, {"train.lr": 0.4}, {}]
    found = beside("ensemble", vary=vary | kept, points=points)
    assert found.model_dump()["vary"] == kept
    assert found.points == [{"epochs": 3}, {"train.lr": 0.4}]


def test_a_search_leaves_a_reference_what_exists_for_it_and_is_none_where_nothing_does() -> None:
    vary: dict[str, Any] = {
        "alpha": "auto", "ridge": "auto", "mixer.kind": "auto", "ensemble.ridge": {"uniform": [0.1, 1]},
        "unimodal_loss_weight": "auto", "train.lr": {"uniform": [0.1, 1]}, "encoders.left.width": {"int": [8, 9]},
    }  # fmt: skip
    always = ["train.lr", "encoders.left.width"]
    expected = {
        "joint": always,  # its weight is what makes it the reference
        "joint + unimodal losses": always,
        "ensemble": ["ridge", *always],
        "best unimodal": [*always, "modality"],
    }
    found = {name: beside(name, vary=vary, search=SEARCH, points=[{"train.lr": 0.3}]) for name in REFERENCES}
    assert {name: list(own.vary) for name, own in found.items()} == expected
    assert all(own.search is not None and own.points == [] for own in found.values())
    listed = {name: beside(name, vary={"alpha": "auto"}, search=SEARCH) for name in REFERENCES}
    assert {(name, *own.vary) for name, own in listed.items()} == {
        ("joint",), ("joint + unimodal losses",), ("ensemble",), ("best unimodal", "modality")
    }  # fmt: skip
    assert all(own.search is None for own in listed.values())


def test_every_modality_in_turn_is_left_to_a_reference_that_has_one() -> None:
    assert list(beside("best unimodal", vary={"modality": "each", "alpha": "each"}, search=SEARCH).vary) == ["modality"]
