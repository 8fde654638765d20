"""MBSD: its terms against values by hand and what they promise, and who teaches whom in a training."""

from __future__ import annotations

import math
from itertools import combinations
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
from methods.mbsd import MBSD, MBSDHyperparameters, kl_loss, mbsd_loss, rs_loss, sample_weights
from sweep.training.recipe import Recipe

VARIANTS = [
    Variant("defaults", path="pairs"),
    Variant("benchmark", {"kl_mode": "benchmark", "rs_space": "probs"}, path="pairs"),
    Variant("sum-of-three", {"fusion": "sum", "lam": 0.3}, modalities=3, path="pairs"),
    Variant("heads", {"fusion": "gated"}, path="pairs", epochs_to_learn=8),
]

P_A = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6], [0.4, 0.4, 0.2], [0.2, 0.5, 0.3]])
P_B = torch.tensor([[0.5, 0.4, 0.1], [0.2, 0.7, 0.1], [0.1, 0.1, 0.8], [0.2, 0.5, 0.3]])
TARGET = torch.tensor([0, 1, 1, 1])
WEIGHTS = torch.tensor([0.2, 0.4, 0.0, 0.0])


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# Equations -----------------------------------------------------------------------------------------------------


def test_weights_by_hand() -> None:
    # The third sample: of equal probabilities the first class is predicted, so neither is right.
    torch.testing.assert_close(sample_weights(P_A, P_B, TARGET), WEIGHTS)


def test_similarity_by_hand() -> None:
    # Squares 0.08 and 0.42, a third for the classes, a quarter for the samples.
    found = rs_loss(P_A, P_B, WEIGHTS)
    assert float(found) == pytest.approx((0.2 * 0.08 + 0.4 * 0.42) / 12)


def test_divergence_by_hand() -> None:
    first = 0.7 * math.log(0.7 / 0.5) + 0.2 * math.log(0.2 / 0.4)
    second = 0.2 * math.log(0.2 / 0.1) + 0.7 * math.log(0.7 / 0.3) + 0.1 * math.log(0.1 / 0.6)
    assert float(kl_loss(P_A, P_B, TARGET, WEIGHTS)) == pytest.approx((0.2 * first + 0.4 * second) / 4)
    v, u = (0.5, 0.3), (0.7, 0.7)
    expected = (0.2 * v[0] * (math.log(v[0]) - u[0]) + 0.4 * v[1] * (math.log(v[1]) - u[1])) / 4
    assert float(kl_loss(P_A, P_B, TARGET, WEIGHTS, "benchmark")) == pytest.approx(expected)


@pytest.mark.parametrize("mode", ["full", "benchmark"])
def test_probabilities_of_zero_are_finite_with_their_gradients(mode: str) -> None:
    logits = torch.tensor([[[200.0, 0.0]], [[0.0, 200.0]]]).requires_grad_()
    first, second = logits.softmax(-1)
    found = kl_loss(first, second, torch.tensor([0]), sample_weights(first, second, torch.tensor([0])), mode)
    found.backward()
    assert float(found.detach()) == (pytest.approx(-math.log(1e-12)) if mode == "full" else 0)
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_what_is_not_defined_is_refused() -> None:
    logits = [P_A, P_B]
    with pytest.raises(ValueError, match="two modalities, got 1"):
        mbsd_loss(P_A, [P_A], TARGET)
    with pytest.raises(ValueError, match="'ful', nearest is 'full'"):
        mbsd_loss(P_A, logits, TARGET, kl_mode="ful")
    with pytest.raises(ValueError, match="'logit', nearest is 'logits'"):
        mbsd_loss(P_A, logits, TARGET, rs_space="logit")


@pytest.mark.parametrize("mode", ["full", "benchmark"])
@pytest.mark.parametrize("space", ["logits", "probs"])
@pytest.mark.parametrize("count", [2, 3])
def test_the_loss_is_the_sum_of_its_terms(mode: str, space: str, count: int) -> None:
    multi, own = draw(6, 3), [draw(6, 3, seed=m + 1) for m in range(count)]
    target = torch.tensor([0, 1, 2, 0, 1, 2])
    found = mbsd_loss(multi, own, target, 0.7, mode, space)
    terms = []
    for a, b in combinations(own, 2):
        p, q = a.softmax(1), b.softmax(1)
        w = sample_weights(p, q, target)
        terms.append(rs_loss(*((a, b) if space == "logits" else (p, q)), w) + kl_loss(p, q, target, w, mode))
    multitask = sum(F.cross_entropy(z, target) for z in (multi, *own))
    torch.testing.assert_close(found, multitask + 0.7 * sum(terms) / len(terms))
    torch.testing.assert_close(mbsd_loss(multi, own, target, 0.0, mode, space), multitask)
    reversed_order = mbsd_loss(multi, own[::-1], target, 0.7, mode, space)
    torch.testing.assert_close(reversed_order, found)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6))
def test_the_stronger_is_not_taught_and_both_wrong_say_nothing(seed: int) -> None:
    a, b = (draw(8, 3, seed=seed + k).requires_grad_() for k in range(2))
    target = torch.arange(8) % 3
    p, q = a.softmax(1), b.softmax(1)
    weights = sample_weights(p, q, target).detach()
    both_wrong = (p.argmax(1) != target) & (q.argmax(1) != target)
    assert torch.equal(weights[both_wrong], torch.zeros(int(both_wrong.sum()), dtype=torch.float64))
    divergence = kl_loss(p, q, target, weights)
    assert float(divergence.detach()) >= 0
    gradients = torch.autograd.grad(divergence, [a, b])
    first_is_stronger = p.gather(1, target[:, None]) >= q.gather(1, target[:, None])
    assert not gradients[0][first_is_stronger.squeeze(1)].any()
    assert not gradients[1][~first_is_stronger.squeeze(1)].any()
    similar = torch.autograd.grad(rs_loss(a, b, weights), [a, b])
    for gradient in (*gradients, *similar):
        assert not gradient[both_wrong].any()
    torch.testing.assert_close(similar[0], -similar[1])


def test_equal_predictions_teach_nothing() -> None:
    a = draw(6, 3)
    target = torch.arange(6) % 3
    p = a.softmax(1)
    assert float(kl_loss(p, p, target, torch.ones(6, dtype=torch.float64))) == 0
    torch.testing.assert_close(mbsd_loss(a, [a, a], target), 3 * F.cross_entropy(a, target))


@pytest.mark.parametrize("mode", ["full", "benchmark"])
def test_a_gap_is_closed_by_unlearning_in_the_re_implementation_alone(mode: str) -> None:
    """Through the weight the stronger modality is pulled down where the similarity term acts on probabilities."""
    a = torch.tensor([[2.0, 0.0, 0.0]]).requires_grad_()
    b, target = torch.tensor([[0.0, 1.0, 0.0]]), torch.tensor([0])
    p, q = a.softmax(1), b.softmax(1)
    weights = sample_weights(p, q, target)
    (through,) = torch.autograd.grad(rs_loss(p.detach(), q, weights), [a])
    assert float(through[0, 0]) > 0
    (whole,) = torch.autograd.grad(mbsd_loss(b, [a, b], target, 1.0, mode, "probs") - F.cross_entropy(a, target), [a])
    pull = torch.autograd.grad(rs_loss(a.softmax(1), q, weights.detach()), [a])[0]
    assert torch.allclose(whole, pull, atol=1e-6) == (mode == "full")


# Training ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("fusion", "modalities"), [("concat", 2), ("sum", 3), ("gated", 2), ("late", 2)])
def test_logits_come_from_the_parts_of_the_head_or_from_heads_of_their_own(fusion: str, modalities: int) -> None:
    dataset = toy_dataset(modalities)
    options = {"fusion": fusion, "late_train": "joint", "lam": 0.4}
    method = toy_method("mbsd", dataset, options)
    assert isinstance(method, MBSD)
    batch = dataset.train.gather(torch.arange(16))
    context = hand_driven_context(method, dataset, Recipe(batch_size=16))
    outputs = method(batch)
    if fusion == "gated":
        heads = method.fusion.aux_heads
        assert heads is not None
        expected = [head(x) for head, x in zip(heads, outputs.features, strict=True)]
    else:
        expected = method.fusion.native_logits(outputs.features)
    for found, wanted in zip(outputs.unimodal_logits, expected, strict=True):
        torch.testing.assert_close(found, wanted)
    loss = method.loss(outputs, batch, context)
    torch.testing.assert_close(loss, mbsd_loss(outputs.logits, expected, batch.labels, 0.4))


def test_who_teaches_is_logged() -> None:
    dataset = toy_dataset(3)
    method = toy_method("mbsd", dataset)
    context = hand_driven_context(method, dataset, Recipe(batch_size=16))
    batch = next(iter(context.training_batches(torch.arange(16), False)))
    with torch.no_grad():
        outputs = method(batch).unimodal_logits
        own = dict(zip(method.modalities, (z.softmax(1) for z in outputs), strict=True))
    method.training_step(batch, context)
    found = context.logged()
    right = {m: p[torch.arange(16), batch.labels] for m, p in own.items()}
    taught = dict.fromkeys(own, 0.0)
    for a, b in combinations(own, 2):
        weights = sample_weights(own[a], own[b], batch.labels)
        assert found[f"weight_{a}_{b}"] == pytest.approx(float(weights.mean()))
        logits = (outputs[method.modalities.index(m)] for m in (a, b))
        assert found[f"similarity_{a}_{b}"] == pytest.approx(float(rs_loss(*logits, weights)))
        assert found[f"divergence_{a}_{b}"] == pytest.approx(float(kl_loss(own[a], own[b], batch.labels, weights)))
        taught[a] += float(((weights > 0) & (right[a] > right[b])).float().mean()) / 2
        taught[b] += float(((weights > 0) & (right[b] > right[a])).float().mean()) / 2
    assert {m: found[f"teacher_{m}"] for m in own} == pytest.approx(taught)
    assert max(taught.values()) > 0


# What is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hyperparameters", "modalities", "reason"),
    [
        ({"fusion": "channel"}, 2, "needs each on its own"),
        ({"fusion": "late"}, 2, "late_train: joint"),
        ({"fusion": "etmc"}, 2, "loss of its own"),
        ({"fusion": "gated", "unimodal_source": "native"}, 2, "no native unimodal logits"),
        ({"aux_detach": True}, 2, "no modality's encoder is taught"),
        ({}, 1, "at least 2"),
    ],
)
def test_what_a_sweep_may_not_ask_is_refused(hyperparameters: dict[str, Any], modalities: int, reason: str) -> None:
    with pytest.raises(MethodError, match=reason):
        MBSD.check(MBSDHyperparameters(**hyperparameters), tuple("abc"[:modalities]))


def test_values_outside_the_bounds_are_refused() -> None:
    for wrong in ({"lam": -0.1}, {"kl_mode": "half"}, {"rs_space": "features"}):
        with pytest.raises(ValidationError, match=next(iter(wrong))):
            MBSDHyperparameters(**wrong)


def test_the_page_says_what_is_declared() -> None:
    assert_page_says_what_is_declared("mbsd")
