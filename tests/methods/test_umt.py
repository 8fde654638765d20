"""UMT and UME: distances to the teachers, who is trained when, and which model predicts."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from support.method_pages import assert_page_says_what_is_declared
from support.method_variants import Variant
from support.toy_dataset import toy_dataset, toy_method, toy_training
from torch import Tensor
from torch.nn import functional as F

from methods.base import MethodError
from methods.umt import UMT, UMTHyperparameters, choose_branch, feature_distill_loss, ume_probs, umt_loss
from methods.umt.equations import accuracy, fitted_linear
from methods.umt.method import ENSEMBLE, STUDYING, TEACHING
from sweep.training.loop import Training

VARIANTS = [
    Variant("defaults", {"teacher_epochs": 2.0}),
    Variant("undistilled", {"lam": 0.0}, epochs=2),
    Variant("pool-of-three", {"variant": "ume", "teacher_epochs": 4.0}, modalities=3, epochs=2),
    Variant("tested", {"variant": "auto", "teacher_epochs": 3.0, "init_from_teacher": True}, epochs=2),
]

# Equations -----------------------------------------------------------------------------------------------------


def test_the_distance_by_hand() -> None:
    student = [torch.tensor([[1.0, 2.0]], requires_grad=True), torch.tensor([[0.0]], requires_grad=True)]
    teacher = [torch.tensor([[0.0, 4.0]], requires_grad=True), torch.tensor([[3.0]], requires_grad=True)]
    loss = feature_distill_loss(student, teacher)
    assert loss.item() == 2.5 + 9
    loss.backward()
    assert [s.grad.tolist() for s in student] == [[[1.0, -2.0]], [[-6.0]]]  # type: ignore[union-attr]
    assert all(t.grad is None for t in teacher)
    assert feature_distill_loss([student[0].bfloat16()], teacher[:1]).dtype == torch.float32
    with pytest.raises(ValueError, match=r"same shapes, got \[\(1, 2\)\] and \[\(1, 1\)\]"):
        feature_distill_loss(student[:1], teacher[1:])
    with pytest.raises(ValueError, match="same shapes"):
        feature_distill_loss(student, teacher[:1])


def test_the_loss_of_a_student() -> None:
    logits, target = torch.tensor([[0.0, 0.0], [2.0, 0.0]]), torch.tensor([0, 1])
    plain = (math.log(2) + math.log1p(math.exp(2))) / 2
    far, near = [torch.ones(2, 3)], [torch.zeros(2, 3)]
    assert umt_loss(logits, target, far, near, 0.5).item() == pytest.approx(plain + 0.5)
    assert umt_loss(logits, target, far, near).item() == pytest.approx(plain + 10)
    assert umt_loss(logits, target, far, far).item() == pytest.approx(plain)
    assert umt_loss(logits, target, None, None, 0.0).item() == pytest.approx(plain)
    with pytest.raises(ValueError, match="are needed"):
        umt_loss(logits, target, far, None)


def test_probabilities_of_an_ensemble() -> None:
    logits = [torch.tensor([[math.log(3.0), 0.0]]), torch.tensor([[0.0, 0.0]])]
    assert ume_probs(logits)[0].tolist() == pytest.approx([0.625, 0.375])
    assert ume_probs(logits, [3.0, 1.0])[0].tolist() == pytest.approx([0.6875, 0.3125])
    assert ume_probs(logits, torch.tensor([0, 2]))[0].tolist() == [0.5, 0.5]
    for wrong in ([0.0, 0.0], [1.0, -1.0], [1.0], [1.0, 1.0, 1.0]):
        with pytest.raises(ValueError, match="weights"):
            ume_probs(logits, wrong)


def test_the_better_one_is_chosen() -> None:
    assert choose_branch(0.7, 0.6) == "umt"
    assert choose_branch(0.6, 0.6) == choose_branch(0.5, 0.6) == "ume"


def test_a_linear_classifier_finds_what_separates() -> None:
    features = torch.tensor([[0.0, 1.0], [1.0, 0.0], [0.0, 3.0], [4.0, 0.0]])
    labels = torch.tensor([1, 0, 1, 0])
    layer = fitted_linear(features, labels, 2)
    assert F.cross_entropy(layer(features), labels).item() < 1e-3
    assert accuracy(layer(features), labels) == 1
    assert accuracy(layer(features), torch.tensor([1, 0, 0, 1])) == 0.5


# Method --------------------------------------------------------------------------------------------------------


def trained(epochs: int = 3, modalities: int = 2, **hyperparameters: Any) -> tuple[Training, list[Any], list[Any]]:
    """Train on the toy dataset; give the training, its records, and the method's state after each epoch."""
    training = toy_training("umt", hyperparameters, epochs=epochs, modalities=modalities, samples=48)
    records, states = [], []
    for record in training.epochs():
        records.append(record)
        states.append(copy.deepcopy(training.method.state_dict()))
    return training, records, states


def part(state: dict[str, Any], prefix: str) -> dict[str, Tensor]:
    return {name: value for name, value in state.items() if name.startswith(prefix)}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(value, other[name]) for name, value in one.items())


def test_teachers_are_trained_one_by_one_and_then_rest() -> None:
    training, records, states = trained(teacher_epochs=2.0)
    assert [r.phase for r in records] == ["teacher audio"] * 2 + ["teacher video"] * 2 + ["student"] * 3
    assert [r.selectable for r in records] == [None] * 4 + [1, 2, 3]
    # Half a forward pass a sample of a teacher, two of a student.
    assert [r.forward_passes for r in records] == [24, 48, 72, 96, 192, 288, 384]
    assert same(part(states[0], "teachers.video"), part(states[1], "teachers.video"))
    assert same(part(states[1], "teachers.audio"), part(states[6], "teachers.audio"))
    assert same(part(states[3], "teachers."), part(states[6], "teachers."))
    for prefix in ("encoders.", "fusion."):
        assert same(part(states[0], prefix), part(states[3], prefix))
        assert not same(part(states[3], prefix), part(states[6], prefix))
    assert [int(state["stage"]) for state in states] == [TEACHING] * 4 + [STUDYING] * 3
    assert {"teacher_accuracy_audio", "probe_accuracy_video", "distance_video"} <= set(records[-1].diagnostics)
    names = list(training.method.inference_state())
    assert not [name for name in names if name.startswith(("teachers", "_extra"))]
    method, batch = training.method.eval(), toy_dataset(train=48).validation.gather(torch.arange(21))
    assert isinstance(method, UMT)
    with torch.no_grad():
        for m, head, feature in zip(method.modalities, method.heads, method.encode(batch), strict=True):
            assert records[-1].diagnostics[f"probe_accuracy_{m}"] == accuracy(head(feature), batch.labels)
    assert not same(part(states[4], "heads."), part(states[5], "heads."))


def test_a_teacher_goes_back_to_its_best_epoch() -> None:
    training, records, _ = trained(epochs=1, teacher_epochs=6.0)
    for m, own in (("audio", records[:6]), ("video", records[6:12])):
        best = max(r.metrics[f"validation_accuracy_{m}"] for r in own)
        assert training.method.diagnostics()[f"teacher_accuracy_{m}"] == best
        batch = toy_dataset(train=48).validation.gather(torch.arange(21))
        assert isinstance(training.method, UMT)
        with torch.no_grad():
            assert accuracy(training.method.teachers[m](batch.inputs[m]), batch.labels) == best
    assert training.method.best.state_dict() == {"score": None, "weights": {}}


@pytest.mark.parametrize("recipe", [{}, {"gradient_clip": 0.5, "optimizer": "adamw"}])
def test_without_distillation_it_is_joint_training(recipe: dict[str, Any]) -> None:
    own, joint = toy_training("umt", {"lam": 0.0}, epochs=3, **recipe), toy_training("joint", epochs=3, **recipe)
    assert [(r.loss, r.forward_passes) for r in own.epochs()] == [(r.loss, r.forward_passes) for r in joint.epochs()]
    found, expected = own.method.state_dict(), joint.method.state_dict()
    assert all(torch.equal(value, found[name]) for name, value in expected.items())
    assert not own.method.teachers


def test_a_student_that_equals_its_teacher_has_the_gradient_of_joint_training() -> None:
    training = toy_training("umt", {"teacher_epochs": 1.0, "init_from_teacher": True}, epochs=1)
    epochs = training.epochs()
    for _ in range(2):
        next(epochs)
    context, method = training._context, training.method
    context.begin_epoch(3)
    batch = next(context.training_batches(torch.arange(16), drop_last=False))
    outputs = method.training_outputs(batch, context)
    loss = method.loss(outputs, batch, context)
    torch.testing.assert_close(loss, F.cross_entropy(outputs.logits, batch.labels), rtol=0, atol=0)

    # Beside it by a half in each of the dimensions.
    outputs.features = [outputs.features[0] + 0.5, outputs.features[1]]
    torch.testing.assert_close(method.loss(outputs, batch, context), loss + 10 * 0.25)
    assert context.logged() == pytest.approx({"distance_audio": 0.25, "distance_video": 0.0})


def test_students_come_near_their_teachers() -> None:
    def distance(lam: float) -> float:
        records = trained(8, lam=lam, teacher_epochs=4.0)[1]
        return float(records[-1].diagnostics["distance_video"])

    assert distance(100.0) < 0.3 * distance(1e-6)


def test_an_ensemble_is_the_teachers() -> None:
    training, records, states = trained(variant="ume", teacher_epochs=2.0, ume_weights=[3.0, 1.0])
    assert [r.phase for r in records] == ["teacher audio"] * 2 + ["teacher video"] * 2 + ["ensemble"]
    assert records[-1].loss == 0
    assert records[-1].forward_passes == 96
    method, batch = training.method, toy_dataset(train=48).validation.gather(torch.arange(21))
    assert isinstance(method, UMT)
    with torch.no_grad():
        predicted = method.eval().predict(batch)
        for m in ("audio", "video"):
            torch.testing.assert_close(predicted[m], method.teachers[m](batch.inputs[m]))
        torch.testing.assert_close(
            predicted["multi"].exp(), ume_probs([predicted["audio"], predicted["video"]], [3.0, 1.0])
        )
        torch.testing.assert_close(method.predict(batch, ["video"])["multi"].exp(), predicted["video"].softmax(-1))
    assert int(states[-1]["stage"]) == ENSEMBLE


def test_absent_modalities_have_no_share_even_where_theirs_was_all() -> None:
    method = toy_method("umt", toy_dataset(), {"variant": "ume", "ume_weights": [1.0, 0.0]})
    assert isinstance(method, UMT)
    logits = [torch.tensor([[4.0, 0.0]]), torch.tensor([[0.0, 0.0]])]
    assert method.ensemble(logits).softmax(-1)[0, 0].item() > 0.9
    assert method.ensemble(logits, ["video"]).exp()[0].tolist() == pytest.approx([0.5, 0.5])


@pytest.mark.parametrize(("classifier", "phases"), [(1.0, ["student"] * 3), (0.0, ["student"])])
def test_the_test_decides(classifier: float, phases: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    chooses = "methods.umt.method.choose_branch"
    monkeypatch.setattr(chooses, lambda linear, ensemble: choose_branch(classifier, 0.5))
    training, records, states = trained(variant="auto", teacher_epochs=1.0, init_from_teacher=True)
    assert [r.phase for r in records[2:]] == phases
    method, dataset = training.method.eval(), toy_dataset(train=48)
    assert isinstance(method, UMT)
    train, held = dataset.train.gather(torch.arange(48)), dataset.validation.gather(torch.arange(21))
    with torch.no_grad():
        features, held_features = (torch.cat(method.teacher_features(batch), 1) for batch in (train, held))
        pool = method.ensemble([method.teacher_logits(m, held) for m in method.modalities])
    linear = fitted_linear(features, train.labels, 4)(held_features)
    assert {key: value for key, value in records[-1].diagnostics.items() if key.startswith("accuracy_of")} == {
        "accuracy_of_linear": accuracy(linear, held.labels), "accuracy_of_ensemble": accuracy(pool, held.labels)
    }  # fmt: skip
    # One pass over the training samples for the test.
    assert records[2].forward_passes == 48 + 48 + (96 if classifier else 0)
    assert training.result().selected_epoch > 2
    if not classifier:
        assert same(part(states[2], "encoders."), part(states[1], "encoders.")) is False


def test_what_is_refused() -> None:
    for weights in ([1.0], [0.0, 0.0]):
        with pytest.raises(MethodError, match="ume_weights needs one weight for each of a, b"):
            UMT.check(UMTHyperparameters(ume_weights=weights), ("a", "b"))
    with pytest.raises(MethodError, match="needs each on its own"):
        UMT.check(UMTHyperparameters(fusion="channel"), ("a", "b"))
    with pytest.raises(MethodError, match="trains no auxiliary heads"):
        UMT.check(UMTHyperparameters(unimodal_source="aux"), ("a", "b"))


def test_the_page_says_what_is_declared() -> None:
    assert_page_says_what_is_declared("umt")
