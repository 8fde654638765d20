"""MMPareto: weights and lengths by hand and by search, and its step against two losses written out."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.hand_driven_context import hand_driven_context
from support.method_pages import assert_page_says_what_is_declared
from support.method_variants import Variant
from support.toy_dataset import toy_dataset, toy_method, toy_training
from torch import Tensor
from torch.nn import functional as F

from methods.base import MethodError
from methods.mmpareto import (
    MMPareto,
    MMParetoHyperparameters,
    integrate,
    min_norm_weight,
    mmpareto_gradient,
    pareto_weights,
)
from sweep.training.recipe import Recipe

VARIANTS = [
    Variant("defaults", path="two gradients"),
    Variant("tensor-of-three", {"scope": "tensor"}, modalities=3),
    Variant("shared-head", {"unimodal_source": "native"}, path="two gradients"),
    Variant("gated", {"fusion": "gated"}, path="two gradients"),
]

# Equations -----------------------------------------------------------------------------------------------------

seeds = st.integers(0, 10**6)


def vectors(seed: int, count: int = 2) -> list[Tensor]:
    """Draw vectors of 5 whose lengths differ by up to two orders of magnitude, in double precision."""
    draw = torch.Generator().manual_seed(seed)
    scales = 10 ** (2 * torch.rand(count, generator=draw, dtype=torch.float64))
    return list(scales[:, None] * torch.randn(count, 5, generator=draw, dtype=torch.float64))


def opposed(seed: int) -> list[Tensor]:
    """Draw two vectors whose inner product is not above 0."""
    first, second = vectors(seed)
    return [first, -second if first @ second > 0 else second]


def test_the_shortest_combination_of_known_vectors() -> None:
    x, y = torch.tensor([3.0, 0.0]), torch.tensor([0.0, 1.0])
    assert min_norm_weight(x, y) == pytest.approx(0.1)  # 1 / (9 + 1)
    assert min_norm_weight(torch.tensor([2.0, 0.0]), torch.tensor([-1.0, 1.0])) == pytest.approx(4 / 10)
    assert isinstance(min_norm_weight(x, y), float)


def test_ends_of_the_shortest_combination() -> None:
    short, long, zero = torch.tensor([1.0, 0.0]), torch.tensor([2.0, 1.0]), torch.zeros(2)
    assert min_norm_weight(short, long) == 1 - 1e-3
    assert min_norm_weight(long, short) == 1e-3
    assert min_norm_weight(long, short, edge=0.2) == 0.2
    assert min_norm_weight(zero, zero) == min_norm_weight(long, long) == 1 - 1e-3
    assert min_norm_weight(zero, long) == 1 - 1e-3
    assert min_norm_weight(long, zero) == 1e-3


def test_an_inner_weight_is_not_clamped_to_the_edge() -> None:
    long, short = torch.tensor([1e3, 0.0]), torch.tensor([0.0, 1.0])
    assert min_norm_weight(long, short) == pytest.approx(1 / (1e6 + 1))
    assert min_norm_weight(long, short) < 1e-3


@given(seeds)
def test_no_other_combination_is_shorter(seed: int) -> None:
    first, second = opposed(seed)
    weight = min_norm_weight(first, second)
    found = (weight * first + (1 - weight) * second).norm()
    tried = torch.linspace(0, 1, 201, dtype=torch.float64)[:, None]
    assert found <= (tried * first + (1 - tried) * second).norm(dim=1).min() * (1 + 1e-9)


@given(seeds)
def test_weights_of_swapped_vectors_add_up_to_one(seed: int) -> None:
    first, second = vectors(seed)
    assert min_norm_weight(first, second) + min_norm_weight(second, first) == pytest.approx(1)


def test_agreeing_gradients_weigh_alike_and_orthogonal_ones_do_not() -> None:
    x = torch.tensor([1.0, 0.0])
    assert pareto_weights(x, torch.tensor([0.01, 5.0])) == (0.5, 0.5)
    assert pareto_weights(x, torch.tensor([0.0, 2.0])) == pytest.approx((0.8, 0.2))
    alpha_m, alpha_u = pareto_weights(torch.tensor([[2.0], [0.0]]), torch.tensor([[-1.0], [1.0]]))
    assert (alpha_m, alpha_u) == pytest.approx((0.4, 0.6))


def test_a_shorter_direction_is_lengthened_to_the_plain_sum() -> None:
    multi, uni = torch.tensor([2.0, 0.0]), torch.tensor([-1.0, 1.0])
    # h = 0.8 (2, 0) + 1.2 (-1, 1) = (0.4, 1.2), of length sqrt(1.6); the sum (1, 1) has sqrt(2)
    expected = 1.5 * torch.tensor([0.4, 1.2]) * (2 / 1.6) ** 0.5
    torch.testing.assert_close(integrate(multi, uni, 0.4, 0.6), expected)
    torch.testing.assert_close(integrate(multi, uni, 0.4, 0.6, gamma=3.0), 2 * expected)


def test_a_longer_direction_keeps_its_length() -> None:
    multi, uni = torch.tensor([4.0, 0.0]), torch.tensor([-1.0, 0.0])
    torch.testing.assert_close(integrate(multi, uni, 0.9, 0.1, gamma=1.0), torch.tensor([7.0, 0.0]))


def test_gradients_that_cancel_out_give_zero() -> None:
    gradient = torch.tensor([[1.0, -2.0]])
    assert integrate(gradient, -gradient, 0.5, 0.5).tolist() == [[0.0, 0.0]]
    assert integrate(0 * gradient, 0 * gradient, 0.5, 0.5).tolist() == [[0.0, 0.0]]
    nearly = integrate(gradient, -gradient * (1 + 1e-3), 0.5, 0.5)
    assert nearly.abs().sum() > 0
    assert integrate(gradient, -gradient * (1 + 1e-3), 0.5, 0.5, eps=1e-2).abs().sum() == 0


@settings(max_examples=50, deadline=None)
@given(seeds, st.floats(0.5, 3))
def test_the_result_opposes_neither_gradient_and_is_long_enough(seed: int, gamma: float) -> None:
    for multi, uni in (vectors(seed), opposed(seed)):
        (found,) = mmpareto_gradient([multi], [uni], gamma)
        for gradient in (multi, uni):
            assert found @ gradient >= -1e-9 * found.norm() * gradient.norm()
        assert found.norm() >= gamma * (multi + uni).norm() * (1 - 1e-9)


@settings(max_examples=50, deadline=None)
@given(seeds, st.floats(1e-30, 1e6), st.sampled_from(["encoder", "tensor"]))
def test_scaling_both_gradients_scales_the_result(seed: int, factor: float, scope: str) -> None:
    multi, uni = [x.float() for x in vectors(seed)], [x.float() for x in vectors(seed + 1)]
    plain = mmpareto_gradient(multi, uni, scope=scope)
    scaled = mmpareto_gradient([factor * x for x in multi], [factor * x for x in uni], scope=scope)
    for one, other in zip(scaled, plain, strict=True):
        torch.testing.assert_close(one.double() / factor, other.double(), rtol=1e-4, atol=1e-4)


@settings(max_examples=50, deadline=None)
@given(seeds)
def test_agreeing_gradients_are_summed_exactly(seed: int) -> None:
    multi, uni = [x.float() for x in vectors(seed)], [x.float() for x in vectors(seed + 1)]
    if sum(m @ u for m, u in zip(multi, uni, strict=True)) < 0:
        uni = [-x for x in uni]
    for scope in ("encoder", "tensor"):
        for found, m, u in zip(mmpareto_gradient(multi, uni, 1.0, scope), multi, uni, strict=True):
            assert torch.equal(found, m + u)


@settings(max_examples=50, deadline=None)
@given(seeds)
def test_weights_are_those_of_the_whole_encoder_and_lengths_by_scope(seed: int) -> None:
    multi, uni = vectors(seed), vectors(seed + 1)
    weights = pareto_weights(torch.cat(multi), torch.cat(uni))
    whole = integrate(torch.cat(multi), torch.cat(uni), *weights, gamma=2.0)
    torch.testing.assert_close(torch.cat(mmpareto_gradient(multi, uni, 2.0)), whole)
    for found, m, u in zip(mmpareto_gradient(multi, uni, 2.0, "tensor"), multi, uni, strict=True):
        torch.testing.assert_close(found, integrate(m, u, *weights, gamma=2.0))


@pytest.mark.parametrize("scope", ["encoder", "tensor"])
def test_beside_a_zero_gradient_the_other_keeps_its_length(scope: str) -> None:
    gradient, zeros = [torch.tensor([3.0, -4.0]), torch.tensor([[2.0]])], [torch.zeros(2), torch.zeros(1, 1)]
    for pair in ((zeros, gradient), (gradient, zeros)):
        found = mmpareto_gradient(*pair, gamma=1.0, scope=scope)
        for one, other in zip(found, gradient, strict=True):
            torch.testing.assert_close(one, other)
    for one, other in zip(mmpareto_gradient(zeros, gradient, scope=scope), gradient, strict=True):
        torch.testing.assert_close(one, 1.5 * other)


def test_an_unknown_scope_is_refused() -> None:
    with pytest.raises(ValueError, match="scope called 'tensors', nearest is 'tensor'"):
        mmpareto_gradient([torch.ones(2)], [torch.ones(2)], scope="tensors")


# Method --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("modalities", "in_conflict"), [(2, 1), (3, 3)])
def test_a_step_integrates_encoders_and_leaves_heads_alone(modalities: int, in_conflict: int) -> None:
    dataset = toy_dataset(modalities)
    method = toy_method("mmpareto", dataset, {"gamma": 2.0})
    context = hand_driven_context(method, dataset, Recipe(lr=0.1, batch_size=16))
    twin, batch = copy.deepcopy(method), dataset.train.gather(torch.arange(28, 32))
    features = [encoder(batch.inputs[m]) for m, encoder in twin.encoders.items()]
    joint = F.cross_entropy(twin.fusion.head(torch.cat(features, 1)), batch.labels)
    own = [F.cross_entropy(h(f), batch.labels) for h, f in zip(twin.fusion.aux_heads, features, strict=True)]
    loss = method.training_step(batch, context)
    torch.testing.assert_close(loss, (joint + sum(own)).detach())
    conflicts = 0
    for modality, encoder, loss_k in zip(twin.modalities, twin.encoders.values(), own, strict=True):
        held = list(encoder.parameters())
        multi = torch.autograd.grad(joint, held, retain_graph=True)
        uni = torch.autograd.grad(loss_k, held, retain_graph=True)
        flat = [torch.cat([g.flatten() for g in gradients]) for gradients in (multi, uni)]
        conflicts += int(flat[0] @ flat[1] <= 0)
        expected = integrate(*flat, *pareto_weights(*flat), gamma=2.0)
        found = torch.cat([p.grad.flatten() for p in method.encoders[modality].parameters()])
        torch.testing.assert_close(found, expected)
        assert context.logged()[f"joint_weight_{modality}"] == pytest.approx(pareto_weights(*flat)[0])
        assert context.logged()[f"conflict_{modality}"] == float(flat[0] @ flat[1] <= 0)
        assert context.logged()[f"cosine_{modality}"] == pytest.approx(
            F.cosine_similarity(*flat, dim=0).item(), abs=1e-5
        )
    assert conflicts == in_conflict
    heads = list(twin.fusion.parameters())
    for parameter, gradient in zip(
        method.fusion.parameters(), torch.autograd.grad(joint + sum(own), heads), strict=True
    ):
        torch.testing.assert_close(parameter.grad, gradient)


def test_steps_without_conflict_at_gamma_one_are_those_of_summed_losses() -> None:
    summed = toy_training("joint", {"unimodal_loss_weight": 1.0, "unimodal_source": "aux"}, epochs=1)
    pareto = toy_training("mmpareto", {"gamma": 1.0}, epochs=1)
    (expected,), (found,) = list(summed.epochs()), list(pareto.epochs())
    assert found.diagnostics["conflict_audio"] == found.diagnostics["conflict_video"] == 0
    assert found.loss == pytest.approx(expected.loss)
    for one, other in zip(pareto.method.parameters(), summed.method.parameters(), strict=True):
        torch.testing.assert_close(one, other)


def test_what_is_refused() -> None:
    with pytest.raises(MethodError, match="aux_detach"):
        MMPareto.check(MMParetoHyperparameters(aux_detach=True), ("a", "b"))
    with pytest.raises(MethodError, match="etmc"):
        MMPareto.check(MMParetoHyperparameters(fusion="etmc"), ("a", "b"))
    with pytest.raises(ValueError, match="gamma"):
        MMParetoHyperparameters(gamma=0.0)


def test_the_page_says_what_is_declared() -> None:
    assert_page_says_what_is_declared("mmpareto")
