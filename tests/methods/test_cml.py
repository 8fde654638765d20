"""CML: its terms against values by hand and what they promise, and the removals of a training."""

from __future__ import annotations

import math
from itertools import pairwise
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
from methods.cml import CML, CMLHyperparameters, cml_loss, confidence, rank_loss, rank_mask, subset_logits
from sweep.training.context import TrainingContext
from sweep.training.recipe import Recipe

VARIANTS = [
    Variant("defaults", path="parts"),
    Variant("mean-with-mask", {"reduction": "mean", "mask_mode": "exclude_fixed", "lam": 2.0}, path="parts"),
    Variant("zeroed-of-three", {"fusion": "weight", "order": "epoch", "margin": 0.05}, modalities=3, path="zero"),
    Variant("late", {"fusion": "late", "late_train": "joint", "mask_mode": "more_correct"}, path="zero"),
]

MORE, LESS = torch.tensor([0.5, 0.9, 0.4, 0.7]), torch.tensor([0.8, 0.6, 0.5, 0.7])
MASK_MODES = ["all", "exclude_fixed", "more_correct"]


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# Equations -----------------------------------------------------------------------------------------------------


def test_confidences_by_hand() -> None:
    logits = torch.log(torch.tensor([[0.2, 0.7, 0.1], [0.4, 0.4, 0.2]]))
    conf, pred = confidence(logits)
    torch.testing.assert_close(conf, torch.tensor([0.7, 0.4]))
    assert pred.tolist() == [1, 0]
    assert pred.dtype == torch.int64
    assert confidence(logits.bfloat16())[0].dtype == torch.float32


def test_parts_of_a_set_keep_the_whole_bias() -> None:
    parts, bias = [torch.full((2, 3), value) for value in (1.0, 10.0, 100.0)], torch.tensor([0.1, 0.2, 0.3])
    assert subset_logits(parts, None, [0, 2]).tolist() == [[101.0] * 3] * 2
    torch.testing.assert_close(subset_logits(parts, bias, [1]), 10 + bias.expand(2, 3))
    with pytest.raises(ValueError, match="keep at least one"):
        subset_logits(parts, bias, [])


def test_masks_by_hand() -> None:
    # Right: both, the larger set, the smaller set, none.
    target, more, less = torch.zeros(4, dtype=torch.int64), torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 0, 2])
    assert rank_mask(more, less, target).tolist() == [1.0, 1.0, 1.0, 1.0]
    assert rank_mask(more, less, target, "exclude_fixed").tolist() == [1.0, 1.0, 0.0, 1.0]
    assert rank_mask(more, less, target, "more_correct").tolist() == [1.0, 1.0, 0.0, 0.0]
    with pytest.raises(ValueError, match=r"'correct'.*'more_correct'"):
        rank_mask(more, less, target, "correct")


def test_rank_losses_by_hand() -> None:
    mask = torch.tensor([1.0, 1.0, 0.0, 1.0])
    assert float(rank_loss(MORE, LESS)) == pytest.approx(0.4)
    assert float(rank_loss(MORE, LESS, mask)) == pytest.approx(0.3)
    assert float(rank_loss(MORE, LESS, mask, reduction="mean")) == pytest.approx(0.075)
    assert float(rank_loss(MORE, LESS, margin=0.2)) == pytest.approx(0.1)
    assert float(rank_loss(MORE, MORE)) == 0
    with pytest.raises(ValueError, match="'average'"):
        rank_loss(MORE, LESS, reduction="average")


def test_the_loss_by_hand() -> None:
    def of(probability: float) -> Tensor:
        return torch.tensor([[math.log(probability), math.log(1 - probability)]])

    chain, target = [of(0.6), of(0.9), of(0.7)], torch.tensor([0])
    classification = -(math.log(0.6) + math.log(0.9) + math.log(0.7)) / 3
    assert float(cml_loss(chain, target, 0.5)) == pytest.approx(classification + 0.5 * 0.3)
    assert float(cml_loss([*chain, of(0.75)], target, 0.5)) == pytest.approx(
        -(math.log(0.6) + math.log(0.9) + math.log(0.7) + math.log(0.75)) / 4 + 0.5 * 0.35
    )
    with pytest.raises(ValueError, match="two sets of modalities or more, got 1"):
        cml_loss(chain[:1], target)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 10**6),
    st.integers(2, 4),
    st.sampled_from(MASK_MODES),
    st.sampled_from(["sum", "mean"]),
    st.floats(0, 0.2),
)
def test_the_loss_is_the_sum_of_its_terms(seed: int, sets: int, mode: str, reduction: str, margin: float) -> None:
    chain, target = [3 * draw(6, 3, seed=seed + j) for j in range(sets)], torch.arange(6) % 3
    classification = sum(F.cross_entropy(logits, target) for logits in chain) / sets
    torch.testing.assert_close(cml_loss(chain, target, 0.0, margin, mode, reduction), classification)
    ranks = torch.zeros((), dtype=torch.float64)
    for more, less in pairwise(chain):
        mask = rank_mask(more.argmax(1), less.argmax(1), target, mode)
        conf_more, conf_less = more.softmax(1).amax(1), less.softmax(1).amax(1)
        ranks += rank_loss(conf_more, conf_less, mask, margin, reduction)
    torch.testing.assert_close(cml_loss(chain, target, 0.7, margin, mode, reduction), classification + 0.7 * ranks)


def test_confidences_that_fall_are_left_alone() -> None:
    chain = [torch.tensor([[3.0, 0.0]]), torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 1.0]])]
    for logits in chain:
        logits.requires_grad_()
    target = torch.tensor([0])
    found = [torch.autograd.grad(cml_loss(chain, target, lam), chain) for lam in (0.0, 5.0)]
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)
    higher = [*chain[:2], torch.tensor([[0.0, 4.0]])]
    excess = float(higher[2].softmax(1).max() - chain[1].softmax(1).max().detach())
    assert excess > 0
    assert float((cml_loss(higher, target, 5.0) - cml_loss(higher, target, 0.0)).detach()) == pytest.approx(5 * excess)


# Training ------------------------------------------------------------------------------------------------------


def setup(modalities: int = 2, **hyperparameters: Any) -> tuple[CML, TrainingContext]:
    dataset = toy_dataset(modalities)
    method = toy_method("cml", dataset, hyperparameters)
    assert isinstance(method, CML)
    return method, hand_driven_context(method, dataset, Recipe(batch_size=16))


@pytest.mark.parametrize("fusion", ["concat", "sum"])
def test_a_part_removed_is_a_feature_of_zeros(fusion: str) -> None:
    parts, _ = setup(3, fusion=fusion)
    zeros, _ = setup(3, fusion=fusion, removal="zero")
    for layer in (*parts.fusion.head_layers, *zeros.fusion.head_layers):
        torch.nn.init.constant_(layer.bias, 0.5)
    batch = toy_dataset(3).train.gather(torch.arange(8))
    features = parts.encode(batch)
    found = [method.smaller_sets(features, [2, 0, 1], batch) for method in (parts, zeros)]
    assert len(found[0]) == 2
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)
    alone = parts.unimodal_logits(features)
    torch.testing.assert_close(found[0][1], alone[1])
    assert not torch.allclose(found[0][0], alone[1])


@pytest.mark.parametrize("options", [{}, {"reduction": "mean"}, {"fusion": "gated", "modalities": 3}])
def test_a_step_trains_the_sets_that_it_draws(options: dict[str, Any]) -> None:
    method, context = setup(**options, lam=0.8, mask_mode="exclude_fixed", margin=0.01)
    batches = list(context.training_batches(torch.arange(45), False))
    batch = batches[-1]
    assert (len(batch), context.samples_in_step) == (13, 13)
    outputs = method(batch)
    order = method.removal_order(context)
    chain = [outputs.logits, *method.smaller_sets(outputs.features, order, batch)]
    reduction = method.hyperparameters.reduction
    expected = cml_loss(chain, batch.labels, 0.8, 0.01, "exclude_fixed", reduction)
    torch.testing.assert_close(method.loss(outputs, batch, context), expected)
    logged = context.logged()
    for number, removed in enumerate(order[:-1]):
        more, less = (logits.softmax(1).amax(1) for logits in chain[number : number + 2])
        mask = rank_mask(chain[number].argmax(1), chain[number + 1].argmax(1), batch.labels, "exclude_fixed")
        excess = ((less - more) * mask - 0.01).clamp_min(0).detach()
        assert logged[f"rank_loss_{number + 1}"] == pytest.approx(float(excess.mean()))
        assert logged[f"surer_without_{method.modalities[removed]}"] == pytest.approx(
            float((excess > 0).float().mean())
        )


def test_orders_are_drawn_for_each_batch_or_each_epoch() -> None:
    orders: dict[str, list[list[list[int]]]] = {}
    for kind in ("batch", "epoch"):
        method, context = setup(3, order=kind)
        orders[kind] = []
        for epoch in (1, 2, 3):
            move_to(context, method, epoch)
            drawn = []
            for _ in range(6):
                drawn.append(method.removal_order(context))
                context.optimizer_step()
            orders[kind].append(drawn)
    assert all(sorted(order) == [0, 1, 2] for kind in orders.values() for epoch in kind for order in epoch)
    assert [len({tuple(order) for order in epoch}) for epoch in orders["epoch"]] == [1, 1, 1]
    assert len({tuple(epoch[0]) for epoch in orders["epoch"]}) > 1
    assert {order[0] for epoch in orders["batch"] for order in epoch} == {0, 1, 2}


# What is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hyperparameters", "modalities", "reason"),
    [
        ({"fusion": "gated", "removal": "parts"}, 2, "no part for each modality; use removal zero"),
        ({"fusion": "channel"}, 2, "needs each on its own"),
        ({"fusion": "etmc"}, 2, "loss of its own"),
        ({"fusion": "late"}, 2, "late_train: joint"),
        ({"unimodal_source": "aux"}, 2, "no auxiliary heads"),
        ({}, 1, "at least 2"),
    ],
)
def test_what_is_not_defined_is_refused(hyperparameters: dict[str, Any], modalities: int, reason: str) -> None:
    with pytest.raises(MethodError, match=reason):
        CML.check(CMLHyperparameters(**hyperparameters), tuple("abc"[:modalities]))


def test_values_outside_the_bounds_are_refused() -> None:
    for wrong in ({"lam": -0.1}, {"margin": 1.5}, {"mask_mode": "some"}, {"reduction": "max"}, {"order": "sample"}):
        with pytest.raises(ValidationError, match=next(iter(wrong))):
            CMLHyperparameters(**wrong)


def test_the_page_says_what_is_declared() -> None:
    assert_page_says_what_is_declared("cml")
