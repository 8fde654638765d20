"""AMCo: on which modality the model depends, how much of it is masked, and when."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.hand_driven_context import hand_driven_context
from support.method_pages import assert_page_says_what_is_declared
from support.method_variants import Variant
from support.toy_dataset import toy_dataset, toy_method, toy_training
from torch.nn import functional as F

from methods.amco import AMCo, AMCoHyperparameters, build_mask, dependence_shares, dependent_flags, mask_ratio
from methods.amco import masked_count as count_of
from methods.base import MethodError
from sweep.training.context import TrainingContext
from sweep.training.recipe import Recipe

VARIANTS = [
    Variant("defaults", {"sigma": 0.45}, path="features"),
    Variant("logits-of-three", {"mask_place": "logit", "progress": "benchmark", "mix_layer": True,
                                "sigma_mode": "relative", "fusion": "sum", "p_max": 0.5}, modalities=3),
]  # fmt: skip

# Equations -----------------------------------------------------------------------------------------------------


def test_the_ratio_follows_a_sine_and_then_stays() -> None:
    assert [mask_ratio(progress) for progress in (-1.0, 0.0, 0.3, 5.0)] == [0.0, 0.0, 1.0, 1.0]
    assert mask_ratio(0.1) == pytest.approx(0.5)
    assert mask_ratio(0.5, eps=1.0, p_max=0.4) == pytest.approx(0.4 * math.sqrt(0.5))
    course = [mask_ratio(step / 100, 0.7, 0.6) for step in range(71)]
    assert course == sorted(set(course))
    for eps in (0.0, -0.3):
        with pytest.raises(ValueError, match="eps must be positive"):
            mask_ratio(0.5, eps)


def test_counts_are_rounded_down_but_for_rounding() -> None:
    assert [count_of(1.0, 7), count_of(0.0, 7), count_of(0.999, 7), count_of(0.29, 100)] == [7, 0, 6, 29]
    assert 0.29 * 100 < 29


def test_masks_by_hand() -> None:
    perm = torch.tensor([2, 0, 3, 1])
    assert build_mask(4, 2, perm).tolist() == [0, 1, 0, 1]
    assert build_mask(4, 0, perm).tolist() == [1] * 4
    assert build_mask(4, 4, perm).tolist() == [0] * 4
    assert build_mask(4, 1, perm).dtype == torch.float32


def test_shares_by_hand() -> None:
    one = torch.tensor([[math.log(2.0), 0.0], [0.0, 0.0]])
    assert dependence_shares([one, torch.zeros(2, 2)]).tolist() == pytest.approx([0.55, 0.45])
    assert dependent_flags(torch.tensor([0.5, 0.5]), 0.5).tolist() == [False, False]
    assert dependent_flags(torch.tensor([0.6, 0.4]), 0.5).tolist() == [True, False]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.permutations([0, 1, 2]))
def test_shares_are_a_distribution_and_follow_a_permutation(seed: int, order: list[int]) -> None:
    logits = list(2 * torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(seed)))
    shares = dependence_shares(logits)
    assert (shares > 0).all()
    torch.testing.assert_close(shares.sum(), torch.tensor(1.0))
    torch.testing.assert_close(dependence_shares([logits[k] for k in order]), shares[order])
    torch.testing.assert_close(dependence_shares([logits[0]] * 3), torch.full((3,), 1 / 3))
    assert dependent_flags(dependence_shares(logits[:2]), 0.5).sum() <= 1


# Method --------------------------------------------------------------------------------------------------------


def driven(step: int = 9, epochs: int = 4, **hyperparameters: Any) -> tuple[AMCo, TrainingContext]:
    """A method whose first modality is flagged, at a step of its last epoch (of three steps)."""
    method = toy_method("amco", toy_dataset(), hyperparameters, epochs=epochs)
    assert isinstance(method, AMCo)
    context = hand_driven_context(method, toy_dataset(), Recipe(lr=0.05, batch_size=16), epoch=epochs)
    context.budget_step = step
    method.flags.copy_(torch.tensor([True, False]))
    return method, context


@pytest.mark.parametrize("fusion", ["concat", "sum"])
def test_masked_positions_have_no_gradient(fusion: str) -> None:
    method, context = driven(step=1, fusion=fusion, uni_weight=0.5)  # progress 1/12: sine of a quarter of pi over .3
    batch = next(context.training_batches(torch.arange(45), drop_last=False))
    features = [f.detach().requires_grad_() for f in method.encode(batch)]
    masks = method.masks(context)
    assert [int((mask == 0).sum()) for mask in masks] == [count_of(mask_ratio(1 / 12), 8), 0] == [3, 0]
    outputs = method.outputs(features, masks)
    torch.testing.assert_close(torch.stack(outputs.unimodal_logits).sum(0), outputs.logits)
    own = [F.cross_entropy(z, batch.labels) for z in outputs.unimodal_logits]
    loss = method.loss(outputs, batch, context)
    torch.testing.assert_close(loss, F.cross_entropy(outputs.logits, batch.labels) + 0.5 * (own[0] + own[1]))
    gradients = torch.autograd.grad(loss, features)
    for gradient, mask in zip(gradients, masks, strict=True):
        assert torch.equal(gradient.abs().sum(0) > 0, mask == 1)


def test_masks_of_a_step_are_drawn_anew_and_alike_in_every_run() -> None:
    drawn = []
    for _ in range(2):
        method, context = driven(step=1)
        batches = context.training_batches(torch.arange(45), drop_last=False)
        steps = []
        for _ in range(3):
            next(batches)
            steps.append(method.masks(context)[0].tolist())
            context.budget_step = 1
        drawn.append(steps[0])
    assert drawn[0] == drawn[1]
    method, context = driven(step=2)
    next(context.training_batches(torch.arange(45), drop_last=False))
    assert method.masks(context)[0].tolist() != drawn[0]


def test_logits_are_masked_where_this_is_asked_for() -> None:
    method, context = driven(mask_place="logit", mix_layer=True)
    batch = next(context.training_batches(torch.arange(45), drop_last=False))
    outputs = method.training_outputs(batch, context)
    plain = method(batch)
    assert not outputs.unimodal_logits[0].any()  # all of them, this late
    assert torch.equal(outputs.unimodal_logits[1], plain.unimodal_logits[1])
    torch.testing.assert_close(outputs.logits, method.mix(plain.unimodal_logits[1]))
    assert torch.equal(method.predict(batch)["multi"], plain.logits)
    torch.testing.assert_close(plain.logits, method.mix(torch.stack(plain.unimodal_logits).sum(0)))


def test_flags_are_those_of_the_step_before_and_fall_with_an_epoch() -> None:
    method, context = driven(sigma=0.2)
    method.on_epoch_start(context)
    assert method.flags.tolist() == [False, False]
    batch = next(context.training_batches(torch.arange(45), drop_last=False))
    method.training_step(batch, context)
    assert context.logged()["masked_audio"] == 0
    assert method.flags.tolist() == [True, True]
    shares = [context.logged()[f"share_{m}"] for m in ("audio", "video")]
    assert sum(shares) == pytest.approx(1)
    method.training_step(batch, context)
    assert context.logged()["masked_audio"] == 0.5  # the mean over both steps


@pytest.mark.parametrize(
    ("progress", "epoch", "step", "reached"),
    [("global", 1, 0, 0.0), ("global", 4, 11, 11 / 12), ("benchmark", 1, 2, 0.0), ("benchmark", 3, 8, 0.4)],
)
def test_progress(progress: str, epoch: int, step: int, reached: float) -> None:
    method, context = driven(progress=progress)
    next(context.training_batches(torch.arange(45), drop_last=False))
    context.epoch, context.budget_step = epoch, step
    assert method.progress(context) == pytest.approx(reached)


def test_sigma_may_be_relative_to_the_number_of_modalities() -> None:
    found = [toy_method("amco", toy_dataset(n), {"sigma_mode": "relative"}).sigma for n in (2, 3)]  # type: ignore[attr-defined]
    assert found == [0.75, 0.5]


@pytest.mark.parametrize("fusion", ["concat", "sum"])
def test_without_masks_and_own_losses_it_is_joint_training(fusion: str) -> None:
    options = {"p_max": 0.0, "uni_weight": 0.0, "fusion": fusion}
    own, joint = toy_training("amco", options, epochs=2), toy_training("joint", {"fusion": fusion}, epochs=2)
    assert [(r.loss, r.metrics) for r in own.epochs()] == [(r.loss, r.metrics) for r in joint.epochs()]
    expected = joint.method.state_dict()
    assert own.method.state_dict().keys() == expected.keys()
    assert all(torch.equal(value, expected[name]) for name, value in own.method.state_dict().items())


def test_what_is_refused() -> None:
    with pytest.raises(MethodError, match="fusion gated does not have; use concat or sum"):
        AMCo.check(AMCoHyperparameters(fusion="gated"), ("a", "b"))
    for wrong in ({"unimodal_source": "zero"}, {"unimodal_source": "aux"}, {"aux_detach": True}):
        with pytest.raises(MethodError, match="its part of the fused head"):
            AMCo.check(AMCoHyperparameters(**wrong), ("a", "b"))
    AMCo.check(AMCoHyperparameters(unimodal_source="native"), ("a", "b"))


def test_the_page_says_what_is_declared() -> None:
    assert_page_says_what_is_declared("amco")
