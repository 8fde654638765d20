"""Re-learning: purities and strengths by hand, and when, how far and whose weights go back."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.equality import assert_same
from support.hand_driven_context import hand_driven_context
from support.method_pages import assert_page_says_what_is_declared
from support.method_variants import Variant
from support.toy_dataset import toy_dataset, toy_method, toy_training
from torch import Tensor

from methods.base import features_of
from methods.relearning import (
    Relearning,
    clustering_purity,
    min_max_scale,
    reinit_strength,
    separability_purity,
    soft_reinit,
)
from sweep.training.context import TrainingContext
from sweep.training.recipe import Recipe

VARIANTS = [
    Variant("defaults", {"period": 2, "n_init": 2}),
    Variant("forgetful-gated", {"period": 3, "n_init": 1, "reset_momentum": True, "fusion": "gated",
                                "max_samples": 20, "lam": 1.0}, epochs_to_learn=14),
]  # fmt: skip

# Equations -----------------------------------------------------------------------------------------------------


def test_columns_are_scaled_by_hand() -> None:
    features = torch.tensor([[0.0, 5.0, -3.0], [1.0, 5.0, -1.0], [4.0, 5.0, 1.0]])
    expected = torch.tensor([[-1.0, -1.0, -1.0], [-0.5, -1.0, 0.0], [1.0, -1.0, 1.0]])
    torch.testing.assert_close(min_max_scale(features), expected)


def test_purities_by_hand() -> None:
    clusters = torch.tensor([7, 7, 7, 2, 2, 90])
    assert clustering_purity(clusters, torch.tensor([4, 4, 1, 1, 1, 4])) == pytest.approx(5 / 6)
    assert clustering_purity(clusters, torch.tensor([3, 3, 3, 1, 1, 0])) == 1
    assert clustering_purity(torch.zeros(4, dtype=torch.int64), torch.tensor([1, 1, 1, 0])) == 0.75


labels_and_clusters = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=30)


@settings(max_examples=40, deadline=None)
@given(labels_and_clusters, st.permutations(range(5)), st.permutations(range(5)))
def test_purity_knows_no_names_and_is_at_least_the_largest_class(
    pairs: list[tuple[int, int]], classes: list[int], clusters: list[int]
) -> None:
    labels, found = (torch.tensor(each) for each in zip(*pairs, strict=True))
    purity = clustering_purity(found, labels)
    assert int(labels.bincount().max()) / len(labels) <= purity <= 1
    assert clustering_purity(torch.tensor(clusters)[found], torch.tensor(classes)[labels]) == purity


def test_classes_that_lie_apart_are_pure_whatever_the_scale_of_a_column() -> None:
    labels = torch.arange(24) % 3
    features = torch.stack([1000.0 * labels, 0.001 * (labels == 1)], 1)
    assert separability_purity(features, labels, 3) == 1
    assert separability_purity(features, labels, 3, seed=5, n_init=1) == 1
    assert separability_purity(torch.ones(4, 2), torch.tensor([0, 0, 0, 1]), 3) == 0.75  # one point, three clusters
    assert separability_purity(torch.eye(2), torch.tensor([0, 1]), 3) == 1  # more clusters than samples


def test_strengths_and_resets_by_hand() -> None:
    assert reinit_strength(0.9, 0.7, 3.0) == pytest.approx(math.tanh(0.6))
    assert reinit_strength(0.7, 0.9, 3.0) == reinit_strength(0.9, 0.7, 3.0)
    assert reinit_strength(0.5, 0.5, 8.0) == reinit_strength(0.9, 0.1, 0.0) == 0
    current, initial = torch.tensor([1.0, 2.0]), torch.tensor([5.0, -2.0])
    assert soft_reinit(current, initial, 0.25).tolist() == [2.0, 1.0]
    assert torch.equal(soft_reinit(current, initial, 0.0), current)
    assert torch.equal(soft_reinit(current, initial, 1.0), initial)
    assert current.tolist() == [1.0, 2.0]


# Resets --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hyperparameters", "epochs", "after"),
    [
        ({"period": 3}, 16, [4, 7, 10]),
        ({"period": 3, "max_resets": None}, 16, [4, 7, 10, 13, 16]),
        ({"period": 3, "max_resets": 1}, 16, [4]),
        ({"max_resets": 0, "period": 1}, 5, []),
        ({}, 90, [21, 41, 61]),
        ({"period": 5}, 5, []),
    ],
)
def test_when_encoders_are_reset(hyperparameters: dict[str, Any], epochs: int, after: list[int]) -> None:
    method = toy_method("relearning", toy_dataset(), hyperparameters, epochs)
    assert isinstance(method, Relearning)
    assert [epoch for epoch in range(1, epochs + 1) if method.resets_after(epoch)] == after


def test_records_tell_purities_and_strengths_of_the_epochs_with_resets() -> None:
    records = list(toy_training("relearning", {"period": 2, "max_resets": 1}, epochs=5).epochs())
    told = [{k: v for k, v in r.diagnostics.items() if "purity" in k or "strength" in k} for r in records]
    assert [bool(each) for each in told] == [False, False, True, False, False]
    for m in ("audio", "video"):
        train, val = told[2][f"train_purity_{m}"], told[2][f"validation_purity_{m}"]
        assert min(train, val) >= 0.25
        assert told[2][f"strength_{m}"] == pytest.approx(reinit_strength(train, val, 3.0))


def driven(**hyperparameters: Any) -> tuple[Relearning, TrainingContext]:
    dataset = toy_dataset()
    method = toy_method("relearning", dataset, hyperparameters)
    assert isinstance(method, Relearning)
    context = hand_driven_context(method, dataset, Recipe(lr=0.05, batch_size=16, momentum=0.9))
    method.on_fit_start(context)
    return method, context


def test_an_encoder_goes_its_share_of_the_way_back_and_nothing_else_moves() -> None:
    method, context = driven()
    start = {name: p.detach().clone() for name, p in method.named_parameters()}
    for batch in context.training_batches(torch.arange(45), drop_last=False):
        method.training_step(batch, context)
    before = {name: p.detach().clone() for name, p in method.named_parameters()}
    method.reset("audio", 0.25, context)
    for name, parameter in method.named_parameters():
        assert not torch.equal(before[name], start[name])
        moved = name.startswith("encoders.audio.")
        torch.testing.assert_close(parameter, 0.75 * before[name] + 0.25 * start[name] if moved else before[name])


@pytest.mark.parametrize("forgets", [False, True])
def test_momentum_is_forgotten_where_it_is_said(forgets: bool) -> None:
    method, context = driven(reset_momentum=forgets)
    batch = next(context.training_batches(torch.arange(45), drop_last=False))
    method.training_step(batch, context)
    method.reset("audio", 0.5, context)
    optimizer = context.groups.optimizer
    assert optimizer is not None
    remembered = {name for name, p in method.named_parameters() if optimizer.state.get(p)}
    own = {name for name, _ in method.named_parameters() if name.startswith("encoders.audio.")}
    assert (own & remembered == set()) is forgets
    assert {name for name, _ in method.named_parameters()} - own <= remembered


def test_frozen_weights_have_no_way_back() -> None:
    dataset = toy_dataset()
    method = toy_method("relearning", dataset)
    assert isinstance(method, Relearning)
    whole = len(method.weights("audio"))
    next(method.encoders["audio"].parameters()).requires_grad_(False)
    assert len(method.weights("audio")) == whole - 1


def test_purities_are_those_of_the_features_and_of_a_drawn_part_where_it_is_said() -> None:
    method, context = driven()
    features, labels = features_of(method, method.encode, context.train_batches(), context)
    held, held_labels = features_of(method, method.encode, context.validation_batches(), context)
    found = method.purities(context)
    for m, train, val in zip(method.modalities, features, held, strict=True):
        assert found[m] == (separability_purity(train, labels, 4), separability_purity(val, held_labels, 4))
    seen: list[int] = []
    few, its_context = driven(max_samples=20)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("methods.relearning.separability_purity", lambda *asked: seen.append(len(asked[0])) or 0.5)
        few.purities(its_context)
    assert seen == [20, 21, 20, 21]


def test_without_strength_training_is_that_of_the_joint_method() -> None:
    plain, other = toy_training("joint"), toy_training("relearning", {"lam": 0.0, "period": 1})
    for one, two in zip(plain.epochs(), other.epochs(), strict=True):
        assert one.loss == two.loss
        assert one.metrics["validation_accuracy"] == two.metrics["validation_accuracy"]


def test_a_resumed_run_goes_back_to_the_same_weights() -> None:
    def weights(training: Any) -> dict[str, Tensor]:
        return {name: value for name, value in training.method.state_dict().items() if name.startswith("initial")}

    whole = toy_training("relearning", {"period": 2}, epochs=5)
    epochs = whole.epochs()
    next(epochs)
    state = whole.state_dict()
    list(epochs)
    resumed = toy_training("relearning", {"period": 2}, epochs=5, state=state)
    list(resumed.epochs())
    assert weights(whole)
    assert_same(weights(resumed), weights(whole), "initial weights")
    assert_same(resumed.method.state_dict(), whole.method.state_dict(), "state")


def test_the_log_says_that_a_run_is_too_short() -> None:
    lines: list[str] = []
    for period in (4, 3):
        method = toy_method("relearning", toy_dataset(), {"period": period}, epochs=4)
        method.on_fit_start(hand_driven_context(method, toy_dataset(), Recipe(), warn=lines.append))
    assert lines == ["relearning: no encoder is reset, as the first reset comes after epoch 5 and there are 4"]


def test_the_page_says_what_is_declared() -> None:
    assert_page_says_what_is_declared("relearning")
