"""PMR: its equations against values by hand and naive loops, its prototypes, and its training against one written out
by hand."""

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
from support.toy_dataset import CLASSES, toy_dataset, toy_method, toy_training
from torch import Tensor
from torch.nn import functional as F

from methods.base import MethodError
from methods.pmr import (
    PMR,
    PMRHyperparameters,
    Prototypes,
    class_prototypes,
    imbalance_ratio,
    loss_coefficients,
    modality_coefficients,
    prototype_logits,
    prototypical_entropy,
    total_loss,
    update_prototypes,
)
from sweep.training.context import TrainingContext
from sweep.training.recipe import Recipe

VARIANTS = [
    Variant("defaults", {"proto_fraction": 0.5}, path="clip"),
    Variant("constant", {"coefficients": "constant", "end_epoch": None, "reg_epochs": 0.0}, path="clip"),
    Variant("three", {"allow_more": True, "fusion": "sum", "reg_epochs": 3.0}, modalities=3, path="three"),
    Variant("gated", {"fusion": "gated", "start_epoch": 1.0}, path="clip", epochs_to_learn=12),
]

# Equations -----------------------------------------------------------------------------------------------------


def test_prototypes_are_class_means() -> None:
    features = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 0.0]])
    means, counts = class_prototypes(features, torch.tensor([2, 2, 0]), 4)
    assert means.tolist() == [[5, 0], [0, 0], [2, 3], [0, 0]]
    assert counts.tolist() == [1, 0, 2, 0]
    assert counts.dtype == torch.int64


def test_prototypes_move_by_their_momentum() -> None:
    old, new = torch.tensor([[1.0, 1.0], [2.0, 2.0]]), torch.tensor([[3.0, 5.0], [0.0, 0.0]])
    found = update_prototypes(old, new, torch.tensor([4, 0]), 0.25)
    assert found.tolist() == [[0.25 + 2.25, 0.25 + 3.75], [2, 2]]
    assert update_prototypes(None, new, torch.tensor([4, 0]), 0.25) is new
    assert old.tolist() == [[1, 1], [2, 2]]


def test_prototype_logits_are_negative_distances() -> None:
    prototypes = torch.tensor([[0.0, 0.0], [3.0, 4.0]])
    features = torch.tensor([[0.0, 0.0], [3.0, 0.0]], requires_grad=True)
    found = prototype_logits(features, prototypes)
    assert found.flatten().tolist() == pytest.approx([-1e-6, -5, -3, -4])
    found.sum().backward()
    assert features.grad is not None
    # no NaN at distance 0; the other prototype pulls
    assert features.grad.flatten().tolist() == pytest.approx([0.6, 0.8, -1, 1])


def test_small_distances_keep_their_digits() -> None:
    near = torch.tensor([[1000.0, 1000.0]])
    assert float(prototype_logits(near, near + 2**-10)) == pytest.approx(-(2**-10) * math.sqrt(2), rel=1e-6)


def test_the_ratio_is_of_sums_of_probabilities() -> None:
    first = torch.tensor([[0.0, 0.0], [math.log(3), 0.0]])
    second = torch.tensor([[math.log(4), 0.0], [0.0, math.log(9)]])
    assert float(imbalance_ratio([first, second], torch.tensor([0, 1]))) == pytest.approx((0.5 + 0.25) / (0.8 + 0.9))
    hopeless = torch.tensor([[-1e4, 0.0], [0.0, -1e4]])
    assert float(imbalance_ratio([hopeless, hopeless], torch.tensor([0, 1]))) == 1
    assert float(imbalance_ratio([hopeless, first], torch.tensor([0, 1]))) == pytest.approx(1e-12 / 0.75)


@pytest.mark.parametrize(
    ("ratio", "clip", "constant"),
    [
        (0.0, (1, 0), (1, 0)),
        (0.4, (1, 0), (1, 0)),
        (0.8, (0.25, 0), (1, 0)),
        (1.0, (0, 0), (0, 0)),
        (1.25, (0, 0.25), (0, 1)),
        (7.0, (0, 1), (0, 1)),
    ],
)
def test_coefficients_by_hand(ratio: float, clip: tuple[float, float], constant: tuple[float, float]) -> None:
    for mode, expected in (("clip", clip), ("constant", constant)):
        found = loss_coefficients(ratio, mode)
        assert found == pytest.approx(expected)
        assert all(isinstance(each, float) for each in found)
        tensors = loss_coefficients(torch.tensor(ratio), mode)
        assert [float(each) for each in tensors] == pytest.approx(expected)
    with pytest.raises(ValueError, match="'clipped', nearest is 'clip'"):
        loss_coefficients(ratio, "clipped")


positive = st.floats(1e-3, 1e3)


@settings(max_examples=60, deadline=None)
@given(positive, positive, st.sampled_from(["clip", "constant"]))
def test_the_modality_that_lags_alone_has_a_prototype_loss(first: float, second: float, mode: str) -> None:
    beta, gamma = loss_coefficients(first / second, mode)
    assert min(beta, gamma) == 0
    assert 0 <= max(beta, gamma) <= 1
    assert first < second or beta == 0
    assert second < first or gamma == 0
    assert first == second or max(beta, gamma) > 0
    # the extension to any number is the paper's for two
    pulls, blunts = modality_coefficients(torch.tensor([first, second], dtype=torch.float64), mode)
    assert pulls.tolist() == pytest.approx([beta, gamma], abs=1e-9)
    assert blunts.tolist() == pytest.approx([gamma, beta], abs=1e-9)


def test_coefficients_of_three_modalities() -> None:
    pulls, blunts = modality_coefficients(torch.tensor([5.0, 4.0, 1.0]))
    assert pulls.tolist() == pytest.approx([0, 0.25, 1])
    assert blunts.tolist() == [1, 1, 0]
    pulls, blunts = modality_coefficients(torch.tensor([1.5, 1.25, 1.0]))
    assert pulls.tolist() == pytest.approx([0, 0.2, 0.5])
    assert blunts.tolist() == pytest.approx([0.5, 0.25, 0])


def test_entropy_in_nats() -> None:
    assert float(prototypical_entropy(torch.zeros(3, 5))) == pytest.approx(math.log(5))
    # a class without prototype has the probability 0
    masked = torch.tensor([[-1.0, -1.0, -1e4], [-2.0, -1e4, -2.0]])
    assert float(prototypical_entropy(masked)) == pytest.approx(math.log(2))
    certain = torch.tensor([[0.0, -200.0]])
    assert float(prototypical_entropy(torch.cat([certain, torch.zeros(1, 2)]))) == pytest.approx(math.log(2) / 2)


def test_the_loss_by_hand() -> None:
    ce, pce, entropy = torch.tensor(1.0), [torch.tensor(2.0), torch.tensor(3.0)], [torch.tensor(5.0), torch.tensor(7.0)]
    assert float(total_loss(ce, pce, entropy, 0.5, 0.0, 0.1, 0.01)) == pytest.approx(1 + 0.1 * 0.5 * 2 - 0.01 * 0.5 * 7)
    assert float(total_loss(ce, pce, entropy, 0.0, 0.25, 2.0, 0.1)) == pytest.approx(1 + 2 * 0.25 * 3 - 0.1 * 0.25 * 5)


# Prototypes ----------------------------------------------------------------------------------------------------


def test_a_class_never_seen_has_no_probability_and_a_class_not_drawn_keeps_its_prototype() -> None:
    prototypes = Prototypes([2], 3)
    prototypes.update([torch.tensor([[2.0, 0.0], [4.0, 0.0], [0.0, 0.0]])], torch.tensor([1, 1, 0]), 0.5)
    assert prototypes.get_buffer("of_0").tolist() == [[2, 0], [4, 0], [0, 0]]
    (logits,) = prototypes([torch.zeros(1, 2)])
    assert logits.tolist() == [[-2, -4, -1e4]]
    assert prototypical_entropy(logits).isfinite()
    # momentum of what was seen before, the mean as it is for what was not
    prototypes.update([torch.tensor([[0.0, 0.0], [6.0, 0.0], [8.0, 0.0]])], torch.tensor([0, 2, 2]), 0.5)
    assert prototypes.get_buffer("of_0").tolist() == [[2, 0], [5, 0], [8, 0]]
    assert prototypes.seen.all()


def setup(modalities: int = 2, epochs: int = 4, **hyperparameters: Any) -> tuple[PMR, TrainingContext]:
    dataset = toy_dataset(modalities)
    method = toy_method("pmr", dataset, hyperparameters, epochs)
    assert isinstance(method, PMR)
    return method, hand_driven_context(method, dataset, Recipe(batch_size=16, lr=0.1), seed=3)


def test_prototypes_are_made_of_drawn_training_samples_at_each_epochs_start() -> None:
    method, context = setup(proto_fraction=0.3, momentum=0.25, end_epoch=1.0)
    expected: list[Tensor] | None = None
    scored = 0
    for epoch in (1, 2, 3):
        move_to(context, method, epoch)
        method.on_epoch_start(context)
        scored += 14 if epoch < 3 else 0  # 0.3 of 45
        assert context.scored == scored
        assert method.training
        if epoch < 3:
            drawn = torch.randperm(45, generator=context.generator("prototypes", epoch))[:14]
            batch = toy_dataset().train.gather(drawn)
            with torch.no_grad():
                features = method.encode(batch)
            new = [class_prototypes(f, batch.labels, CLASSES) for f in features]
            assert all((counts > 0).all() for _, counts in new)
            means = [each for each, _ in new]
            expected = (
                means if expected is None else [0.25 * a + 0.75 * b for a, b in zip(expected, means, strict=True)]
            )
            with torch.no_grad():
                next(method.encoders["audio"].parameters()).mul_(1.1)
        assert expected is not None
        for k, each in enumerate(expected):
            torch.testing.assert_close(method.prototypes.get_buffer(f"of_{k}"), each)


# Training ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"alpha": 2.0, "mu": 0.3, "reg_epochs": 4.0},
        {"coefficients": "constant", "reg_epochs": 0.0},
        {"allow_more": True, "modalities": 3, "reg_epochs": 4.0, "mu": 0.3, "fusion": "sum"},
    ],
)
def test_training_follows_the_paper(options: dict[str, Any]) -> None:
    method, context = setup(proto_fraction=1.0, **options)
    twin, _ = setup(proto_fraction=1.0, **options)
    hp = method.hyperparameters
    optimizer = torch.optim.SGD(twin.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    whole = toy_dataset(len(method.modalities)).train.gather(torch.arange(45))
    method.on_epoch_start(context)
    with torch.no_grad():
        prototypes = [class_prototypes(f, whole.labels, CLASSES)[0] for f in twin.encode(whole)]
    pulled = set[str]()
    for batch in context.training_batches(torch.arange(45), False):
        method.training_step(batch, context)
        features = twin.encode(batch)
        loss = F.cross_entropy(twin.fusion(features).logits, batch.labels)
        logits = [-torch.cdist(f, c) for f, c in zip(features, prototypes, strict=True)]
        scores = [float(z.softmax(1)[range(len(batch)), batch.labels].sum().detach()) for z in logits]
        for m, z, score in zip(twin.modalities, logits, scores, strict=True):
            lag, lead = max(scores) / score - 1, score / min(scores) - 1
            if hp.coefficients == "constant":
                lag, lead = float(lag > 0), float(lead > 0)
            if lag:
                pulled.add(m)
            loss = loss + hp.alpha * min(lag, 1) * F.cross_entropy(z, batch.labels)
            if hp.reg_epochs:
                entropy = -(z.softmax(1) * z.log_softmax(1)).sum(1).mean()
                loss = loss - hp.mu * min(lead, 1) * entropy
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert pulled
    for found, expected in zip(method.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("modalities", [2, 3])
def test_without_its_terms_it_is_joint_training_bit_for_bit(modalities: int) -> None:
    options = {"alpha": 0.0, "reg_epochs": 0.0, "proto_fraction": 0.5, "allow_more": modalities > 2}
    runs = [toy_training("pmr", options, modalities=modalities), toy_training("joint", {}, modalities=modalities)]
    for one, other in zip(*(run.epochs() for run in runs), strict=True):
        assert (one.loss, one.metrics) == (other.loss, other.metrics)
    found, expected = (run.method.state_dict() for run in runs)
    assert_same({key: value for key, value in found.items() if key in expected}, expected, "weights")


def loss_and_parts(method: PMR, context: TrainingContext) -> tuple[Tensor, Tensor]:
    """The loss of the first 16 samples, and their fused cross-entropy, of one graph."""
    batch = next(iter(context.training_batches(torch.arange(16), False)))
    outputs = method(batch)
    return method.loss(outputs, batch, context), F.cross_entropy(outputs.logits, batch.labels)


def test_the_prototype_loss_reaches_the_encoder_that_lags_alone() -> None:
    method, context = setup(proto_fraction=1.0, reg_epochs=0.0)
    method.on_epoch_start(context)
    loss, ce = loss_and_parts(method, context)
    logged = context.logged()
    lagging = min(method.modalities, key=lambda m: logged[f"prototype_score_{m}"])
    assert {m for m in method.modalities if logged[f"coefficient_{m}"] > 0} == {lagging}
    names, parameters = zip(*method.named_parameters(), strict=True)
    found = torch.autograd.grad(loss - ce, parameters, allow_unused=True)
    reached = {name.split(".")[1] for name, g in zip(names, found, strict=True) if g is not None and g.abs().max() > 0}
    assert reached == {lagging}


def test_scores_accuracies_and_weights_of_prototypes_are_logged() -> None:
    method, context = setup(proto_fraction=1.0)
    method.on_epoch_start(context)
    batch = next(iter(context.training_batches(torch.arange(16), False)))
    outputs = method(batch)
    method.loss(outputs, batch, context)
    found = context.logged()
    scores = []
    for m, z in zip(method.modalities, method.prototypes(outputs.features), strict=True):
        probabilities = z.detach().softmax(1)
        scores.append(float(probabilities[torch.arange(16), batch.labels].mean()))
        right = int((probabilities.argmax(1) == batch.labels).sum())
        assert 0 < right < 16
        assert found[f"prototype_score_{m}"] == pytest.approx(scores[-1])
        assert found[f"prototype_accuracy_{m}"] == right / 16
    beta, gamma = loss_coefficients(scores[0] / scores[1])
    assert [found["coefficient_audio"], found["coefficient_video"]] == pytest.approx([beta, gamma], abs=1e-6)


def test_terms_count_in_their_epochs_alone() -> None:
    method, context = setup(epochs=6, proto_fraction=1.0, start_epoch=1.0, end_epoch=3.0, reg_epochs=2.0, mu=0.5)
    terms = []
    for epoch in range(1, 7):
        move_to(context, method, epoch)
        method.on_epoch_start(context)
        loss, ce = loss_and_parts(method, context)
        method.hyperparameters = method.hyperparameters.model_copy(update={"alpha": 0.0})
        entropies_alone, _ = loss_and_parts(method, context)
        method.hyperparameters = method.hyperparameters.model_copy(update={"alpha": 1.0})
        terms.append((bool(loss != ce), bool(entropies_alone != ce)))
    assert terms == [(False, False), (True, True), (True, False), (True, False), (False, False), (False, False)]


def test_windows_are_shares_of_the_budget_by_default() -> None:
    method, _ = setup(epochs=30)
    assert (list(method.window), method.regularised) == (list(range(22)), 3)
    assert list(setup(epochs=6, end_epoch=None)[0].window) == list(range(6))


def test_samples_of_a_class_without_prototype_count_as_zeros() -> None:
    method, context = setup(reg_epochs=0.0)
    means = [torch.zeros(CLASSES, 8), torch.ones(CLASSES, 8)]
    method.prototypes.update(means, torch.tensor([1, 1, 1, 0]), 0.0)
    batch = toy_dataset().train.gather(torch.arange(16))
    list(context.training_batches(torch.arange(16), False))
    outputs = method(batch)
    loss = method.loss(outputs, batch, context)
    logits = method.prototypes(outputs.features)
    known = batch.labels < 3
    scores = [float(z.softmax(1)[known, batch.labels[known]].sum().detach()) for z in logits]
    expected = F.cross_entropy(outputs.logits, batch.labels)
    for z, coefficient in zip(logits, loss_coefficients(scores[0] / scores[1]), strict=True):
        expected = expected + coefficient * F.cross_entropy(z[known], batch.labels[known], reduction="sum") / 16
    torch.testing.assert_close(loss, expected)
    assert float(loss.detach()) < 20


# What is refused, what is said -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hyperparameters", "modalities", "reason"),
    [
        ({}, 3, "two modalities, the dataset gives 3: a, b, c; allow_more: true"),
        ({"fusion": "late"}, 2, "late_train: joint"),
        ({"fusion": "etmc"}, 2, "loss of its own"),
        ({"unimodal_source": "aux"}, 2, "no auxiliary heads"),
        ({}, 1, "at least 2"),
    ],
)
def test_what_is_not_defined_is_refused(hyperparameters: dict[str, Any], modalities: int, reason: str) -> None:
    with pytest.raises(MethodError, match=reason):
        PMR.check(PMRHyperparameters(**hyperparameters), tuple("abc"[:modalities]))


def test_values_outside_the_bounds_are_refused() -> None:
    for wrong in (
        {"alpha": -0.1}, {"mu": -1.0}, {"momentum": 1.1}, {"proto_fraction": 0.0}, {"proto_fraction": 1.5},
        {"reg_epochs": 1.5}, {"end_epoch": -1.0}, {"coefficients": "clipped"},
    ):  # fmt: skip
        with pytest.raises(ValidationError, match=next(iter(wrong))):
            PMRHyperparameters(**wrong)


@pytest.mark.parametrize(
    ("hyperparameters", "said"),
    [
        ({}, ""),
        ({"fusion": "channel"}, "reaches the others' encoders"),
        ({"start_epoch": 3.0, "end_epoch": 1.0}, "end_epoch comes before start_epoch"),
    ],
)
def test_the_log_says_what_to_expect(hyperparameters: dict[str, Any], said: str) -> None:
    lines: list[str] = []
    method, _ = setup(**hyperparameters)
    method.on_fit_start(hand_driven_context(method, toy_dataset(), Recipe(), warn=lines.append))
    assert len(lines) == bool(said)
    assert said in "".join(lines)


def test_the_page_says_what_is_declared() -> None:
    assert_page_says_what_is_declared("pmr")
