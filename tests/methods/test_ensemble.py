"""Ensemble: pools and their weights by hand, members that train as unimodal models do, and which epochs predict."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.hand_driven_context import hand_driven_context
from support.method_pages import assert_page_says_what_is_declared
from support.method_variants import Variant
from support.toy_dataset import CLASSES, toy_dataset, toy_method, toy_training
from torch import Tensor
from torch.nn import functional as F

from methods.base import MULTI
from methods.ensemble import (
    Ensemble,
    alternate_samples,
    combine,
    fit_weights,
    member_losses,
    scale_weights,
)
from sweep.training.loop import Training
from sweep.training.recipe import Recipe

VARIANTS = [
    Variant("scaled", {"weights": "scale"}, modalities=3, path="weighed"),
    Variant("fitted", {"weights": "fitted"}, path="weighed"),
    Variant("mixture", {"weights": "fitted", "pool": "probs"}, path="weighed"),
    Variant("common-epoch", {"member_epoch": "common", "pool": "probs"}),
]


def logits_of(*probabilities: float) -> Tensor:
    return torch.tensor([probabilities]).log() + 5


# Equations -----------------------------------------------------------------------------------------------------


def test_pools_by_hand() -> None:
    members = [logits_of(0.75, 0.25), logits_of(0.5, 0.5)]

    def pooled(pool: str, weights: list[float] | None = None) -> list[float]:
        return combine(members, pool, None if weights is None else torch.tensor(weights)).exp()[0].tolist()

    assert pooled("log_probs") == pytest.approx([0.75, 0.25])
    assert pooled("log_probs", [2.0, 1.0]) == pytest.approx([0.9, 0.1])
    assert pooled("probs") == pytest.approx([0.625, 0.375])
    assert pooled("probs", [3.0, 1.0]) == pytest.approx([0.6875, 0.3125])
    assert pooled("probs", [0.0, 1.0]) == pytest.approx([0.5, 0.5])
    assert pooled("log_probs", [0.0, 0.0]) == pytest.approx([0.5, 0.5])


def test_a_weight_of_zero_leaves_out_what_is_no_number() -> None:
    broken = torch.tensor([[math.inf, 0.0]])
    for pool in ("log_probs", "probs"):
        found = combine([broken, logits_of(0.75, 0.25)], pool, torch.tensor([0.0, 2.0]))
        expected = [0.9, 0.1] if pool == "log_probs" else [0.75, 0.25]
        assert found.exp()[0].tolist() == pytest.approx(expected)


def test_what_cannot_be_pooled() -> None:
    one = [logits_of(0.5, 0.5)]
    with pytest.raises(ValueError, match="at least one member"):
        combine([])
    with pytest.raises(ValueError, match="no pool called 'logits'"):
        combine(one, "logits")
    with pytest.raises(ValueError, match="no pool called 'mean'"):
        fit_weights(one, torch.tensor([0]), "mean")
    with pytest.raises(ValueError, match="1 members need as many weights"):
        combine(one, weights=torch.ones(2))
    with pytest.raises(ValueError, match="negative"):
        combine(one, weights=torch.tensor([-1.0]))
    with pytest.raises(ValueError, match="all weights are 0"):
        combine(one, "probs", torch.zeros(1))


@given(st.integers(0, 2**31), st.integers(1, 4), st.sampled_from(["log_probs", "probs"]))
@settings(max_examples=20, deadline=None)
def test_a_pool_does_not_see_the_order_of_members_nor_a_shift_of_logits(seed: int, members: int, pool: str) -> None:
    draw = torch.Generator().manual_seed(seed)
    logits = [torch.randn(3, 4, generator=draw) for _ in range(members)]
    weights = torch.rand(members, generator=draw) + 0.1
    found = combine(logits, pool, weights)
    torch.testing.assert_close(found.exp().sum(-1), torch.ones(3))
    order = torch.randperm(members, generator=draw)
    torch.testing.assert_close(combine([logits[k] for k in order], pool, weights[order]), found)
    torch.testing.assert_close(combine([x.log_softmax(-1) for x in logits], pool, weights), found)
    same = combine([logits[0]] * members, pool)
    assert torch.equal(same.argmax(-1), logits[0].argmax(-1))
    torch.testing.assert_close(combine(logits[:1], pool), logits[0].log_softmax(-1))


def test_losses_and_scales_by_hand() -> None:
    labels = torch.tensor([0, 1])
    members = [torch.zeros(2, 2), torch.tensor([[0.0, 2.0], [0.0, 2.0]])]
    wrong, right = math.log1p(math.exp(2)), math.log1p(math.exp(-2))
    assert member_losses(members, labels).tolist() == pytest.approx([math.log(2), (wrong + right) / 2])
    assert scale_weights(members).tolist() == pytest.approx([0.0, math.sqrt(3) / 2])


def test_every_second_sample_of_a_class() -> None:
    found = alternate_samples(torch.tensor([2, 0, 2, 2, 0]))
    assert found.tolist() == [True, True, False, True, False]


def noisy_members(samples: int = 60) -> tuple[list[Tensor], Tensor]:
    """Make logits of a good member, of a weak one, and of one that guesses and is sure of it."""
    draw, labels = torch.Generator().manual_seed(5), torch.arange(samples) % CLASSES
    right = F.one_hot(labels, CLASSES).float()
    sizes = ((3.0, 1.0), (1.0, 1.0), (0.0, 4.0))
    return [a * right + b * torch.randn(samples, CLASSES, generator=draw) for a, b in sizes], labels


def test_the_weights_of_a_mixture_raise_its_likelihood_and_leave_out_who_guesses() -> None:
    members, labels = noisy_members()
    weights = fit_weights(members, labels, "probs")
    assert weights.sum().item() == pytest.approx(1)
    assert weights[2] < 0.01
    losses = [F.nll_loss(combine(members, "probs", w), labels) for w in (weights, None)]
    assert losses[0] < losses[1]


def test_the_weights_of_a_mixture_are_those_after_200_steps() -> None:
    # Where it nearly does not matter who weighs what, each step still moves the weights.
    found = fit_weights([logits_of(0.5, 0.5), logits_of(0.51, 0.49)], torch.tensor([0]), "probs")
    share = 0.5
    for _ in range(200):
        share = 0.5 * share / (0.5 * share + 0.51 * (1 - share))
    assert found.tolist() == pytest.approx([share, 1 - share], rel=1e-3)
    assert 0.01 < share < 0.1


def test_the_weights_of_a_product_are_where_its_objective_has_no_slope() -> None:
    members, labels = noisy_members()

    def slope(found: Tensor, ridge: float) -> Tensor:
        w = found.double().requires_grad_()
        pooled = torch.einsum("m,mnc->nc", w, torch.stack(members).double().log_softmax(-1)).log_softmax(-1)
        (gradient,) = torch.autograd.grad(F.nll_loss(pooled, labels) + ridge * (w - 1).square().sum(), w)
        return w.detach() - (w.detach() - gradient).clamp_min(0)

    for ridge in (1e-3, 0.1, 10.0):
        found = fit_weights(members, labels, ridge=ridge)
        assert slope(found, ridge).abs().max() < 1e-6 * max(1, ridge)  # float32 at the end
    assert fit_weights(members, labels)[2] < 0.05 < fit_weights(members, labels)[0]
    torch.testing.assert_close(fit_weights(members, labels, ridge=1e6), torch.ones(3), atol=1e-3, rtol=0)


def test_where_only_the_difference_of_two_weights_counts_the_pull_to_one_parts_it_evenly() -> None:
    labels = torch.tensor([0, 1, 0, 1])
    right = 20.0 * F.one_hot(labels, 2)
    found = fit_weights([right, -right], labels)
    assert found.isfinite().all()
    assert found.sum().item() == pytest.approx(2)
    assert found[1] < 1 < found[0]


def test_without_samples_all_weights_are_one() -> None:
    assert fit_weights([torch.zeros(0, 3)] * 2, torch.zeros(0, dtype=torch.int64)).tolist() == [1.0, 1.0]


# Training ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("recipe", [{"optimizer": "sgd"}, {"optimizer": "adamw", "gradient_clip": 0.05}], ids=str)
def test_every_member_trains_as_the_unimodal_model_bit_by_bit(recipe: dict[str, Any]) -> None:
    dataset, settings_of_run = toy_dataset(), Recipe(batch_size=16, lr=0.05, **recipe)
    ensemble = toy_method("ensemble", dataset)
    begun = copy.deepcopy(ensemble.state_dict())
    list(Training(ensemble, dataset, settings_of_run, seed=3).epochs())
    for modality in dataset.modalities:
        alone = toy_method("unimodal", dataset, {"modality": modality})
        alone.encoders[modality].load_state_dict(_below(begun, f"encoders.{modality}."))
        alone.head.load_state_dict(_below(begun, f"heads.{modality}."))  # type: ignore[union-attr]
        list(Training(alone, dataset, settings_of_run, seed=3).epochs())
        for mine, other in (("encoders", "encoders"), ("heads", "head")):
            found = _below(ensemble.state_dict(), f"{mine}.{modality}.")
            expected = alone.head if other == "head" else alone.encoders[modality]
            for key, value in expected.state_dict().items():  # type: ignore[union-attr]
                assert torch.equal(found[key], value), (modality, mine, key)


def _below(state: dict[str, Any], prefix: str) -> dict[str, Any]:
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}


def test_members_of_one_epoch_that_count_alike_are_late_fusion() -> None:
    ensemble = toy_training("ensemble", {"member_epoch": "common"})
    late = toy_training("joint", {"fusion": "late", "late_space": "logits"})
    for one, other in zip(ensemble.epochs(), late.epochs(), strict=True):
        assert one.metrics["validation_accuracy"] == other.metrics["validation_accuracy"]
        assert one.loss == pytest.approx(other.loss)


def test_a_member_predicts_as_at_its_best_epoch_and_of_equals_at_the_first() -> None:
    dataset = toy_dataset()
    method = toy_method("ensemble", dataset)
    assert isinstance(method, Ensemble)
    context = hand_driven_context(method, dataset, Recipe(batch_size=16))
    labels = torch.tensor([0, 1])
    good, bad, other = (torch.tensor(rows) for rows in ([[2.0, 0], [0, 2]], [[2.0, 0], [2, 0]], [[1.0, 0], [0, 1]]))
    first = method.amend({MULTI: bad, "audio": good, "video": bad}, labels, context)
    assert method.finished is False
    assert torch.equal(first["video"], bad)
    begun = copy.deepcopy(method.state_dict())
    with torch.no_grad():
        for parameter in method.parameters():
            parameter += 1
    second = method.amend({MULTI: bad, "audio": other, "video": good}, labels, context)
    assert method.finished is False
    assert torch.equal(second["audio"], good)
    assert torch.equal(second["video"], good)
    torch.testing.assert_close(second[MULTI], combine([good, good]))
    kept, now = method.inference_state(), method.state_dict()
    assert torch.equal(kept["heads.audio.weight"], begun["heads.audio.weight"])
    assert torch.equal(kept["heads.video.weight"], now["heads.video.weight"])
    method.amend({MULTI: bad, "audio": other, "video": good}, labels, context)
    assert method.finished is None
    assert method.diagnostics() == {
        "weight_audio": 1, "weight_video": 1, "best_accuracy_audio": 1, "best_accuracy_video": 1,
    }  # fmt: skip


def test_fitted_weights_are_scored_on_samples_that_they_were_not_fitted_to() -> None:
    (good, weak, _), labels = noisy_members(24)
    method = toy_method("ensemble", toy_dataset(), {"weights": "fitted", "member_epoch": "common"})
    context = hand_driven_context(method, toy_dataset(), Recipe(batch_size=16))
    found = method.amend({MULTI: good, "audio": good, "video": weak}, labels, context)[MULTI]
    torch.testing.assert_close(method.weights, fit_weights([good, weak], labels))
    even = alternate_samples(labels)
    for scored in (even, ~even):
        weights = fit_weights([good[~scored], weak[~scored]], labels[~scored])
        torch.testing.assert_close(found[scored], combine([good[scored], weak[scored]], weights=weights))


def test_absent_modalities_leave_the_pool() -> None:
    dataset = toy_dataset()
    for pool in ("log_probs", "probs"):
        method = toy_method("ensemble", dataset, {"pool": pool}).eval()
        batch = dataset.test.gather(torch.arange(5))
        both, audio = method.predict(batch), method.predict(batch, present=["audio"])
        torch.testing.assert_close(audio[MULTI], both["audio"].log_softmax(-1))
        nobody = method.predict(batch, present=[])[MULTI]
        torch.testing.assert_close(nobody, torch.full((5, CLASSES), -math.log(CLASSES)))
        method.weights.copy_(torch.tensor([0.0, 1.0]))  # type: ignore[operator,union-attr]
        torch.testing.assert_close(method.predict(batch, present=["audio"])[MULTI], nobody)


def test_the_page_says_what_is_declared() -> None:
    assert_page_says_what_is_declared("ensemble")
