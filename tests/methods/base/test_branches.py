"""Branches: which group a module lies in, and which fusions leave no modality a branch."""

from __future__ import annotations

import pytest
from torch import nn

from methods.base import MethodError
from methods.base.branches import branch_groups, check_branches
from methods.base.fusion_hyperparameters import FusionHyperparameters
from models.fusion import build


def test_what_no_modality_owns_is_left_to_the_fusion() -> None:
    encoders = {"audio": nn.Linear(2, 3), "video": nn.Linear(2, 5)}
    fusion = build("weight", [3, 5], 4, aux_heads=True)
    own = [fusion.own_modules(0), [fusion.aux_heads[1]]]
    groups = branch_groups(encoders, own, fusion)
    assert groups["audio"] == [encoders["audio"], fusion.aux_heads[0], fusion.projections[0]]
    assert groups["video"] == [encoders["video"], fusion.aux_heads[1]]
    left = [*fusion.projections[1].parameters(), *fusion.head.parameters()]
    assert [id(p) for p in groups["multi"]] == [id(p) for p in left]


def test_nothing_may_be_left() -> None:
    fusion = build("sum", [3, 5], 4)
    encoders = {"audio": nn.Linear(2, 3), "video": nn.Linear(2, 5)}
    assert branch_groups(encoders, [fusion.own_modules(0), fusion.own_modules(1)], fusion)["multi"] == []


def test_shared_convolutions_are_refused() -> None:
    with pytest.raises(MethodError, match="mine: with channel_mode: cen"):
        check_branches("mine", FusionHyperparameters(fusion="channel", channel_mode="cen"))
    check_branches("mine", FusionHyperparameters(fusion="channel"))
    check_branches("mine", FusionHyperparameters(channel_mode="cen"))
