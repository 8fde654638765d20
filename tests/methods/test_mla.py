"""MLA: the projection of the shared head, who moves in a modality's turn, and who counts at inference."""

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
from torch import Tensor
from torch.nn import functional as F

from data.base import Batch
from methods import mla
from methods.base import MethodError
from methods.mla import (
    MLA,
    MLAHyperparameters,
    fuse_logits,
    fusion_weights,
    prediction_entropy,
    project_gradient,
    projection_alpha,
    update_projection,
)
from models import encoders
from sweep.training.context import TrainingContext
from sweep.training.optimizers import optimizer_kind
from sweep.training.recipe import Recipe

VARIANTS = [
    Variant("defaults"),
    Variant(
        "as-the-code-meant",
        {"projection_from": "current", "normalize_projection": True, "reset_projection": "epoch"},
        epochs_to_learn=14,
    ),
    Variant(
        "three-without-projection",
        {"gradient_modification": False, "dynamic_fusion": False, "modality_order": ["text", "audio", "video"]},
        modalities=3,
    ),
]


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# Equations -----------------------------------------------------------------------------------------------------


def test_alphas_by_hand() -> None:
    assert [projection_alpha(b, 4) for b in (0, 2, 4)] == pytest.approx([0.1, 0.1**1.5, 0.01])
    assert projection_alpha(1, 2, 4.0) == pytest.approx(8.0)


def test_projections_by_hand() -> None:
    start = torch.eye(2)
    found = update_projection(start, torch.tensor([3.0, 4.0]), 25.0)
    torch.testing.assert_close(found, torch.tensor([[0.82, -0.24], [-0.24, 0.68]]))
    assert torch.equal(start, torch.eye(2))
    assert torch.equal(update_projection(start, torch.zeros(2), 0.1), start)
    torch.testing.assert_close(update_projection(start, torch.zeros(2), 0.1, normalize=True), start / math.sqrt(2))
    for alpha in (0.0, -1.0):
        with pytest.raises(ValueError, match="alpha must be above 0"):
            update_projection(start, torch.zeros(2), alpha)


def test_a_gradient_is_projected_by_the_transpose() -> None:
    proj = torch.tensor([[1.0, 2.0], [0.0, 3.0]])
    assert project_gradient(torch.tensor([[1.0, 10.0]]), proj).tolist() == [[21.0, 30.0]]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 6), st.integers(1, 8), st.floats(1e-3, 10))
def test_directions_shrink_as_promised(seed: int, width: int, updates: int, alpha: float) -> None:
    proj = torch.eye(width, dtype=torch.float64)
    for step in range(updates):
        mean = draw(width, seed=seed + step)
        image = proj @ mean
        other = draw(width, seed=seed + step + 99)
        other -= (other @ image) / (image @ image) * image
        before, old = proj @ other, proj
        proj = update_projection(proj, mean, alpha)
        torch.testing.assert_close((proj @ mean).norm(), (old @ mean).norm() * alpha / (alpha + mean @ old @ mean))
        torch.testing.assert_close(proj @ other, before)
    assert torch.equal(proj, proj.T)
    eigenvalues = torch.linalg.eigvalsh(proj)
    assert float(eigenvalues.min()) > -1e-9
    assert float(eigenvalues.max()) < 1 + 1e-9


def test_entropies_and_weights_by_hand() -> None:
    sure, flat = torch.tensor([[200.0, 0.0]]), torch.zeros(1, 2)
    assert prediction_entropy(sure).item() == 0
    assert prediction_entropy(flat).item() == pytest.approx(math.log(2))
    assert fusion_weights([sure, flat]).flatten().tolist() == pytest.approx([2 / 3, 1 / 3])
    assert fusion_weights([flat] * 4).flatten().tolist() == [0.25] * 4
    fused = fuse_logits([sure, torch.tensor([[3.0, 6.0]])], torch.tensor([[0.25], [0.75]]))
    assert fused.tolist() == [[52.25, 4.5]]


# Training ------------------------------------------------------------------------------------------------------


def driven(modalities: int = 2, **hyperparameters: Any) -> tuple[MLA, TrainingContext, Batch]:
    dataset = toy_dataset(modalities)
    method = toy_method("mla", dataset, hyperparameters)
    assert isinstance(method, MLA)
    recipe = Recipe(lr=0.05, batch_size=16, momentum=0.9, weight_decay=0.01)
    context = hand_driven_context(method, dataset, recipe)
    method.on_epoch_start(context)
    return method, context, next(context.training_batches(torch.arange(45), drop_last=False))


def test_only_the_branch_whose_turn_it_is_moves() -> None:
    method, context, batch = driven()
    method.training_step(batch, context)  # so that there is momentum
    for modality, resting in (("audio", "video"), ("video", "audio")):
        before = {name: p.clone() for name, p in method.named_parameters()}
        method.step_of(modality, batch, context)
        moved = {name for name, p in method.named_parameters() if not torch.equal(p, before[name])}
        assert {"head.weight", "head.bias"} < moved
        assert any(name.startswith(f"encoders.{modality}") for name in moved)
        assert not any(name.startswith(f"encoders.{resting}") for name in moved)


@pytest.mark.parametrize("current", [False, True])
@pytest.mark.parametrize("decay", [False, True])
def test_the_head_steps_along_its_projected_gradient(current: bool, decay: bool) -> None:
    asked = {"projection_from": "current" if current else "previous", "alpha_decay": decay, "alpha": 0.5}
    method, context, batch = driven(3, **asked)
    proj = torch.eye(8)
    for number in range(2):
        alpha = projection_alpha(number, 3, 0.5) if decay else 0.5
        for turn, modality in enumerate(method.modalities):
            feature = method.encoders[modality](batch.inputs[modality])
            loss = F.cross_entropy(method.head(feature), batch.labels)
            weight, bias = torch.autograd.grad(loss, [method.head.weight, method.head.bias])
            updated = update_projection(proj, feature.detach().mean(0), alpha)
            used = updated if current else proj
            first = number == turn == 0
            method.step_of(modality, batch, context)
            expected = weight if first else project_gradient(weight, used)
            torch.testing.assert_close(method.head.weight.grad, expected)
            torch.testing.assert_close(method.head.bias.grad, bias)
            if number == 0 and not first:
                kept = float(expected.norm() / weight.norm())
                assert kept < 1
                assert context.logged()[f"kept_{modality}"] == pytest.approx(kept, abs=1e-6)
            proj = updated
            torch.testing.assert_close(method.projection, proj)
        method._batch += 1


def test_modalities_take_turns_in_the_order_that_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    for order, turns in ((None, ["audio", "video", "text"]), (["text", "audio", "video"],) * 2):
        method, context, batch = driven(3, modality_order=order)
        seen: list[str] = []
        step = MLA.step_of
        with monkeypatch.context() as patch:
            patch.setattr(MLA, "step_of", lambda self, m, *given, s=seen, f=step: s.append(m) or f(self, m, *given))
            method.training_step(batch, context)
        assert seen == turns


def test_alpha_falls_within_each_epoch_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    method, context, batch = driven()
    asked: list[tuple[int, int]] = []
    real = mla.projection_alpha
    monkeypatch.setattr(mla, "projection_alpha", lambda b, n, base: asked.append((b, n)) or real(b, n, base))
    for epoch in (1, 2):
        context.epoch = epoch
        method.on_epoch_start(context)
        for _ in range(2):
            method.training_step(batch, context)
    assert asked == [(0, 3), (0, 3), (1, 3), (1, 3)] * 2


def test_without_projection_encoders_learn_alone_beside_a_head_stepped_in_turn() -> None:
    method, context, batch = driven(gradient_modification=False)
    twin, _, _ = driven(gradient_modification=False)
    optimizer = optimizer_kind("sgd")(twin.parameters(), 0.05, 0.9, weight_decay=0.01, fused=True)
    for _ in range(3):
        losses = []
        for modality, encoder in twin.encoders.items():
            optimizer.zero_grad(set_to_none=True)
            loss = F.cross_entropy(twin.head(encoder(batch.inputs[modality])), batch.labels)
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
        assert float(method.training_step(batch, context)) == pytest.approx(sum(losses) / 2)
    assert all(torch.equal(one, other) for one, other in zip(method.parameters(), twin.parameters(), strict=True))
    assert torch.equal(method.projection, torch.eye(8))
    assert method.diagnostics() == {}


def test_directions_are_free_again_when_it_is_said() -> None:
    left = {}
    for reset in ("never", "epoch", "batch"):
        method, context, batch = driven(reset_projection=reset)
        for _ in range(2):
            method.training_step(batch, context)
        within = method.diagnostics()["free_directions"]
        method.on_epoch_start(context)
        left[reset] = within, method.diagnostics()["free_directions"]
    assert left["never"][0] == left["never"][1] < 1
    assert left["epoch"] == (left["never"][0], 1.0)
    assert left["never"][0] < left["batch"][0] == left["batch"][1] < 1


def test_records_tell_what_the_projection_keeps() -> None:
    records = list(toy_training("mla").epochs())
    told = [r.diagnostics for r in records]
    assert all(0 < each[f"kept_{m}"] <= 1 for each in told for m in ("audio", "video"))
    assert told[-1]["free_directions"] < told[0]["free_directions"] < 1


def test_encoders_of_another_width_are_brought_to_the_widest() -> None:
    build, resolve = encoders.build, encoders.resolve
    widths = {"audio": 4, "video": 6}
    unequal = {m: build(resolve({"name": "mlp", "width": w}), (6 + k,)) for k, (m, w) in enumerate(widths.items())}
    method = MLA(unequal, 4, MLAHyperparameters(), 4)
    assert list(method.adapters) == ["audio"]
    assert method.projection.shape == (6, 6)
    assert method.predict(toy_dataset().validation.gather(torch.arange(3)))["multi"].shape == (3, 4)


# Inference -----------------------------------------------------------------------------------------------------


def test_predictions_are_weighed_by_entropy_sample_by_sample() -> None:
    method, _, _ = driven(3)
    batch = toy_dataset(3).validation.gather(torch.arange(9))
    predicted = method.predict(batch)
    own = [predicted[m] for m in method.modalities]
    torch.testing.assert_close(predicted["multi"], fuse_logits(own, fusion_weights(own)))
    backwards = method.predict(toy_dataset(3).validation.gather(torch.arange(9).flip(0)))
    torch.testing.assert_close(backwards["multi"].flip(0), predicted["multi"])
    some = method.predict(batch, ["video", "text"])
    torch.testing.assert_close(some["multi"], fuse_logits(own[1:], fusion_weights(own[1:])))
    assert torch.equal(method.predict(batch, ["text"])["multi"], predicted["text"])
    assert not method.predict(batch, [])["multi"].any()


def test_fixed_weights_are_shared_out_among_those_present() -> None:
    method, _, _ = driven(3, dynamic_fusion=False, fixed_weights=[0.35, 0.25, 0.4])
    batch = toy_dataset(3).validation.gather(torch.arange(9))
    audio, video, text = (method.predict(batch)[m] for m in method.modalities)
    torch.testing.assert_close(method.predict(batch)["multi"], 0.35 * audio + 0.25 * video + 0.4 * text)
    torch.testing.assert_close(method.predict(batch, ["audio", "video"])["multi"], (0.35 * audio + 0.25 * video) / 0.6)


# What is refused -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hyperparameters", "reason"),
    [
        ({"fixed_weights": [0.5, 0.5]}, "lists 2 weights, the dataset gives a, b, c"),
        ({"fixed_weights": [0.5, 0.5, 0.5]}, "add up to 1"),
        ({"fixed_weights": [1.0, 0.0, 0.0]}, "above 0"),
        ({"modality_order": ["a", "b", "cc"]}, "no modality called 'cc', nearest is 'c'"),
        ({"modality_order": ["a", "b"]}, r"name each of a, b, c once, got \['a', 'b'\]"),
        ({"modality_order": ["a", "b", "b", "c"]}, "once"),
    ],
)
def test_what_is_not_defined_is_refused(hyperparameters: dict[str, Any], reason: str) -> None:
    with pytest.raises(MethodError, match=reason):
        MLA.check(MLAHyperparameters(**hyperparameters), ("a", "b", "c"))


def test_the_page_says_what_is_declared() -> None:
    assert_page_says_what_is_declared("mla")
