"""DOMFN: which samples are fused, what each of them trains, and who predicts."""

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

from methods.base import MethodError
from methods.domfn import (
    DOMFN,
    DOMFNHyperparameters,
    amended_loss,
    domfn_loss,
    fuse_gate,
    penalties,
    select_prediction,
)
from models import encoders
from sweep.training.context import TrainingContext
from sweep.training.recipe import Recipe

FAST = {"ft_lr_ratio": 0.5, "multi_lr_ratio": 1.0}
VARIANTS = [
    Variant("defaults", FAST, epochs_to_learn=14, path="gated"),
    Variant("mean-of-three", {**FAST, "ref": "mean", "closed": "ce", "fusion": "mean", "gamma": 0.3}, modalities=3),
    Variant("squashed", {**FAST, "activation": "sigmoid", "fusion": "max", "pretrain_epochs": 0.5},
            epochs_to_learn=14, path="gated"),
]  # fmt: skip

# Equations -----------------------------------------------------------------------------------------------------

FIRST, SECOND, FUSED = torch.tensor([[0.9, 0.1]]), torch.tensor([[0.3, 0.7]]), torch.tensor([[0.5, 0.5]])


def test_penalties_by_hand() -> None:
    assert penalties([FIRST, SECOND], FUSED).flatten().tolist() == pytest.approx([0.16, 0.04])
    assert penalties([FIRST, SECOND], None, "mean").flatten().tolist() == pytest.approx([0.09, 0.09])
    with pytest.raises(ValueError, match="are needed"):
        penalties([FIRST], None)
    with pytest.raises(ValueError, match="no ref called 'means', nearest is 'mean'"):
        penalties([FIRST], FUSED, "means")


def test_gates_are_strict_and_of_all_modalities() -> None:
    penalty = torch.tensor([[0.25, 0.1, 0.1], [0.1, 0.125, 0.1]])
    assert fuse_gate(penalty, 0.5, 0.25).tolist() == [False, False, True]
    assert fuse_gate(penalty, 1.0, 1.0).tolist() == [True, True, True]
    assert fuse_gate(torch.zeros(2, 1), 1.0, 0.0).tolist() == [False]


def test_amended_losses_by_hand() -> None:
    found = amended_loss(torch.tensor([[2.0], [1.0]]), torch.tensor([[0.5], [0.0]]), 0.5)
    assert found.tolist() == [[1.75], [0.5]]


def test_selected_rows() -> None:
    first, second = torch.tensor([[0.9, 0.1]] * 3), torch.tensor([[0.1, 0.9], [0.05, 0.95], [0.4, 0.6]])
    fused = torch.full((3, 2), 0.5)
    closed = select_prediction([first, second], fused, torch.tensor([False] * 3))
    assert torch.equal(closed, torch.stack([first[0], second[1], first[2]]))  # the first of equals
    mixed = select_prediction([first, second], fused, torch.tensor([True, False, True]))
    assert torch.equal(mixed, torch.stack([fused[0], second[1], fused[2]]))


def test_the_loss_by_hand() -> None:
    one, other, fused = (torch.tensor([[math.log(p / (1 - p)), 0.0]]) for p in (0.8, 0.6, 0.7))
    target = torch.tensor([0])
    l1, l2, l3 = (-math.log(p) for p in (0.8, 0.6, 0.7))
    amended = (l1**2 + l2**2) / 2 - 0.5 * (0.01 + 0.01)
    loss, gate = domfn_loss([one, other], fused, target)
    assert loss.item() == pytest.approx(amended + l1 + l2 + l3, rel=1e-5)
    assert gate.tolist() == [True]
    loss, gate = domfn_loss([one, other], fused, target, gamma=0.02)
    assert loss.item() == pytest.approx(amended, rel=1e-5)
    assert gate.tolist() == [False]
    loss, _ = domfn_loss([one, other], fused, target, gamma=0.0, closed="ce")
    assert loss.item() == pytest.approx(l1 + l2, rel=1e-5)
    for wrong in ({"closed": "open"}, {"activation": "tanh"}, {"ref": "max"}):
        with pytest.raises(ValueError, match="there are"):
            domfn_loss([one, other], fused, target, **wrong)  # type: ignore[arg-type]


def test_equal_predictions_are_fused() -> None:
    z, target = torch.tensor([[1.0, 0.0, -1.0]]), torch.tensor([2])
    ce = F.cross_entropy(z, target)
    loss, gate = domfn_loss([z, z], z, target, gamma=1e-6)
    assert gate.item()
    torch.testing.assert_close(loss, 2 * (ce**2 / 2 + ce) + ce)
    sigmoid, _ = domfn_loss([z, z], z, target, activation="sigmoid")
    ce = F.cross_entropy(z.sigmoid(), target)
    torch.testing.assert_close(sigmoid, 2 * (ce**2 / 2 + ce) + ce)


logits = st.integers(0, 2**31).map(lambda seed: 3 * torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(seed)))


@settings(max_examples=25, deadline=None)
@given(
    logits, st.sampled_from([0.05, 0.3, 0.8]), st.sampled_from(["multi", "mean"]), st.sampled_from(["amended", "ce"])
)
def test_samples_are_gated_singly_and_closed_ones_leave_the_fused_head(
    drawn: Tensor, gamma: float, ref: str, closed: str
) -> None:
    one, other, fused = drawn.clone().requires_grad_()
    target = torch.tensor([0, 1, 2, 3, 0])
    loss, gate = domfn_loss([one, other], fused, target, gamma=gamma, ref=ref, closed=closed)
    singly = [
        domfn_loss([one[i : i + 1], other[i : i + 1]], fused[i : i + 1], target[i : i + 1], gamma=gamma, ref=ref,
                   closed=closed)
        for i in range(5)
    ]  # fmt: skip
    torch.testing.assert_close(loss, torch.stack([each for each, _ in singly]).mean())
    assert gate.tolist() == [bool(each) for _, each in singly]
    gradients = torch.autograd.grad(loss, [one, other, fused])
    assert torch.equal(gradients[2].abs().sum(1) > 0, gate)
    # A closed sample's encoders learn of their own loss alone.
    for z, gradient in zip((one, other), gradients, strict=False):
        reference = (fused.softmax(-1) if ref == "multi" else torch.stack([one, other]).softmax(-1).mean(0)).detach()
        ce = F.cross_entropy(z, target, reduction="none")
        own = amended_loss(ce, (z.softmax(-1) - reference).square().amax(-1), 0.5) if closed == "amended" else ce
        (expected,) = torch.autograd.grad(own.sum() / 5, [z], retain_graph=True)
        torch.testing.assert_close(gradient[~gate], expected[~gate])


# Method --------------------------------------------------------------------------------------------------------


def driven(epoch: int = 4, **hyperparameters: Any) -> tuple[DOMFN, TrainingContext]:
    method = toy_method("domfn", toy_dataset(), hyperparameters)
    assert isinstance(method, DOMFN)
    context = hand_driven_context(method, toy_dataset(), Recipe(lr=0.05, batch_size=16), epoch=epoch)
    method.on_phase_start(context)
    return method, context


def test_in_pretraining_modalities_learn_alone_and_predict_alone() -> None:
    training = toy_training("domfn", {"pretrain_epochs": 2}, epochs=5)
    records = list(training.epochs())
    assert [r.phase for r in records] == ["pretraining"] * 2 + ["fusion"] * 3
    assert [r.selectable for r in records] == [None, None, 1, 2, 3]
    assert "open" not in records[1].diagnostics
    assert 0 <= records[2].diagnostics["open"] <= 1
    rates = [{k: v for k, v in r.diagnostics.items() if k.startswith("learning_rate")} for r in records]
    assert rates[0] == pytest.approx({"learning_rate_audio": 0.05, "learning_rate_video": 0.05})
    assert rates[4]["learning_rate_audio"] == pytest.approx(0.05 * 0.05)
    assert rates[4]["learning_rate_multi"] == pytest.approx(0.05 * 0.1)
    method, context = driven(epoch=1, gamma=1e9)
    batch = toy_dataset().validation.gather(torch.arange(9))
    predicted = method.predict(batch)
    own = [predicted["audio"], predicted["video"]]
    assert all(any(torch.equal(row, z[i]) for z in own) for i, row in enumerate(predicted["multi"]))
    outputs = method(batch)
    expected = sum(F.cross_entropy(z, batch.labels) for z in outputs.unimodal_logits)
    torch.testing.assert_close(method.loss(outputs, batch, context), expected)


@pytest.mark.parametrize(("gamma", "opened"), [(1e9, True), (0.0, False)])
def test_gates_that_are_always_open_or_always_closed(gamma: float, opened: bool) -> None:
    method, context = driven(gamma=gamma)
    batch = next(context.training_batches(torch.arange(16), drop_last=False))
    method.training_step(batch, context)
    for parameter in method.fused_head.parameters():
        assert parameter.grad is not None
        assert bool(parameter.grad.abs().sum() > 0) is opened
    assert context.logged() == {"open": float(opened)}


@pytest.mark.parametrize("how", ["concat", "mean", "max"])
def test_predictions_are_rows_of_the_fused_head_or_of_a_modality(how: str) -> None:
    method, _ = driven(gamma=0.02, fusion=how)
    batch = toy_dataset().validation.gather(torch.arange(21))
    predicted, features = method.predict(batch), method.encode(batch)
    joined = {"concat": torch.cat(features, 1), "mean": (features[0] + features[1]) / 2, "max": torch.max(*features)}
    fused = method.fused_head(joined[how])
    own = [predicted["audio"], predicted["video"]]
    probs = [z.softmax(-1) for z in own]
    gate = fuse_gate(penalties(probs, fused.softmax(-1)), 0.5, 0.02)
    assert 0 < gate.sum() < 21
    torch.testing.assert_close(predicted["multi"].softmax(-1), select_prediction(probs, fused.softmax(-1), gate))


def test_an_absent_modality_neither_closes_the_gate_nor_votes() -> None:
    method, _ = driven(gamma=0.0)
    batch = toy_dataset().validation.gather(torch.arange(9))
    assert torch.equal(method.predict(batch, ["video"])["multi"], method.predict(batch)["video"])
    method, _ = driven(gamma=0.01, ref="mean")  # alone, a modality is its own reference
    fused = method.fused_logits(method.present_features(batch, ["video"]))
    assert torch.equal(method.predict(batch, ["video"])["multi"], fused)


def test_pretraining_is_half_of_the_budget_at_most_and_notes_are_made() -> None:
    phases = DOMFN.phases_of(DOMFNHyperparameters(pretrain_epochs=9), ("a", "b"), 10)
    assert [(phase.epochs, phase.optimizer_name) for phase in phases] == [(5, "run"), (5, "run")]
    said: list[str] = []
    for modalities, options in ((2, {"pretrain_epochs": 3}), (3, {}), (2, {})):
        method = toy_method("domfn", toy_dataset(modalities), options)
        method.on_fit_start(hand_driven_context(method, toy_dataset(modalities), Recipe(), warn=said.append))
    assert len(said) == 2
    assert "only half of the budget, 2, are made" in said[0]
    assert "the paper has two modalities" in said[1]


def test_what_is_refused() -> None:
    with pytest.raises(MethodError, match="domfn needs at least 2 modalities"):
        DOMFN.check(DOMFNHyperparameters(), ("a",))
    build = encoders.build
    unequal = {m: build(encoders.resolve({"name": "mlp", "width": w}), (3,)) for m, w in (("a", 4), ("b", 6))}
    DOMFN(unequal, 2, DOMFNHyperparameters(), 10)
    with pytest.raises(MethodError, match="needs encoders of one width; they have a 4, b 6"):
        DOMFN(unequal, 2, DOMFNHyperparameters(fusion="max"), 10)


def test_the_page_says_what_is_declared() -> None:
    assert_page_says_what_is_declared("domfn")
