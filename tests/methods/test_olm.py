"""OLM: its ratios and losses against values by hand and what they promise, and its coefficients in a training."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from support.hand_driven_context import hand_driven_context, move_to
from support.method_pages import assert_page_says_what_is_declared
from support.method_variants import Variant
from support.toy_dataset import toy_dataset, toy_method
from torch import Tensor
from torch.nn import functional as F

from methods.base import MethodError
from methods.olm import (
    OLM,
    OLMHyperparameters,
    loss_ratio,
    modulated_loss,
    norm_loss,
    norm_loss_grad,
    progress_rates,
    target_ratio,
)
from sweep.training.context import TrainingContext
from sweep.training.recipe import Recipe

VARIANTS = [
    Variant("defaults", path="gen"),
    Variant(
        "loss-of-three",
        {"ratio": "loss", "init_mode": "mean", "target_scale": 4.0, "fusion": "weight"},
        modalities=3,
        path="loss",
    ),
    Variant("first", {"init_mode": "first", "coeff_min": 0.0, "fusion": "sum"}, path="gen"),
]

LOGITS = [torch.tensor([[3.0, 4.0], [0.0, 1.0]]), torch.tensor([[0.0, 2.0], [-6.0, 8.0]])]
COEFFS = torch.tensor([2.0, 0.5])
TARGET = torch.tensor([1, 0])


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# Equations -----------------------------------------------------------------------------------------------------


def test_rates_by_hand() -> None:
    generalised, overfitted = progress_rates(
        torch.tensor([2.0, 2.0]), torch.tensor([0.5, 1.5]), torch.tensor([2.0, 2.5]), torch.tensor([1.5, 1.0])
    )
    assert generalised.tolist() == [0.5, 1.5]
    assert overfitted.tolist() == [1.0, -1.0]


def test_ratios_by_hand() -> None:
    quotients = torch.tensor([0.5, 2.0])
    found = target_ratio(torch.tensor([0.5, 1.0]), torch.tensor([1.0, 0.5]))
    torch.testing.assert_close(found, quotients.exp() / quotients.exp().sum())
    # Neither has got anywhere.
    assert target_ratio(torch.zeros(4), torch.zeros(4)).tolist() == [0.25] * 4
    assert target_ratio(torch.tensor([-1.0, -2.0]), torch.tensor([-3.0, -1.0])).tolist() == [0.5, 0.5]
    assert target_ratio(torch.tensor([100.0, 1.0]), torch.tensor([-1.0, 1.0])).tolist() == [1.0, 0.0]
    wide = target_ratio(torch.tensor([1.0, 1.0]), torch.tensor([0.5, 0.1]), eps=0.25)
    torch.testing.assert_close(wide, torch.tensor([2.0, 4.0]).softmax(0))
    torch.testing.assert_close(loss_ratio(torch.tensor([2.0, 4.0]), torch.tensor([1.0, 3.0])), torch.tensor([0.8, 1.2]))


def test_losses_by_hand() -> None:
    # Leads of the right class: 2 and -2 under the first coefficient, 1 and -7 under the second.
    terms = [math.log1p(math.exp(-lead)) for lead in (2, -2, 1, -7)]
    assert float(modulated_loss(LOGITS, COEFFS, TARGET)) == pytest.approx(sum(terms), rel=1e-6)
    assert float(modulated_loss(LOGITS, COEFFS, TARGET, "mean")) == pytest.approx(sum(terms) / 2, rel=1e-6)


def test_norms_by_hand() -> None:
    # Norms 10 and 1 in the first sample, 2 and 5 in the second; means 5.5 and 3.5.
    ratio = torch.tensor([0.2, 0.8])
    terms = [10 - 1.1, 4.4 - 1, 2 - 0.7, 5 - 2.8]
    assert float(norm_loss(LOGITS, COEFFS, ratio)) == pytest.approx(sum(terms))
    assert float(norm_loss(LOGITS, COEFFS, ratio, "mean")) == pytest.approx(sum(terms) / 2)
    assert norm_loss_grad(LOGITS, COEFFS, ratio).tolist() == [5.0 + 1.0, -2.0 + 10.0]
    assert norm_loss_grad(LOGITS, COEFFS, ratio, "mean").tolist() == [3.0, 4.0]
    # Heads that are where they should be are left there.
    assert norm_loss_grad([LOGITS[0]] * 2, torch.ones(2), torch.ones(2)).tolist() == [0.0, 0.0]


def test_another_reduction_is_refused() -> None:
    for compute in (
        lambda: modulated_loss(LOGITS, COEFFS, TARGET, "max"),
        lambda: norm_loss(LOGITS, COEFFS, COEFFS, "max"),
        lambda: norm_loss_grad(LOGITS, COEFFS, COEFFS, "max"),
    ):
        with pytest.raises(ValueError, match="no reduction called 'max'"):
            compute()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 4), st.sampled_from(["sum", "mean"]))
def test_the_gradient_of_the_norm_loss_reaches_the_coefficients_alone(seed: int, heads: int, reduction: str) -> None:
    logits = [draw(5, 3, seed=seed + k).requires_grad_() for k in range(heads)]
    coeffs = (draw(heads, seed=seed + 9).abs() + 0.1).requires_grad_()
    ratio = draw(heads, seed=seed + 10).softmax(0).requires_grad_()
    found = torch.autograd.grad(
        norm_loss(logits, coeffs, ratio, reduction), [coeffs, ratio, *logits], allow_unused=True
    )
    torch.testing.assert_close(found[0], norm_loss_grad(logits, coeffs, ratio, reduction))
    assert found[1:] == (None,) * (heads + 1)


rates = st.lists(st.tuples(st.floats(-2, 2), st.floats(-2, 2)), min_size=2, max_size=5)


@settings(max_examples=40, deadline=None)
@given(rates)
def test_ratios_are_shares_and_grow_with_what_is_generalised(pairs: list[tuple[float, float]]) -> None:
    gen, over = torch.tensor(pairs, dtype=torch.float32).T
    found = target_ratio(gen, over)
    assert found.isfinite().all()
    assert (found >= 0).all()
    assert float(found.sum()) == pytest.approx(1, abs=1e-5)
    quotients = gen.clamp_min(1e-6) / over.clamp_min(1e-6)
    order = quotients.argsort()
    assert (found[order].diff() >= 0).all()


def test_with_equal_coefficients_it_is_the_multitask_loss() -> None:
    logits, target = [draw(6, 3, seed=k) for k in range(3)], torch.arange(6) % 3
    expected = sum(F.cross_entropy(z, target) for z in logits)
    torch.testing.assert_close(modulated_loss(logits, torch.ones(3), target, "mean"), expected)


# Training ------------------------------------------------------------------------------------------------------


def setup(modalities: int = 2, **hyperparameters: Any) -> tuple[OLM, TrainingContext]:
    dataset = toy_dataset(modalities)
    method = toy_method("olm", dataset, hyperparameters)
    assert isinstance(method, OLM)
    return method, hand_driven_context(method, dataset, Recipe(batch_size=16, lr=0.02))


@torch.no_grad()
def losses(logits: list[Tensor], coeffs: Tensor, labels: Tensor, reduction: str) -> Tensor:
    found = [F.cross_entropy(w * z, labels, reduction=reduction) for w, z in zip(coeffs, logits, strict=True)]
    return torch.stack(found)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("init_mode", ["last", "first", "mean"])
def test_coefficients_follow_the_authors(reduction: str, init_mode: str) -> None:
    method, context = setup(reduction=reduction, init_mode=init_mode, coeff_lr=0.01, target_scale=2.0)
    twin, _ = setup(reduction=reduction, init_mode=init_mode)
    dataset, held = toy_dataset(), context.held_out
    assert len(held) == 8
    coeffs = torch.ones(3, requires_grad=True)
    adam = torch.optim.Adam([coeffs], lr=0.01)
    sgd = torch.optim.SGD([p for n, p in twin.named_parameters() if n != "coefficients"], lr=0.02, momentum=0.9,
                          weight_decay=1e-4)  # fmt: skip
    order = torch.randperm(8, generator=context.generator("olm held out"))
    seen, inits = list[tuple[Tensor, Tensor]](), (torch.zeros(3), torch.zeros(3))
    for epoch in (1, 2):
        move_to(context, method, epoch)
        method.on_epoch_start(context)
        for batch in context.training_batches(method.sampler(context), False):
            assert not torch.isin(batch.index, held).any()
            method.training_step(batch, context)
            outputs, shown = twin(batch), twin(dataset.train.gather(held[order]))
            logits = [*outputs.unimodal_logits, outputs.logits]
            shown_logits = [*shown.unimodal_logits, shown.logits]
            now = (
                losses(logits, coeffs, batch.labels, reduction),
                losses(shown_logits, coeffs, dataset.train.labels[held[order]], reduction),
            )
            if epoch == 1:
                seen.append(now)
                pick = {"last": seen[-1:], "first": seen[:1], "mean": seen}[init_mode]
                inits = tuple(torch.stack(part).mean(0) for part in zip(*pick, strict=True))
            ratio = target_ratio(*progress_rates(inits[0], now[0], inits[1], now[1]))
            loss = modulated_loss(logits, coeffs, batch.labels, reduction)
            sgd.zero_grad()
            adam.zero_grad()
            loss.backward()
            norm_loss(logits, coeffs, 2 * ratio, reduction).backward()
            sgd.step()
            adam.step()
    torch.testing.assert_close(method.coefficients, coeffs, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(method.val_init, inits[1], atol=1e-4, rtol=1e-3)
    for found, expected in zip(method.encoders.parameters(), twin.encoders.parameters(), strict=True):
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-3)


def test_held_out_samples_come_in_turns() -> None:
    method, context = setup(holdout=0.45)
    held = context.held_out
    assert len(held) == 20
    found = []
    for epoch in (1, 2):
        move_to(context, method, epoch)
        method.on_epoch_start(context)
        for batch in context.training_batches(method.sampler(context), False):
            found.append(next(method.held_out_batches(context)).index)
            assert len(found[-1]) == 16
            context.optimizer_step()
            assert len(batch) > 0
    turns = torch.cat(found)
    assert len(turns) == 64
    for start in (0, 20, 40):
        assert torch.equal(turns[start : start + 20].sort().values, held)
    assert torch.equal(turns[:20], turns[20:40])
    assert not torch.equal(turns[:20], held)


def test_what_is_left_of_the_losses_may_be_followed_instead() -> None:
    method, context = setup(ratio="loss", init_mode="first")
    batches = list(context.training_batches(method.sampler(context), False))
    batch = batches[0]
    logits = [*method(batch).unimodal_logits, method(batch).logits]
    torch.testing.assert_close(method.measured_ratio(logits, batch, context), torch.ones(3))
    context.optimizer_step()
    method._held = None
    first = method.train_init.clone()
    found = method.measured_ratio([2 * z for z in logits], batch, context)
    now = torch.stack([F.cross_entropy(2 * z, batch.labels) for z in logits])
    torch.testing.assert_close(found, loss_ratio(first, now))


def test_coefficients_stay_above_their_bound() -> None:
    for bound, expected in ((0.5, 0.5), (0.0, 1 - 0.9)):
        method, context = setup(coeff_lr=0.9, coeff_min=bound)
        batch = next(iter(context.training_batches(method.sampler(context), False)))
        method.training_step(batch, context)
        # The first step of Adam is its learning rate.
        assert float(method.coefficients.detach().min()) == pytest.approx(expected, abs=1e-4)


def test_coefficients_norms_and_targets_are_logged() -> None:
    method, context = setup()
    batch = next(iter(context.training_batches(method.sampler(context), False)))
    with torch.no_grad():
        outputs = method(batch)
    method.training_step(batch, context)
    found = context.logged()
    for name, logits in zip(("audio", "video", "multi"), (*outputs.unimodal_logits, outputs.logits), strict=True):
        assert found[f"coefficient_{name}"] == 1
        assert found[f"target_{name}"] == pytest.approx(1 / 3)
        assert found[f"norm_{name}"] == pytest.approx(float(logits.norm(dim=1).mean()))
        assert found[f"generalised_{name}"] == found[f"overfitted_{name}"] == 0


# What is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hyperparameters", "modalities", "reason"),
    [
        ({"fusion": "etmc"}, 2, "loss of its own"),
        ({"fusion": "late"}, 2, "late_train: joint"),
        ({"unimodal_source": "native"}, 2, "a head of its own"),
        ({"aux_detach": True}, 2, "aux_detach at false"),
        ({}, 1, "at least 2"),
    ],
)
def test_what_is_not_defined_is_refused(hyperparameters: dict[str, Any], modalities: int, reason: str) -> None:
    with pytest.raises(MethodError, match=reason):
        OLM.check(OLMHyperparameters(**hyperparameters), tuple("abc"[:modalities]))


def test_a_share_that_holds_out_nothing_is_refused() -> None:
    method, context = setup(holdout=0.01)
    with pytest.raises(MethodError, match="holds out no sample; raise holdout"):
        method.on_fit_start(context)


def test_values_outside_the_bounds_are_refused() -> None:
    for wrong in ({"coeff_lr": -1.0}, {"target_scale": 0.0}, {"holdout": 0.0}, {"init_mode": "best"}, {"eps": 0.0}):
        with pytest.raises(ValidationError, match=next(iter(wrong))):
            OLMHyperparameters(**wrong)


def test_the_page_says_what_is_declared() -> None:
    assert_page_says_what_is_declared("olm")
