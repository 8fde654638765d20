"""ReconBoost: whose turn it is, what the others take away, and who is in the ensemble."""

from __future__ import annotations

import copy
import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.method_pages import assert_page_says_what_is_declared
from support.method_variants import Variant
from support.toy_dataset import toy_dataset, toy_method, toy_training
from torch import Tensor
from torch.nn import functional as F

from methods.base import MethodError, Phase
from methods.reconboost import (
    ReconBoost,
    ReconBoostHyperparameters,
    boosting_loss,
    ensemble_logits,
    memory_loss,
    pseudo_residual,
    stage_plan,
)
from methods.reconboost.turns import phases, stages
from models import encoders
from sweep.training.loop import Training

VARIANTS = [
    Variant("defaults", epochs=5, epochs_to_learn=12),
    Variant("pretrained", {"use_pretrain": True, "pretrain_epochs": 1.0, "epochs_boost": 2}, epochs=4),
    Variant("three", {"shared_head": False, "epochs_rectify": 0, "alpha": 0.0}, modalities=3, epochs_to_learn=12),
]

# Equations -----------------------------------------------------------------------------------------------------


def test_ensembles_by_hand() -> None:
    logits = [torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, -1.0]]), torch.tensor([[0.5, 0.0]])]
    assert ensemble_logits(logits).tolist() == [[4.5, 1.0]]
    assert ensemble_logits(logits, 2.0, exclude=1).tolist() == [[3.0, 4.0]]
    assert ensemble_logits(logits[:1], 2.0, exclude=0).tolist() == [[0.0, 0.0]]
    rate = torch.tensor(2.0, requires_grad=True)
    ensemble_logits(logits, rate).sum().backward()
    assert rate.grad is not None
    assert rate.grad.item() == 5.5


def test_the_boosting_loss_by_hand() -> None:
    log3 = math.log(3.0)
    logits, labels = torch.tensor([[log3, 0.0], [log3, 0.0]]), torch.tensor([0, 1])  # p = (3/4, 1/4)
    sure = torch.tensor([[1e3, 0.0], [1e3, 0.0]])  # the others know the first, and miss the second
    own = [-math.log(0.75), -math.log(0.25)]
    weighted = (4 * own[0] + 5 * own[1]) / 2
    assert boosting_loss(logits, sure, labels, class_mean=False).item() == pytest.approx(weighted)
    assert boosting_loss(logits, sure, labels).item() == pytest.approx(weighted / 2)
    assert boosting_loss(logits, None, labels, form="kl").item() == pytest.approx(5 * sum(own) / 4)
    # q = (1, 0): the divergence is -log p of the first class, and q = 0 counts 0.
    kl = (5 * own[0] - own[0] + 5 * own[1] - own[0]) / 2
    assert boosting_loss(logits, sure, labels, form="kl", class_mean=False).item() == pytest.approx(kl)
    plain = boosting_loss(logits, sure, labels, 1.0, 0.0, class_mean=False)
    torch.testing.assert_close(plain, F.cross_entropy(logits, labels))
    with pytest.raises(ValueError, match="no form called 'targets', nearest is 'target'"):
        boosting_loss(logits, None, labels, form="targets")


def test_learners_alone_receive_gradients() -> None:
    z, other = (torch.randn(3, 4, generator=torch.Generator().manual_seed(k)).requires_grad_() for k in (0, 1))
    for loss in (boosting_loss(z, other, torch.tensor([0, 1, 2]), form="kl"), memory_loss(z, other)):
        own, rest = torch.autograd.grad(loss, [z, other], allow_unused=True)
        assert own.abs().sum() > 0
        assert rest is None


def test_the_distance_to_the_learner_before_by_hand() -> None:
    one, other = torch.tensor([[math.log(3.0), 0.0]]), torch.zeros(1, 2)
    assert memory_loss(one, other).item() == pytest.approx(0.0625)
    assert memory_loss(one, one + 3).item() == pytest.approx(0.0, abs=1e-12)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), st.floats(0, 2))
def test_the_residual_is_the_gradient_of_form_kl(seed: int, lam: float) -> None:
    random = torch.Generator().manual_seed(seed)
    z, rest = (torch.randn(3, 4, generator=random, dtype=torch.float64) for _ in range(2))
    z.requires_grad_()
    labels = torch.tensor([0, 3, 1])
    loss = 3 * boosting_loss(z, rest, labels, 1.0, lam, form="kl", class_mean=False)
    (gradient,) = torch.autograd.grad(loss, [z])
    torch.testing.assert_close(-gradient, pseudo_residual(rest, labels, lam) - (1 - lam) * z.detach().softmax(-1))


def test_turns_go_round() -> None:
    assert [stage_plan(stage, 3) for stage in range(5)] == [(0, None), (1, 0), (2, 1), (0, 2), (1, 0)]
    with pytest.raises(ValueError, match="stages count from 0, got -1"):
        stage_plan(-1, 2)


# Phases --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("epochs", "boost", "rectify", "lengths"),
    [
        (4, 1, 1, [(1, 1), (1, 1)]),
        (5, 1, 1, [(1, 1), (1, 1), (0, 1)]),
        (10, 4, 4, [(4, 4), (1, 1)]),
        (14, 4, 4, [(4, 4), (4, 2)]),
        (7, 2, 0, [(2, 0), (2, 0), (2, 0), (1, 0)]),
        (1, 4, 4, [(0, 1)]),
    ],
)
def test_a_budget_is_cut_into_stages(epochs: int, boost: int, rectify: int, lengths: list[tuple[int, int]]) -> None:
    assert list(stages(epochs, boost, rectify)) == lengths
    assert sum(map(sum, lengths)) == epochs


def test_phases_of_three_modalities() -> None:
    def told(phase: Phase) -> tuple[Any, ...]:
        return phase.name, tuple(phase.groups or ()), phase.selectable, round(phase.passes, 3)

    found = phases(ReconBoostHyperparameters(), ("a", "b", "c"), 8)
    assert [told(phase) for phase in found] == [
        ("boost 0 a", ("a", "head"), "none", 0.333),
        ("rectify 0 a", ("a", "head", "boost_rate"), "none", 0.333),
        ("boost 1 b", ("b", "head"), "none", 0.667),
        ("rectify 1 b", ("a", "b", "head", "boost_rate"), "none", 0.667),
        ("boost 2 c", ("c", "head"), "none", 1.0),
        ("rectify 2 c", ("a", "b", "c", "head", "boost_rate"), "last", 1.0),
        ("boost 3 a", ("a", "head"), "none", 1.0),
        ("rectify 3 a", ("a", "b", "c", "head", "boost_rate"), "last", 1.0),
    ]
    assert {phase.schedule_name for phase in found} == {"run"}
    assert len({phase.optimizer_name for phase in found}) == len(found)
    first, *_, last = phases(ReconBoostHyperparameters(use_pretrain=True, epochs_rectify=0), ("a", "b"), 10)
    assert (first.name, first.epochs, first.budget, first.groups) == ("pretrain a", 10, False, {"a": 1, "a alone": 1})
    assert [phase.selectable for phase in phases(ReconBoostHyperparameters(), ("a", "b"), 2)] == ["none", "last"]
    assert last.epochs == 0


# Method --------------------------------------------------------------------------------------------------------


def trained(epochs: int = 4, modalities: int = 2, **hyperparameters: Any) -> tuple[Training, list[Any], list[Any]]:
    """Train on the toy dataset; give the training, its records, and the method's state after each epoch."""
    training = toy_training("reconboost", hyperparameters, epochs=epochs, modalities=modalities, samples=48)
    records, states = [], []
    for record in training.epochs():
        records.append(record)
        states.append(copy.deepcopy(training.method.state_dict()))
    return training, records, states


def changed(before: dict[str, Any], after: dict[str, Any]) -> set[str]:
    names = {
        name for name, value in after.items() if isinstance(value, Tensor) and not torch.equal(value, before[name])
    }
    return {
        ".".join(name.split(".")[:2]) if name.startswith(("encoders", "heads")) else name.split(".")[0]
        for name in names
    }


def test_in_a_turn_no_other_encoder_changes_and_together_all_do() -> None:
    _, records, states = trained(6, epochs_boost=1)
    assert [r.phase for r in records] == [
        f"{part} {stage} {m}" for stage, m in enumerate(("audio", "video", "audio")) for part in ("boost", "rectify")
    ]
    assert [r.selectable for r in records] == [None, None, None, 1, None, 2]
    assert [r.forward_passes for r in records] == [24, 48, 96, 144, 192, 240]
    both = {"encoders.audio", "encoders.video"}
    steps = [changed(one, other) for one, other in pairwise(states)]
    assert steps[0] == {"encoders.audio", "shared_head", "boost_rate"}
    assert steps[1] == {"encoders.video", "shared_head", "members"}
    assert steps[2] == {*both, "shared_head", "boost_rate"}
    assert steps[3] == {"encoders.audio", "shared_head"}
    assert [state["members"].tolist() for state in states[:3]] == [[True, False], [True, False], [True, True]]
    assert ["memory" in r.diagnostics for r in records] == [False, False, True, False, True, False]
    assert 0 < records[2].diagnostics["known_to_others"] < 1
    assert records[2].diagnostics["modality"] == records[2].diagnostics["stage"] == 1


def test_in_its_turn_a_learner_has_the_boosting_loss() -> None:
    training = toy_training("reconboost", {"alpha": 2.0, "weight_recon": 3.0}, epochs=4)
    epochs, method, context = training.epochs(), training.method, training._context
    assert isinstance(method, ReconBoost)
    for _ in range(2):
        next(epochs)
    context.begin_epoch(3)
    batch = next(context.training_batches(torch.arange(16), drop_last=False))
    outputs = method.training_outputs(batch, context)
    logits = method.predict(batch)
    torch.testing.assert_close(outputs.logits, logits["video"])
    expected = boosting_loss(logits["video"], method.boost_rate * logits["audio"], batch.labels, 5.0, 3.0)
    torch.testing.assert_close(
        method.loss(outputs, batch, context), expected + 2 * memory_loss(logits["video"], logits["audio"])
    )
    known = (method.boost_rate * logits["audio"]).softmax(1)[torch.arange(16), batch.labels].mean()
    memory = memory_loss(logits["video"], logits["audio"])
    assert context.logged() == pytest.approx({"known_to_others": known.item(), "memory": memory.item()})
    assert not outputs.unimodal_logits[0].requires_grad
    context.begin_epoch(4)
    outputs = method.training_outputs(batch, context)
    fused = method.boost_rate * (logits["audio"] + logits["video"])
    torch.testing.assert_close(method.loss(outputs, batch, context), F.cross_entropy(fused, batch.labels))
    torch.testing.assert_close(logits["multi"], fused)


def test_pretrained_learners_take_the_shared_head_in_their_first_turn() -> None:
    training, records, states = trained(2, use_pretrain=True, pretrain_epochs=3.0)
    method, batch = training.method, toy_dataset(train=48).validation.gather(torch.arange(21))
    assert isinstance(method, ReconBoost)
    assert [r.phase for r in records][::3] == ["pretrain audio", "pretrain video", "boost 0 audio"]
    assert [r.forward_passes for r in records[:7]] == [24, 48, 72, 96, 120, 144, 192]
    assert ["stage" in r.diagnostics for r in records] == [False] * 6 + [True] * 2
    for m, own in (("audio", records[:3]), ("video", records[3:6])):
        best = max(r.metrics[f"validation_accuracy_{m}"] for r in own)
        method.load_state_dict(states[5])
        found = method.predict(batch)[m].argmax(-1) == batch.labels
        assert found.double().mean().item() == best
    assert changed(states[5], states[6]) == {"encoders.audio", "shared_head", "sharing"}
    assert changed(states[6], states[7]) == {"encoders.audio", "encoders.video", "shared_head", "boost_rate"}
    assert states[6]["members"].tolist() == [True, True]
    assert states[6]["sharing"].tolist() == [True, False]
    method.load_state_dict(states[7])
    with torch.no_grad():
        features = method.encode(batch)
        torch.testing.assert_close(method.predict(batch)["audio"], method.shared_head(features[0]))  # type: ignore[misc]
        torch.testing.assert_close(method.predict(batch)["video"], method.heads["video"](features[1]))


def test_with_heads_of_their_own_learners_are_trained_with_these() -> None:
    _, records, states = trained(2, shared_head=False, use_pretrain=True, pretrain_epochs=1.0)
    assert [r.phase for r in records] == ["pretrain audio", "pretrain video", "boost 0 audio", "rectify 0 audio"]
    assert changed(states[1], states[2]) == {"encoders.audio", "heads.audio"}
    assert changed(states[2], states[3]) == {
        f"{part}.{m}" for part in ("encoders", "heads") for m in ("audio", "video")
    } | {"boost_rate"}


def test_rates_of_the_parts_follow_the_schedule_of_the_run() -> None:
    options = {"boost_lr_ratio": 0.5, "rectify_lr_ratio": 2.0}
    training = toy_training("reconboost", options, epochs=4, schedule={"name": "step", "every": 2.0})
    found = [r.diagnostics["learning_rate_head"] for r in training.epochs()]
    assert found == pytest.approx([0.025, 0.1, 0.0025, 0.01])


def test_absent_modalities_and_those_without_a_turn_have_no_part_in_the_sum() -> None:
    method, batch = toy_method("reconboost", toy_dataset()), toy_dataset().validation.gather(torch.arange(5))
    assert isinstance(method, ReconBoost)
    predicted = method.predict(batch)
    assert torch.equal(method.predict(batch, ["video"])["multi"], predicted["video"])
    method.members[1] = False
    assert torch.equal(method.predict(batch)["multi"], predicted["audio"])
    assert not method.predict(batch, ["video"])["multi"].any()


def test_a_shared_head_needs_features_of_one_width() -> None:
    build = encoders.build
    unequal = {m: build(encoders.resolve({"name": "mlp", "width": w}), (3,)) for m, w in (("a", 4), ("b", 6))}
    with pytest.raises(MethodError, match="one width, they have a 4, b 6; use shared_head: false"):
        ReconBoost(unequal, 2, ReconBoostHyperparameters(), 10)
    ReconBoost(unequal, 2, ReconBoostHyperparameters(shared_head=False), 10)


def test_the_page_says_what_is_declared() -> None:
    assert_page_says_what_is_declared("reconboost")
