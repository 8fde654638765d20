"""Fusions in which modalities condition one of them: their equations by hand, then their classes."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from support.fusion_samples import biased, random_features
from torch import nn

from models.fusion import FiLMFusion, Fusion, GatedFusion, build, film, gated

close = torch.testing.assert_close

# Equations -----------------------------------------------------------------------------------------------------


def test_film_by_hand() -> None:
    condition, target = torch.tensor([[2.0, -1.0]]), torch.tensor([[3.0, 5.0]])
    weight = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [0.0, 2.0]])  # gamma = (2, -1), beta = (1, -2)
    assert film(condition, target, weight, None).tolist() == [[7.0, -7.0]]
    bias = torch.tensor([1.0, 1.0, 0.0, 10.0])
    assert film(condition, target, weight, bias).tolist() == [[10.0, 8.0]]


def test_film_of_the_identity_returns_the_target() -> None:
    condition, target = random_features(3, 4)
    bias = torch.tensor([1.0] * 4 + [0.0] * 4, dtype=torch.float64)
    assert torch.equal(film(condition, target, torch.zeros(8, 3, dtype=torch.float64), bias), target)
    with pytest.raises(ValueError, match="width 4 needs 8 rows, got 6"):
        film(condition, target, torch.zeros(6, 3, dtype=torch.float64), None)


def test_gated_by_hand() -> None:
    found = gated(torch.tensor([[0.0, math.log(3.0)]]), torch.tensor([[4.0, -8.0]]))
    close(found, torch.tensor([[2.0, -6.0]]))


# The fusions ---------------------------------------------------------------------------------------------------


def _copy(target: nn.Module, source: nn.Module) -> nn.Module:
    target.load_state_dict(source.state_dict())
    return target


@pytest.mark.parametrize(
    ("kind", "option", "swapped"),
    [(FiLMFusion, "film_direction", "second_conditions_first"), (GatedFusion, "gate_direction", "second_gates_first")],
)
def test_swapping_direction_and_modalities_changes_nothing(kind: type[Fusion], option: str, swapped: str) -> None:
    first, features = biased(kind.name, [3, 5]), random_features(3, 5)
    second = _copy(kind([5, 3], 4, **{option: swapped}).double(), first)
    close(second(features[::-1]).logits, first(features).logits)


def test_film_fusion_by_its_equation() -> None:
    module, (a, b, c) = biased("affine", [3, 5, 2], film_target=1), random_features(3, 5, 2)
    conditioned = torch.cat([a, c], 1) @ module.film.weight.T + module.film.bias
    fused = conditioned[:, :5] * b + conditioned[:, 5:]
    output = module([a, b, c])
    close(output.features, [fused])
    close(output.logits, module.head(fused))


def test_gated_fusion_by_its_equation() -> None:
    module, (a, b) = biased("gated", [3, 5]), random_features(3, 5)
    gate, value = module.gate(a), module.value(b)
    output = module([a, b])
    assert gate.shape == value.shape == (5, 5)
    close(output.features, [gate, value])
    close(output.logits, module.head(value / (1 + (-gate).exp())))


def test_gated_features_stand_in_modality_order() -> None:
    module, (a, b) = biased("gated", [3, 5], gate_direction="second_gates_first"), random_features(3, 5)
    close(module([a, b]).features, [module.value(a), module.gate(b)])
    assert module([a, b]).features[0].shape == (5, 3)


def test_target_defaults_to_the_last_of_three() -> None:
    for name, option in (("affine", "film_target"), ("gated", "gate_target")):
        default, named = biased(name, [3, 5, 2]), build(name, [3, 5, 2], 4, **{option: 2}).double()
        features = random_features(3, 5, 2)
        assert torch.equal(default(features).logits, _copy(named, default)(features).logits)


@pytest.mark.parametrize(
    ("name", "dims", "options", "message"),
    [
        ("affine", [3, 3], {"film_direction": "first"}, "no film_direction called 'first'"),
        ("affine", [3, 3], {"film_target": 1}, "film_target is for three and more modalities"),
        ("affine", [3] * 3, {"film_target": 3}, "position from 0 to 2, got 3"),
        ("affine", [3] * 3, {"film_direction": "second_conditions_first"}, "of 3, set film_target"),
        ("gated", [3] * 3, {"gate_target": -1}, "position from 0 to 2, got -1"),
        ("gated", [3, 3], {"gate_width": 0}, "gate_width must be at least 1, got 0"),
        ("gated", [3, 3], {"gate_target": 1}, "of two, set gate_direction"),
        ("gated", [3] * 3, {"gate_direction": "second_gates_first"}, "gate_direction is for two modalities; of 3"),
        ("affine", [3], {}, "is not defined for M = 1 modalities; it needs at least 2"),
    ],
)
def test_mistakes_are_named(name: str, dims: list[int], options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(name, dims, 4, **options)


def test_a_gate_may_have_one_unit() -> None:
    assert biased("gated", [3, 5], gate_width=1)(random_features(3, 5)).logits.shape == (5, 4)
