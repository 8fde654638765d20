"""OGM: its factors against values by hand and what they promise, and its training against one written out by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from support.equality import assert_same
from support.hand_driven_context import hand_driven_context, move_to
from support.method_pages import assert_page_says_what_is_declared
from support.method_variants import Variant
from support.toy_dataset import toy_dataset, toy_method, toy_training
from torch.nn import functional as F

from methods.base import MethodError
from methods.ogm import OGM, OGMHyperparameters, discrepancy_ratios, modulation_coefficients, unimodal_scores
from sweep.training.context import TrainingContext
from sweep.training.recipe import Recipe

VARIANTS = [
    Variant("defaults", path="noise"),
    Variant("without-ge", {"ge": False, "end_epoch": None, "scope": "matrix"}, path="factors"),
    Variant("three", {"variant": "tpami2024", "fusion": "sum"}, modalities=3, path="noise of three"),
    Variant("gated", {"fusion": "gated", "start_epoch": 1.0, "end_epoch": 2.0}, path="noise", epochs_to_learn=12),
    Variant("late", {"fusion": "late", "late_train": "joint", "ge": False}, path="factors"),
]

VARIANT_NAMES = ("cvpr2022", "tpami2024")

# Equations -----------------------------------------------------------------------------------------------------


def test_factors_of_two_modalities_by_hand() -> None:
    ratios = torch.tensor([1.5, 1 / 1.5])
    assert modulation_coefficients(ratios, 0.8).tolist() == pytest.approx([1 - math.tanh(1.2), 1])
    assert modulation_coefficients(ratios, 0.8, "tpami2024").tolist() == pytest.approx([1 - 0.8 * math.tanh(0.5), 1])
    # just above 1 the first formula jumps, the second does not
    edge = torch.tensor([1 + 1e-6, 1.0])
    assert modulation_coefficients(edge, 0.8).tolist() == pytest.approx([1 - math.tanh(0.8), 1], abs=1e-5)
    assert modulation_coefficients(edge, 0.8, "tpami2024").tolist() == pytest.approx([1, 1], abs=1e-5)


def test_factors_of_three_modalities_are_not_negative() -> None:
    found = modulation_coefficients(torch.tensor([3.0, 1.25, 0.4]), 5.0, "tpami2024")
    assert found.tolist() == pytest.approx([0, max(0.0, 1 - 5 * math.tanh(0.25)), 1])
    assert modulation_coefficients(torch.tensor([3.0, 1.25, 0.4]), 0.5, "tpami2024").tolist() == pytest.approx(
        [1 - 0.5 * math.tanh(2), 1 - 0.5 * math.tanh(0.25), 1]
    )


def test_a_formula_that_is_not_defined_is_refused() -> None:
    with pytest.raises(ValueError, match="two modalities, not for 3; use variant tpami2024"):
        modulation_coefficients(torch.ones(3), 0.8)
    with pytest.raises(ValueError, match="'tpami', nearest is 'tpami2024'"):
        modulation_coefficients(torch.ones(2), 0.8, "tpami")


@settings(max_examples=60, deadline=None)
@given(st.floats(0.5, 60), st.floats(0.5, 60), st.floats(0.01, 1), st.floats(1.1, 2), st.sampled_from(VARIANT_NAMES))
def test_the_better_modality_alone_is_slowed_down_and_more_the_more_it_leads(
    first: float, second: float, alpha: float, further: float, variant: str
) -> None:
    scores = torch.tensor([first, second], dtype=torch.float64)
    factors = modulation_coefficients(discrepancy_ratios(scores), alpha, variant)
    assert torch.equal(modulation_coefficients(discrepancy_ratios(scores.flip(0)), alpha, variant), factors.flip(0))
    better = int(scores.argmax())
    assert float(factors[1 - better]) == 1
    assert ((factors >= 0) & (factors <= 1)).all()
    if float(scores.max() / scores.min()) > 1 + 1e-6:
        assert float(factors[better]) < 1
        scores[better] *= further
        assert float(modulation_coefficients(discrepancy_ratios(scores), alpha, variant)[better]) <= factors[better]
    assert modulation_coefficients(torch.ones(2), alpha, variant).tolist() == [1, 1]


# Training ------------------------------------------------------------------------------------------------------


def setup(modalities: int = 2, epochs: int = 4, **hyperparameters: Any) -> tuple[OGM, TrainingContext]:
    dataset = toy_dataset(modalities)
    method = toy_method("ogm", dataset, hyperparameters, epochs)
    assert isinstance(method, OGM)
    return method, hand_driven_context(method, dataset, Recipe(batch_size=16, lr=0.1), seed=3)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"ge": False, "alpha": 0.3},
        {"variant": "tpami2024", "fusion": "sum", "modalities": 3},
        {"scope": "matrix", "unimodal_source": "zero"},
    ],
)
def test_training_follows_the_papers(options: dict[str, Any]) -> None:
    method, context = setup(**options)
    twin, _ = setup(**options)
    hp = method.hyperparameters
    optimizer = torch.optim.SGD(twin.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    slowed = set[str]()
    for step, batch in enumerate(context.training_batches(torch.arange(45), False)):
        method.training_step(batch, context)
        optimizer.zero_grad()
        features = [encoder(batch.inputs[m]) for m, encoder in twin.encoders.items()]
        F.cross_entropy(twin.fusion(features).logits, batch.labels).backward()
        scores = []
        for k in range(len(features)):
            if hp.unimodal_source == "zero":
                alone = [f if j == k else 0 * f for j, f in enumerate(features)]
                logits = twin.fusion(alone).logits
            elif hp.fusion == "sum":
                logits = twin.fusion.heads[k](features[k])
            else:
                head = twin.fusion.head
                logits = features[k] @ head.weight[:, 8 * k : 8 * k + 8].T + head.bias / len(features)
            scores.append(
                sum(float(row.detach().softmax(0)[y]) for row, y in zip(logits, batch.labels.tolist(), strict=True))
            )
        random = context.generator("ogm noise", step)
        for k, (m, encoder) in enumerate(twin.encoders.items()):
            ratio = sum(scores[k] / s for j, s in enumerate(scores) if j != k) / (len(scores) - 1)
            factor = 1.0
            if ratio > 1:
                slowed.add(m)
                factor = 1 - math.tanh(hp.alpha * ratio)
                if hp.variant == "tpami2024":
                    factor = max(0.0, 1 - hp.alpha * math.tanh(ratio - 1))
            for p in encoder.parameters():
                if hp.scope == "matrix" and p.ndim < 2:
                    continue
                deviation = p.grad.std() + 1e-8
                p.grad *= factor
                if hp.ge:
                    p.grad += torch.randn(p.shape, generator=random) * deviation
        optimizer.step()
    assert slowed
    for found, expected in zip(method.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("options", "modalities"),
    [({}, 2), ({"fusion": "gated"}, 2), ({"variant": "tpami2024"}, 3), ({"variant": "tpami2024"}, 2)],
)
def test_without_modulation_it_is_joint_training_bit_for_bit(options: dict[str, Any], modalities: int) -> None:
    joint = {"fusion": options["fusion"]} if "fusion" in options else {}
    runs = [
        toy_training("ogm", {**options, "alpha": 0.0, "ge": False}, modalities=modalities),
        toy_training("joint", joint, modalities=modalities),
    ]
    for one, other in zip(*(run.epochs() for run in runs), strict=True):
        assert (one.loss, one.metrics) == (other.loss, other.metrics)
    assert_same(*(run.method.state_dict() for run in runs), "weights")


def test_gradients_outside_the_window_are_untouched() -> None:
    method, context = setup(start_epoch=1.0, end_epoch=2.0)
    assert list(method.window) == [1, 2]
    batch = toy_dataset().train.gather(torch.arange(16))
    outside = []
    for epoch in range(1, 5):
        move_to(context, method, epoch)
        context.zero_grad()
        outputs = method(batch)
        method.loss(outputs, batch, context).backward()
        before = [p.grad.clone() for p in method.parameters() if p.grad is not None]
        method.modulate_gradients(outputs, batch, context)
        after = [p.grad for p in method.parameters() if p.grad is not None]
        outside.append(all(torch.equal(a, b) for a, b in zip(after, before, strict=True)))
        # never those of the fusion
        assert torch.equal(after[-1], before[-1])
        assert torch.equal(after[-2], before[-2])
    assert outside == [True, False, False, True]


def test_the_window_is_a_share_of_the_budget_by_default() -> None:
    assert list(setup(epochs=30)[0].window) == list(range(16))
    assert list(setup(epochs=6, end_epoch=None)[0].window) == list(range(6))
    assert list(setup(epochs=6, start_epoch=3.0, end_epoch=50.0)[0].window) == list(range(3, 51))


def test_ratio_and_factor_of_each_modality_are_logged() -> None:
    method, context = setup(ge=False)
    batch = next(iter(context.training_batches(torch.arange(16), False)))
    outputs = method(batch)
    method.training_step(batch, context)
    ratios = discrepancy_ratios(unimodal_scores(outputs.unimodal_logits, batch.labels))
    factors = modulation_coefficients(ratios, 0.8)
    found = context.logged()
    assert found == {
        name: pytest.approx(float(value))
        for m, ratio, factor in zip(method.modalities, ratios, factors, strict=True)
        for name, value in ((f"ratio_{m}", ratio), (f"coefficient_{m}", factor))
    }
    assert min(found.values()) < 1


# What is refused, what is said -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hyperparameters", "modalities", "reason"),
    [
        ({}, 3, "two modalities, not for 3; use variant tpami2024"),
        ({"fusion": "late"}, 2, "late_train: joint"),
        ({"fusion": "etmc"}, 2, "loss of its own"),
        ({"unimodal_source": "aux"}, 2, "no auxiliary heads"),
        ({"aux_detach": True}, 2, "no auxiliary heads"),
        ({}, 1, "at least 2"),
    ],
)
def test_what_is_not_defined_is_refused(hyperparameters: dict[str, Any], modalities: int, reason: str) -> None:
    with pytest.raises(MethodError, match=reason):
        OGM.check(OGMHyperparameters(**hyperparameters), tuple("abc"[:modalities]))


def test_values_outside_the_bounds_are_refused() -> None:
    for wrong in ({"alpha": -0.1}, {"variant": "cvpr"}, {"end_epoch": 1.5}, {"start_epoch": -1.0}, {"scope": "bias"}):
        with pytest.raises(ValidationError, match=next(iter(wrong))):
            OGMHyperparameters(**wrong)


@pytest.mark.parametrize(
    ("hyperparameters", "said"),
    [
        ({}, ""),
        ({"fusion": "gated"}, "features of all others zeroed"),
        ({"scope": "conv"}, "no parameter of audio, video is in scope conv"),
        ({"start_epoch": 3.0, "end_epoch": 1.0}, "end_epoch comes before start_epoch"),
    ],
)
def test_the_log_says_where_nothing_is_modulated(hyperparameters: dict[str, Any], said: str) -> None:
    lines: list[str] = []
    method, _ = setup(**hyperparameters)
    method.on_fit_start(hand_driven_context(method, toy_dataset(), Recipe(), warn=lines.append))
    assert len(lines) == bool(said)
    assert said in "".join(lines)


def test_the_page_says_what_is_declared() -> None:
    assert_page_says_what_is_declared("ogm")
