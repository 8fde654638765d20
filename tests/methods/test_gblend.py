"""G-Blend: its weights against values by hand and what they promise, its phases, and what estimates leave untouched."""

from __future__ import annotations

import io
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
from torch import Tensor
from torch.nn import functional as F

from data.base import Dataset, Split
from methods import gblend
from methods.base import DivergedError, MethodError
from methods.gblend import GBlend, GBlendHyperparameters, blended_loss, gap_changes, gb_weights, needs_estimate, ogr
from sweep.training.loop import Training
from sweep.training.recipe import Recipe

VARIANTS = [
    # Of so few samples some overfitting is nearly 0 by chance, and its classifier would have all the weight.
    Variant("defaults", {"super_epoch": 1, "eps": 0.3}, path="online", epochs=1),
    Variant(
        "offline-of-three", {"mode": "offline", "fusion": "sum", "negative": "abs", "eps": 0.3}, 3, "offline", epochs=1
    ),
    Variant("fixed", {"fixed_weights": [0.3, 0.2, 0.5], "fusion": "gated"}, path="fixed", epochs_to_learn=8),
]

# Losses of three classifiers. Gains 0.5, 0.2 and -0.1; overfitting grows by 0.1, 0.2 and 0.5.
T0, V0 = torch.tensor([2.0, 2.0, 2.0]), torch.tensor([2.1, 2.0, 2.0])
T1, V1 = torch.tensor([1.4, 1.6, 1.6]), torch.tensor([1.6, 1.8, 2.1])
LOSSES = (T0, V0, T1, V1)

# Equations -----------------------------------------------------------------------------------------------------


def test_gains_and_overfitting_by_hand() -> None:
    gain, overfitting = gap_changes(*LOSSES)
    torch.testing.assert_close(gain, torch.tensor([0.5, 0.2, -0.1]))
    torch.testing.assert_close(overfitting, torch.tensor([0.1, 0.2, 0.5]))
    torch.testing.assert_close(ogr(*LOSSES), torch.tensor([0.2, 1.0, 5.0]))


def test_a_ratio_without_gain_is_infinite() -> None:
    one, two = torch.ones(1), torch.full((1,), 2.0)
    assert ogr(one, one, one, one).tolist() == [math.inf]
    assert ogr(two, one, one, one).tolist() == [math.inf]


def test_weights_by_hand() -> None:
    # 0.5 / 0.01 = 50, 0.2 / 0.04 = 5, 0.1 / 0.25 = 0.4
    torch.testing.assert_close(gb_weights(*LOSSES), torch.tensor([50 / 55, 5 / 55, 0.0]), rtol=1e-4, atol=1e-6)
    expected = torch.tensor([50 / 55.4, 5 / 55.4, 0.4 / 55.4])
    torch.testing.assert_close(gb_weights(*LOSSES, negative="abs"), expected, rtol=1e-4, atol=1e-6)
    # With 0.04 as the smallest square the first is 0.5 / 0.04 = 12.5.
    torch.testing.assert_close(gb_weights(*LOSSES, eps=0.04)[:2], torch.tensor([12.5, 5]) / 17.5, rtol=1e-4, atol=1e-6)


def test_weights_without_any_gain_are_equal() -> None:
    assert gb_weights(*[torch.ones(4)] * 4).tolist() == [0.25] * 4
    worse = [torch.ones(2), torch.ones(2), torch.ones(2), torch.full((2,), 2.0)]
    assert gb_weights(*worse).tolist() == [0.5, 0.5]


def test_what_cannot_be_weighed_is_refused() -> None:
    with pytest.raises(ValueError, match="'clip', nearest is 'clamp'"):
        gb_weights(*LOSSES, negative="clip")
    for wrong in (math.nan, math.inf):
        with pytest.raises(ValueError, match="finite"):
            gb_weights(T0, V0, T1, torch.tensor([1.0, wrong, 1.0]))
    with pytest.raises(ValueError, match="'onlin', nearest is 'online'"):
        needs_estimate(0, "onlin", 3)


losses_of_four = st.lists(st.tuples(*[st.floats(0.1, 3)] * 4), min_size=2, max_size=5)


@settings(max_examples=40, deadline=None)
@given(losses_of_four, st.sampled_from(["clamp", "abs"]))
def test_weights_are_shares_in_the_order_of_the_classifiers(rows: list[Any], negative: str) -> None:
    losses = torch.tensor(rows, dtype=torch.float64).T
    weights = gb_weights(*losses, negative=negative)
    assert (weights >= 0).all()
    assert float(weights.sum()) == pytest.approx(1)
    torch.testing.assert_close(gb_weights(*losses.flip(1), negative=negative), weights.flip(0))


def test_twice_the_gain_counts_double_and_twice_the_overfitting_a_quarter() -> None:
    def of(gain: float, overfitting: float) -> float:
        """The odds of a classifier beside one that gains 1 and overfits by 1."""
        before, after = torch.tensor([5.0, 5.0]), torch.tensor([5.0 - gain, 4.0])
        weights = gb_weights(before, before, after - torch.tensor([overfitting, 1.0]), after)
        return float(weights[0] / weights[1])

    assert of(1, 1) == pytest.approx(1)
    assert of(2, 1) == pytest.approx(2)
    assert of(1, 2) == pytest.approx(1 / 4)


def test_estimates_are_needed_once_or_again_and_again() -> None:
    assert [needs_estimate(epoch, "online", 3) for epoch in range(7)] == [True, False, False, True, False, False, True]
    assert [needs_estimate(epoch, "offline", 3) for epoch in range(4)] == [True, False, False, False]


def test_weights_get_no_gradient() -> None:
    losses, weights = torch.tensor([1.0, 2.0]).requires_grad_(), torch.tensor([0.2, 0.7]).requires_grad_()
    found = blended_loss(losses, weights)
    found.backward()
    assert float(found.detach()) == pytest.approx(1.6)
    assert losses.grad is not None
    torch.testing.assert_close(losses.grad, weights.detach())
    assert weights.grad is None


# Phases --------------------------------------------------------------------------------------------------------


def told(epochs: int, **hyperparameters: Any) -> list[tuple[Any, ...]]:
    phases = GBlend.phases_of(GBlendHyperparameters(**hyperparameters), ("a", "v"), epochs)
    return [(p.name, p.epochs, p.passes, p.budget, p.selectable_epochs, p.schedule_name) for p in phases]


def test_phases_online() -> None:
    found = told(7, super_epoch=5)
    assert found[:4] == [
        ("estimate a, epochs 1 to 5", 5, 0.5, False, 0, "training"),
        ("estimate v, epochs 1 to 5", 5, 0.5, False, 0, "training"),
        ("estimate multi, epochs 1 to 5", 5, 1.0, False, 0, "training"),
        ("training, epochs 1 to 5", 5, 1.0, True, 5, "training"),
    ]
    assert [row[:3] for row in found[4:]] == [
        ("estimate a, epochs 6 to 7", 2, 0.5),
        ("estimate v, epochs 6 to 7", 2, 0.5),
        ("estimate multi, epochs 6 to 7", 2, 1.0),
        ("training, epochs 6 to 7", 2, 1.0),
    ]
    assert told(9, super_epoch=1 / 3)[0][1] == 3


def test_phases_offline_and_without_estimates() -> None:
    found = told(6, mode="offline")
    assert [row[1:4] for row in found] == [(6, 0.5, False), (6, 0.5, False), (6, 1.0, False), (6, 1.0, True)]
    assert found[0][-1] == found[0][0]
    assert told(6, fixed_weights=[0.2, 0.3, 0.5]) == [("training", 6, 1.0, True, 6, "training")]


# Training ------------------------------------------------------------------------------------------------------


def weights_of(training: Training) -> dict[str, Tensor]:
    return {name: value for name, value in training.method.inference_state().items() if isinstance(value, Tensor)}


def test_with_the_joint_loss_alone_it_is_joint_training_bit_for_bit() -> None:
    runs = [toy_training("gblend", {"fixed_weights": [0.0, 0.0, 1.0]}), toy_training("joint")]
    for one, other in zip(*(run.epochs() for run in runs), strict=True):
        key = "validation_accuracy"
        assert (one.loss, one.metrics[key]) == (other.loss, other.metrics[key])
    found, expected = (weights_of(run) for run in runs)
    assert_same({name: found[name] for name in expected}, expected, "weights")


def test_estimates_leave_the_run_untouched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Offline the network is trained on all samples, so whatever was estimated it is the run with the same weights."""
    given = [0.3, 0.2, 0.5]
    monkeypatch.setattr(gblend, "gb_weights", lambda *losses: torch.tensor(given))
    recipe: dict[str, Any] = {"schedule": {"name": "cosine"}, "momentum": 0.9}
    estimated = toy_training("gblend", {"mode": "offline"}, epochs=2, **recipe)
    fixed = toy_training("gblend", {"fixed_weights": given}, epochs=2, **recipe)
    *aside, first, second = estimated.epochs()
    assert [record.selectable for record in aside] == [None] * 6
    for one, other in zip((first, second), fixed.epochs(), strict=True):
        assert (one.loss, one.metrics, one.learning_rate) == (other.loss, other.metrics, other.learning_rate)
    assert_same(weights_of(estimated), weights_of(fixed), "weights")
    assert not [name for name in weights_of(estimated) if "copied" in name or name in ("weights", "measured")]


def test_a_run_resumed_in_any_phase_is_the_same_run() -> None:
    def training(state: dict[str, Any] | None = None) -> Training:
        options: dict[str, Any] = {"schedule": {"name": "step", "every": 1.0}, "state": state}
        return toy_training("gblend", {"super_epoch": 1, "holdout": 0.2}, epochs=2, **options)

    whole, states = training(), []
    records = []
    for record in whole.epochs():
        records.append(record)
        states.append(io.BytesIO())
        torch.save(whole.state_dict(), states[-1])
        states[-1].seek(0)
    assert len(records) == 8
    for stop in range(1, 8):
        resumed = training(torch.load(states[stop - 1], weights_only=True))
        for one, other in zip(resumed.epochs(), records[stop:], strict=True):
            assert_same(
                (one.loss, one.metrics, one.diagnostics), (other.loss, other.metrics, other.diagnostics), one.phase
            )
        assert_same(resumed.state_dict()["method"], whole.state_dict()["method"], f"resumed after epoch {stop}")


def test_what_is_measured_is_the_mean_loss_of_the_copy() -> None:
    dataset = toy_dataset()
    method = toy_method("gblend", dataset, {"super_epoch": 2, "holdout": 0.2})
    assert isinstance(method, GBlend)
    assert method.copied is not None
    assert method.diagnostics() == {}
    context = hand_driven_context(method, dataset, Recipe(batch_size=16, lr=0.1))
    held = context.held_out
    others = torch.tensor([k for k in range(45) if k not in held.tolist()])
    for position, name in enumerate(("audio", "video", "multi")):
        move_to(context, method, 1 + 2 * position)
        assert context.phase.info == name
        method.on_phase_start(context)
        for batch in context.training_batches(method.sampler(context), False):
            assert not torch.isin(batch.index, held).any()
            method.training_step(batch, context)
        context.phase_epoch = 2
        method.on_epoch_end(context)
        method.eval()
        for row, index in ((0, others), (1, held)):
            batch = dataset.train.gather(index)
            logits = {"multi": method.predict(batch)["multi"], **method.predict(batch)}[name]
            assert float(method.measured[row, position]) == pytest.approx(float(F.cross_entropy(logits, batch.labels)))
            trained = F.cross_entropy(method.copied.logits(name, batch), batch.labels)
            assert float(method.measured[row + 2, position]) == pytest.approx(float(trained.detach()))
        assert float(method.measured[2, position]) < float(method.measured[0, position])
    move_to(context, method, 7)
    method.on_phase_start(context)
    torch.testing.assert_close(method.weights, gb_weights(*method.measured).float())
    found = method.diagnostics()
    gain, overfitting = gap_changes(*method.measured)
    assert found["gain_video"] == pytest.approx(float(gain[1]))
    assert found["overfitting_multi"] == pytest.approx(float(overfitting[2]))
    assert found["weight_audio"] == pytest.approx(float(method.weights[0]))
    # Online, what is held out stays out.
    assert sorted(method.sampler(context).tolist()) == others.tolist()
    # What one estimate found is told until the next one has ended.
    move_to(context, method, 1)
    method.on_phase_start(context)
    assert method.diagnostics() == found


def test_noise_weighs_less_than_what_tells_the_classes_apart() -> None:
    clear = toy_dataset()
    draw = torch.Generator().manual_seed(1)

    def noisy(split: Split) -> Split:
        whole = split.gather(torch.arange(len(split)))
        return Split({**whole.inputs, "video": torch.randn(len(split), 7, generator=draw)}, whole.labels)

    dataset = Dataset(
        "noisy", clear.modalities, clear.classes, noisy(clear.train), noisy(clear.validation), noisy(clear.test)
    )
    method = toy_method("gblend", dataset, {"holdout": 0.3}, 4)
    *_, last = Training(method, dataset, Recipe(batch_size=16, lr=0.1), seed=0).epochs()
    assert last.diagnostics["weight_audio"] > 3 * last.diagnostics["weight_video"]


def test_losses_that_are_not_finite_end_the_run() -> None:
    dataset = toy_dataset()
    method = toy_method("gblend", dataset)
    assert isinstance(method, GBlend)
    context = hand_driven_context(method, dataset, Recipe(batch_size=16), epoch=13)
    assert context.phase.budget
    method.measured[1, 1] = math.inf
    with pytest.raises(DivergedError, match="classifier whose weight is estimated"):
        method.on_phase_start(context)


# What is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hyperparameters", "modalities", "reason"),
    [
        ({"fusion": "channel"}, 2, "needs each on its own"),
        ({"fusion": "etmc"}, 2, "loss of its own"),
        ({"fusion": "late"}, 2, "late_train: joint"),
        ({"unimodal_source": "zero"}, 2, "a head of its own"),
        ({"aux_detach": True}, 2, "aux_detach at false"),
        ({"fixed_weights": [0.5, 0.5]}, 2, r"one for each of a, b, multi, not all 0; got \[0.5, 0.5\]"),
        ({"fixed_weights": [0.0, 0.0, 0.0]}, 2, "not all 0"),
        ({}, 1, "at least 2"),
    ],
)
def test_what_is_not_defined_is_refused(hyperparameters: dict[str, Any], modalities: int, reason: str) -> None:
    with pytest.raises(MethodError, match=reason):
        GBlend.check(GBlendHyperparameters(**hyperparameters), tuple("abc"[:modalities]))


def test_values_outside_the_bounds_are_refused() -> None:
    for wrong in (
        {"super_epoch": 0.0},
        {"super_epoch": 1.5},
        {"holdout": 0.6},
        {"fixed_weights": [-0.1, 1.0, 0.1]},
        {"mode": "on"},
    ):
        with pytest.raises(ValidationError, match=next(iter(wrong))):
            GBlendHyperparameters(**wrong)


def test_the_page_says_what_is_declared() -> None:
    assert_page_says_what_is_declared("gblend")
