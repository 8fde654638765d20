"""MMCosine: its logits against values by hand and what they promise, and what is trained by them."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from support.hand_driven_context import hand_driven_context
from support.method_pages import assert_page_says_what_is_declared
from support.method_variants import Variant
from support.toy_dataset import toy_dataset, toy_method
from torch import Tensor
from torch.nn import functional as F

from methods.base import MethodError
from methods.mmcosine import (
    MMCosine,
    MMCosineHyperparameters,
    cosine_logits,
    mmcosine_logits,
    mmcosine_loss,
    scale_lower_bound,
)
from sweep.training.recipe import Recipe

VARIANTS = [
    Variant("defaults", path="cosines"),
    Variant("sum-of-three", {"fusion": "sum", "scale": 3.0}, modalities=3, path="cosines"),
]


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# Equations -----------------------------------------------------------------------------------------------------


def test_cosines_by_hand() -> None:
    feature = torch.tensor([[3.0, 4.0], [0.0, -2.0], [0.0, 0.0]])
    weight = torch.tensor([[0.5, 0.0], [0.0, 7.0], [-3.0, 4.0], [0.0, 0.0]])
    found = cosine_logits(feature, weight, 5.0)
    expected = torch.tensor([[3.0, 4.0, 1.4, 0.0], [0.0, -5.0, -4.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    torch.testing.assert_close(found, expected)


def test_parts_and_loss_by_hand() -> None:
    features = [torch.tensor([[2.0, 0.0]]), torch.tensor([[-3.0]])]
    weight = torch.tensor([[1.0, 1.0, 4.0], [0.0, -1.0, -0.1]])
    joint, (first, second) = mmcosine_logits(features, weight, 2.0)
    assert first.tolist() == [[pytest.approx(math.sqrt(2)), 0.0]]
    assert second.tolist() == [[-2.0, 2.0]]
    torch.testing.assert_close(joint, first + second)
    lead = 2 - (math.sqrt(2) - 2)
    assert float(mmcosine_loss(features, weight, torch.tensor([1]), 2.0)) == pytest.approx(math.log1p(math.exp(-lead)))


def test_widths_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"widths \[2, 3\] do not fit a weight of 4 columns"):
        mmcosine_logits([torch.ones(1, 2), torch.ones(1, 3)], torch.ones(2, 4))


def test_the_bound_of_the_scale_by_hand() -> None:
    assert scale_lower_bound(6, 2, 0.99) == pytest.approx(5 / 12 * math.log(495))
    assert scale_lower_bound(2, 1, 0.5) == 0
    for wrong in ((1, 2, 0.5), (6, 0, 0.5), (6, 2, 0.0), (6, 2, 1.0)):
        with pytest.raises(ValueError, match="probability in"):
            scale_lower_bound(*wrong)


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 12), st.integers(1, 3), st.floats(0.3, 0.999))
def test_at_its_bound_the_right_class_has_the_probability(classes: int, modalities: int, prob: float) -> None:
    # Corners of a regular simplex, with every feature on its own.
    centres = torch.eye(classes, dtype=torch.float64) - 1 / classes
    scale = scale_lower_bound(classes, modalities, prob)
    joint, _ = mmcosine_logits([centres] * modalities, torch.cat([centres] * modalities, 1), scale)
    torch.testing.assert_close(joint.softmax(1).diagonal(), torch.full((classes,), prob, dtype=torch.float64))


positive = st.floats(1e-3, 1e3)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 4), positive, positive, st.floats(0.1, 64))
def test_norms_say_nothing_and_parts_are_bounded(
    seed: int, modalities: int, of_feature: float, of_weight: float, scale: float
) -> None:
    widths, target = [m + 2 for m in range(modalities)], torch.arange(6) % 3
    features = [draw(6, width, seed=seed + m) for m, width in enumerate(widths)]
    weight = draw(3, sum(widths), seed=seed + 9)
    joint, parts = mmcosine_logits(features, weight, scale)
    larger = weight.clone()
    larger[:, : widths[0]] *= of_weight
    changed, _ = mmcosine_logits([of_feature * features[0], *features[1:]], larger, scale)
    torch.testing.assert_close(changed, joint)
    assert all((part.abs() <= scale * (1 + 1e-9)).all() for part in parts)
    loss = mmcosine_loss(features, weight, target, scale)
    assert float(loss) == pytest.approx(float(F.cross_entropy(joint, target)))
    if modalities == 1:
        normalised = F.normalize(features[0]) @ F.normalize(weight).T
        torch.testing.assert_close(loss, F.cross_entropy(scale * normalised, target))


def test_gradients_are_orthogonal_to_features_and_finite_for_zeros() -> None:
    features = [draw(4, 3), draw(4, 5, seed=1)]
    features[0][2] = 0
    for feature in features:
        feature.requires_grad_()
    mmcosine_loss(features, draw(3, 8, seed=2), torch.tensor([0, 1, 2, 0])).backward()
    for feature in features:
        assert feature.grad is not None
        torch.testing.assert_close((feature * feature.grad).sum(1), torch.zeros(4, dtype=torch.float64))
    assert float(features[0].grad.abs().max()) < 100


def test_half_precision_is_computed_in_single() -> None:
    feature, weight = (draw(2, 3, seed=seed).bfloat16() for seed in (0, 1))
    torch.testing.assert_close(cosine_logits(feature, weight), cosine_logits(feature.float(), weight.float()))
    assert cosine_logits(feature, weight).dtype == torch.float32
    assert cosine_logits(feature.double(), weight.double()).dtype == torch.float64


def own_share(loss: Any, factor: float) -> tuple[float, Tensor]:
    """What the second modality gives of the right classes' lead after gradient descent on a head, and its weights. Both
    modalities tell the classes apart, the first is ``factor`` times as large."""
    features = [factor * torch.eye(4).repeat(3, 1), torch.eye(4).repeat(3, 1)]
    target, weight = torch.arange(12) % 4, (0.1 * draw(4, 8).float()).requires_grad_()
    for _ in range(150):
        (gradient,) = torch.autograd.grad(loss(features, weight, target), [weight])
        weight = (weight - 0.1 * gradient).detach().requires_grad_()
    leads = [block.detach().diagonal().mean() * f for block, f in zip(weight.split(4, 1), (factor, 1.0), strict=True)]
    return float(leads[1] / (leads[0] + leads[1])), weight.split(4, 1)[1]


def test_a_modality_a_hundred_times_as_large_does_not_take_over() -> None:
    def plain(features: list[Tensor], weight: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(torch.cat(features, 1) @ weight.T, target)

    assert own_share(plain, 1.0)[0] > 0.4
    assert own_share(plain, 100.0)[0] < 0.01
    torch.testing.assert_close(own_share(mmcosine_loss, 100.0)[1], own_share(mmcosine_loss, 1.0)[1])


# Training ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fusion", ["concat", "sum"])
def test_a_network_is_trained_by_the_cosines_that_it_predicts_with(fusion: str) -> None:
    dataset = toy_dataset(3)
    method = toy_method("mmcosine", dataset, {"fusion": fusion, "scale": 4.0})
    assert isinstance(method, MMCosine)
    assert not [name for name, _ in method.fusion.named_parameters() if "bias" in name]
    batch = dataset.train.gather(torch.arange(16))
    context = hand_driven_context(method, dataset, Recipe(batch_size=16))
    outputs = method(batch)
    loss = method.loss(outputs, batch, context)
    torch.testing.assert_close(loss, mmcosine_loss(outputs.features, method.weight, batch.labels, 4.0))
    predicted = method.predict(batch)
    heads = method.fusion.head_layers
    blocks = [head.weight for head in heads] if fusion == "sum" else list(heads[0].weight.split(method.dims, 1))
    for m, feature, block in zip(method.modalities, outputs.features, blocks, strict=True):
        cosine = F.cosine_similarity(feature.unsqueeze(1), block.unsqueeze(0), dim=2)
        torch.testing.assert_close(predicted[m], 4 * cosine)
    torch.testing.assert_close(predicted["multi"], sum(predicted[m] for m in method.modalities))


def test_cosines_and_norms_are_logged() -> None:
    dataset = toy_dataset()
    method = toy_method("mmcosine", dataset)
    assert isinstance(method, MMCosine)
    context = hand_driven_context(method, dataset, Recipe(batch_size=16))
    batch = next(iter(context.training_batches(torch.arange(16), False)))
    with torch.no_grad():
        parts = method.predict(batch)
    blocks = method.weight.split(method.dims, 1)
    expected = {}
    for m, block in zip(method.modalities, blocks, strict=True):
        expected[f"cosine_{m}"] = float(parts[m][torch.arange(16), batch.labels].mean()) / 10
        expected[f"weight_norm_{m}"] = float(block.detach().norm())
    method.training_step(batch, context)
    assert context.logged() == pytest.approx(expected, rel=1e-5)


# What is refused, what is said -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hyperparameters", "modalities", "reason"),
    [
        ({"fusion": "gated"}, 2, "fusion gated does not have; use concat or sum"),
        ({"fusion": "late", "late_train": "joint"}, 2, "use concat or sum"),
        ({"fusion": "channel"}, 2, "use concat or sum"),
        ({"unimodal_source": "aux"}, 2, "no auxiliary heads"),
        ({}, 1, "at least 2"),
    ],
)
def test_what_is_not_defined_is_refused(hyperparameters: dict[str, Any], modalities: int, reason: str) -> None:
    with pytest.raises(MethodError, match=reason):
        MMCosine.check(MMCosineHyperparameters(**hyperparameters), tuple("abc"[:modalities]))


def test_values_outside_the_bounds_are_refused() -> None:
    for wrong in (0.0, -1.0):
        with pytest.raises(ValidationError, match="scale"):
            MMCosineHyperparameters(scale=wrong)


@pytest.mark.parametrize(("scale", "said"), [(10.0, ""), (2.0, r"at scale 2 the right one of 4 classes")])
def test_the_log_says_where_the_scale_is_too_small(scale: float, said: str) -> None:
    lines: list[str] = []
    dataset = toy_dataset()
    method = toy_method("mmcosine", dataset, {"scale": scale})
    method.on_fit_start(hand_driven_context(method, dataset, Recipe(), warn=lines.append))
    assert len(lines) == bool(said)
    assert said in "".join(lines)


def test_the_page_says_what_is_declared() -> None:
    assert_page_says_what_is_declared("mmcosine")
