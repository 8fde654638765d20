"""Hyperparameters that exist under a condition alone."""

from __future__ import annotations

from typing import Literal

from methods.base.hyperparameters import Hyperparameters, hyper
from sweep.config.conditions import (
    applies,
    conditions_first,
    declarations,
    equality_test,
    idle_names,
    with_idle_defaults,
)


class Either(Hyperparameters):
    kind: Literal["round", "flat", "bent"] = hyper("round", meaning="shape")
    angle: int = hyper(1, only_if=("kind", ("flat", "bent")), meaning="of what is not round")


class Chain(Hyperparameters):
    width: int = hyper(2, low=1, only_if=("smooth", True), meaning="of the smoothing")
    smooth: bool = hyper(False, only_if=("kind", "flat"), meaning="smooth it")
    kind: Literal["round", "flat"] = hyper("round", meaning="shape")


def test_a_condition_holds_only_with_all_above_it() -> None:
    assert not applies(Chain, "width", equality_test(Chain, {"smooth": True}))
    assert not applies(Chain, "width", equality_test(Chain, {"kind": "flat"}))
    assert applies(Chain, "width", equality_test(Chain, {"kind": "flat", "smooth": True}))
    assert applies(Chain, "kind", equality_test(Chain, {}))


def test_a_condition_may_name_several_values() -> None:
    held = {kind: applies(Either, "angle", equality_test(Either, {"kind": kind})) for kind in ("round", "flat", "bent")}
    assert held == {"round": False, "flat": True, "bent": True}


def test_what_has_no_effect_gets_its_default() -> None:
    idle = Chain(width=5, smooth=True)
    assert idle_names(idle) == ["width", "smooth"]
    assert with_idle_defaults(idle) == Chain()
    active = Chain(width=5, smooth=True, kind="flat")
    assert idle_names(active) == []
    assert with_idle_defaults(active) is active


def test_conditions_come_before_what_they_decide() -> None:
    known = declarations(Chain)
    assert conditions_first(["width", "smooth", "kind"], known) == ["kind", "smooth", "width"]
    assert conditions_first(["width", "kind"], known) == ["width", "kind"]
