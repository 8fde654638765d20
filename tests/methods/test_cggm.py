"""CGGM: its equations against values by hand and autograd, and its training against one written out by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from support.equality import assert_same
from support.hand_driven_context import hand_driven_context
from support.method_pages import assert_page_says_what_is_declared
from support.method_variants import Variant
from support.toy_dataset import toy_dataset, toy_method, toy_training
from torch import Tensor, nn
from torch.nn import functional as F

from methods import cggm
from methods.base import MethodError
from methods.cggm import (
    CGGM,
    CGGMHyperparameters,
    balancing_terms,
    direction_loss,
    gradient_similarity,
    head_gradient,
)
from sweep.training.context import TrainingContext
from sweep.training.recipe import Recipe

VARIANTS = [
    Variant("defaults", path="parts", epochs_to_learn=12),
    Variant("bounded", {"coeff_clip": 2.0, "cls_layers": 1, "grad_clip": None}, path="parts"),
    Variant("weight", {"direction": "weight", "fusion": "sum"}, modalities=3, path="weight", epochs_to_learn=12),
    Variant("gated", {"fusion": "gated", "coeff_clip": 2.0, "cls_lr": 0.01}, path="whole", epochs_to_learn=12),
]

# Equations -----------------------------------------------------------------------------------------------------


def test_terms_by_hand() -> None:
    found = balancing_terms(torch.tensor([0.2, 0.4]), torch.tensor([0.5, 0.5]))
    assert found.tolist() == pytest.approx([0.25, 0.75])
    assert found.dtype == torch.float32
    three = balancing_terms(torch.zeros(3), torch.tensor([0.1, 0.3, 0.6]))
    assert three.tolist() == pytest.approx([0.9, 0.7, 0.4])
    still = torch.tensor([0.3, 0.7])
    assert balancing_terms(still, still).tolist() == [1, 1]
    # one modality improves by what the other loses: nothing is left to share
    opposed = balancing_terms(torch.tensor([0.25, 0.5]), torch.tensor([0.5, 0.25]))
    assert opposed.tolist() == pytest.approx([1 - 0.25e8, 1 + 0.25e8])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 64), st.integers(0, 64)), min_size=2, max_size=5))
def test_terms_sum_to_all_but_one_and_are_smallest_where_most_is_gained(counts: list[tuple[int, int]]) -> None:
    previous, current = (torch.tensor(each, dtype=torch.float64) / 64 for each in zip(*counts, strict=True))
    gains = current - previous
    terms = balancing_terms(previous, current)
    total = float(gains.sum())
    if abs(total) < 1e-6:
        return
    assert float(terms.sum()) == pytest.approx(len(counts) - 1, abs=1e-5)
    if total > 0:
        assert float(terms.min()) == float(terms[gains.argmax()])
    if len(counts) == 2 and gains.min() > 0:
        assert ((terms > 0) & (terms < 1)).all()


def test_the_gradient_of_a_linear_layer_is_that_of_autograd() -> None:
    torch.manual_seed(0)
    layer, features, labels = nn.Linear(5, 3), torch.randn(7, 5), torch.randint(3, (7,))
    logits = layer(features)
    F.cross_entropy(logits, labels).backward()
    torch.testing.assert_close(head_gradient(logits, labels, features), layer.weight.grad)


def test_the_gradient_of_a_linear_layer_is_differentiable() -> None:
    torch.manual_seed(0)
    features = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    logits = torch.randn(4, 2, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([0, 1, 1, 0])
    assert torch.autograd.gradcheck(lambda z, h: head_gradient(z, labels, h), (logits, features))


def test_cosines_by_hand() -> None:
    one = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    other = torch.tensor([[1.0, 1.0], [0.0, 0.0]], requires_grad=True)
    found = gradient_similarity([one, one, one, 1e-25 * one], [other, -2 * one, 0 * one, one])
    assert found.tolist() == pytest.approx([0.5, -1, 0, 1])
    found.sum().backward()
    assert other.grad is not None
    assert other.grad.isfinite().all()
    with pytest.raises(ValueError, match="longer"):
        gradient_similarity([one], [one, one])


def test_a_zero_gradient_sends_no_numbers_that_are_none() -> None:
    zero = torch.zeros(2, 2, requires_grad=True)
    gradient_similarity([torch.ones(2, 2)], [zero]).sum().backward()
    assert zero.grad is not None
    assert zero.grad.isfinite().all()


def test_the_direction_loss_by_hand() -> None:
    terms = torch.tensor([0.5, -2.0])
    assert float(direction_loss(terms, torch.tensor([0.5, -0.25]))) == pytest.approx((0.25 + 1.5) / 2)
    assert float(direction_loss(terms, torch.tensor([1.0, -1.0]))) == 0


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.floats(-1e8, 1e8), st.integers(0, 99)), min_size=2, max_size=4))
def test_the_direction_loss_is_never_negative(parts: list[tuple[float, int]]) -> None:
    random = torch.Generator().manual_seed(parts[0][1])
    pairs = [torch.randn(2, 3, 4, generator=random) for _ in parts]
    similarities = gradient_similarity([p[0] for p in pairs], [p[0] if k % 2 else p[1] for k, p in enumerate(pairs)])
    assert ((similarities >= -1) & (similarities <= 1)).all()
    assert float(direction_loss(torch.tensor([term for term, _ in parts]), similarities)) >= 0


# Training ------------------------------------------------------------------------------------------------------


def setup(modalities: int = 2, epochs: int = 4, **hyperparameters: Any) -> tuple[CGGM, TrainingContext]:
    dataset = toy_dataset(modalities)
    method = toy_method("cggm", dataset, hyperparameters, epochs)
    assert isinstance(method, CGGM)
    return method, hand_driven_context(method, dataset, Recipe(batch_size=16, lr=0.1), seed=3)


def last_layer(twin: CGGM, features: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
    """The fused logits, and the weight that each modality is compared by, written out for three fusions."""
    fusion: Any = twin.fusion
    if twin.hyperparameters.fusion == "sum":
        return sum(h(f) for h, f in zip(fusion.heads, features, strict=True)), [h.weight for h in fusion.heads]  # type: ignore[return-value]
    if twin.hyperparameters.fusion == "gated":
        hidden = torch.sigmoid(fusion.gate(features[0])) * fusion.value(features[1])
        return fusion.head(hidden), [fusion.head.weight] * 2
    blocks = [nn.Parameter(each) for each in fusion.head.weight.detach().split(8, 1)]
    return fusion.head(torch.cat(features, 1)), blocks


@pytest.mark.parametrize(
    "options",
    [
        {"lam": 0.5, "cls_lr": 0.05},
        {"fusion": "sum", "modalities": 3, "coeff_clip": 1.5, "grad_clip": None},
        {"fusion": "gated", "coeff_clip": 1.5, "lam": 0.5},
        {"direction": "none", "cls_layers": 1, "grad_scale": 1.0},
        {"direction": "weight", "fusion": "sum", "lam": 0.5},
    ],
)
def test_training_follows_paper_and_code(options: dict[str, Any]) -> None:
    method, context = setup(**options)
    twin, _ = setup(**options)
    hp = method.hyperparameters
    model = [*twin.encoders.parameters(), *twin.fusion.parameters()]
    optimizer = torch.optim.SGD(model, lr=0.1, momentum=0.9, weight_decay=1e-4)
    helper = torch.optim.Adam(twin.classifiers.parameters(), lr=hp.cls_lr)
    before = [0.0] * len(twin.encoders)
    last: list[float] = []
    for batch in context.training_batches(torch.arange(45), False):
        method.training_step(batch, context)
        features = [encoder(batch.inputs[m]) for m, encoder in twin.encoders.items()]
        own = [c(f.detach())[0] for c, f in zip(twin.classifiers, features, strict=True)]
        now = [int((z.argmax(1) == batch.labels).sum()) / len(batch) for z in own]
        gains = [a - b for a, b in zip(now, before, strict=True)]
        total = sum(gains) + 1e-8
        terms = [(total - g) / total for g in gains]
        if hp.coeff_clip is not None:
            terms = [max(-hp.coeff_clip, min(hp.coeff_clip, b)) for b in terms]
        logits, weights = last_layer(twin, features)
        task = F.cross_entropy(logits, batch.labels)
        classifier_loss = sum(F.cross_entropy(z, batch.labels) for z in own)
        lasts: list[Any] = [c.last.weight for c in twin.classifiers]  # type: ignore[union-attr]
        targets = torch.autograd.grad(classifier_loss, lasts, retain_graph=True)  # type: ignore[arg-type]
        loss = task
        if hp.direction == "gradient":
            if hp.fusion == "concat":
                whole = torch.autograd.grad(task, twin.fusion.head.weight, create_graph=True)[0]  # type: ignore[union-attr]
                found = whole.split(8, 1)
            else:
                found = torch.autograd.grad(task, weights, create_graph=True)
            pairs = list(zip(targets, found, strict=True))
        else:
            pairs = [(c.detach(), w) for c, w in zip(lasts, weights, strict=True)]
        if hp.direction != "none":
            used = terms if hp.direction == "gradient" else last
            for b, (v, w) in zip(used, pairs, strict=False):
                cosine = F.cosine_similarity(v.flatten(), w.flatten(), dim=0, eps=1e-20)
                loss = loss + hp.lam * (abs(b) - b * cosine) / len(terms)
        optimizer.zero_grad()
        loss.backward(inputs=model, retain_graph=True)
        helper.zero_grad()
        classifier_loss.backward(inputs=list(twin.classifiers.parameters()))  # type: ignore[union-attr]
        helper.step()
        for b, encoder in zip(terms, twin.encoders.values(), strict=True):
            for p in encoder.parameters():
                p.grad *= hp.grad_scale * b
        if hp.grad_clip is not None:
            norm = math.sqrt(sum(float((p.grad**2).sum()) for p in model if p.grad is not None))
            for p in model:
                p.grad *= min(1.0, hp.grad_clip / (norm + 1e-6))
        optimizer.step()
        before, last = now, terms
        assert method.accuracies.tolist() == pytest.approx(now)
        assert method.last_terms.tolist() == pytest.approx(terms)
    for found_one, expected in zip(method.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(found_one, expected, atol=1e-4, rtol=1e-3)


def test_without_modulation_it_is_joint_training_bit_for_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cggm, "balancing_terms", lambda previous, current: torch.ones_like(current))
    options = {"lam": 0.0, "direction": "none", "grad_scale": 1.0, "grad_clip": None}
    runs = [toy_training("cggm", options), toy_training("joint", {})]
    for one, other in zip(*(run.epochs() for run in runs), strict=True):
        assert one.loss == other.loss
        assert one.metrics["validation_accuracy"] == other.metrics["validation_accuracy"]
    found, expected = (run.method.state_dict() for run in runs)
    assert_same({key: value for key, value in found.items() if key in expected}, expected, "weights")


def test_classifiers_reach_no_encoder() -> None:
    method, context = setup(lam=0.0, direction="none", grad_clip=None)
    batch = next(iter(context.training_batches(torch.arange(16), False)))
    encoders = list(method.encoders.parameters())
    task = torch.autograd.grad(F.cross_entropy(method(batch).logits, batch.labels), encoders)
    before = [p.clone() for p in method.classifiers.parameters()]
    method.training_step(batch, context)
    scale = method.hyperparameters.grad_scale
    terms = [term for term in method.last_terms for _ in method.encoders["audio"].parameters()]
    for p, g, term in zip(encoders, task, terms, strict=True):
        torch.testing.assert_close(p.grad, scale * float(term) * g)
    assert all(not torch.equal(a, b) for a, b in zip(before, method.classifiers.parameters(), strict=True))


def test_the_direction_loss_by_gradients_reaches_the_encoders_and_that_by_weights_the_head_alone() -> None:
    reached = {}
    for direction in ("gradient", "weight"):
        method, context = setup(direction=direction)
        batch = next(iter(context.training_batches(torch.arange(16), False)))
        outputs = method(batch)
        heard = [c(f.detach()) for c, f in zip(method.classifiers, outputs.features, strict=True)]
        method.last_terms.fill_(0.5)
        guide = method.guide(torch.tensor([0.4, 0.6]), outputs, heard, batch, context)
        assert guide is not None
        names, parameters = zip(*method.named_parameters(), strict=True)
        found = torch.autograd.grad(guide, parameters, allow_unused=True)
        reached[direction] = {n.split(".")[0] for n, g in zip(names, found, strict=True) if g is not None}
    assert reached == {"gradient": {"encoders", "fusion"}, "weight": {"fusion"}}


def test_the_codes_direction_loss_is_nothing_in_the_first_step() -> None:
    records = [list(toy_training("cggm", {"direction": d}, epochs=1).epochs()) for d in ("weight", "none")]
    assert records[0][0].diagnostics["direction_loss"] > 0
    method, context = setup(direction="weight")
    batch = next(iter(context.training_batches(torch.arange(16), False)))
    method.training_step(batch, context)
    assert context.logged()["direction_loss"] == 0


def test_the_models_gradient_is_clipped_in_the_place_of_the_recipe() -> None:
    lines: list[str] = []
    for bound, left, said in ((0.01, 0.01, 1), (None, 0.5, 0)):
        lines.clear()
        dataset = toy_dataset()
        method = toy_method("cggm", dataset, {"grad_clip": bound, "coeff_clip": 2.0})
        recipe = Recipe(batch_size=16, gradient_clip=0.5)
        context = hand_driven_context(method, dataset, recipe, warn=lines.append)
        method.training_step(next(iter(context.training_batches(torch.arange(16), False))), context)
        model = [p for name, p in method.named_parameters() if not name.startswith("classifiers")]
        norm = math.sqrt(sum(float((p.grad**2).sum()) for p in model if p.grad is not None))
        assert norm == pytest.approx(left, rel=1e-3)
        assert len(lines) == said


@pytest.mark.parametrize(("source", "classifiers"), [(None, True), ("aux", True), ("native", False), ("zero", False)])
def test_unimodal_predictions_are_the_classifiers_unless_others_are_asked_for(source: Any, classifiers: bool) -> None:
    method, _ = setup(unimodal_source=source)
    assert not any(name.startswith("fusion.aux") for name, _ in method.named_parameters())
    batch = toy_dataset().test.gather(torch.arange(5))
    predicted = method.predict(batch)
    for m, classifier, feature in zip(method.modalities, method.classifiers, method.encode(batch), strict=True):
        assert torch.equal(predicted[m], classifier(feature)[0]) == classifiers


# What is logged --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bound", "before", "now", "terms", "flags"),
    [
        # Improvements 1/2 and -1/8, in all 3/8: shares of the other are -1/3 and 4/3.
        (2.0, (0.25, 0.5), (0.75, 0.375), (-1 / 3, 4 / 3), {"uphill": (1, 0), "bounded": (0, 0), "none": 0}),
        (1.0, (0.25, 0.5), (0.75, 0.375), (-1 / 3, 1.0), {"uphill": (1, 0), "bounded": (0, 1), "none": 0}),
        (2.0, (0.25, 0.5), (0.5, 0.75), (0.5, 0.5), {"uphill": (0, 0), "bounded": (0, 0), "none": 0}),
        (2.0, (0.25, 0.5), (0.5, 0.25), (-2.0, 2.0), {"uphill": (1, 0), "bounded": (1, 1), "none": 1}),
        (None, (0.25, 0.5), (0.5, 0.25), (-10.0, 10.0), {"uphill": (1, 0), "none": 1}),
    ],
)
def test_terms_are_logged_and_those_that_are_bounded(
    bound: float | None,
    before: tuple[float, float],
    now: tuple[float, float],
    terms: tuple[float, float],
    flags: dict[str, Any],
) -> None:
    method, context = setup(coeff_clip=bound)
    next(iter(context.training_batches(torch.arange(16), False)))
    method.accuracies.copy_(torch.tensor(before))
    used = method.terms(torch.tensor(now, dtype=torch.float64), context)
    if bound is not None:
        assert used.tolist() == pytest.approx(terms)
    found = context.logged()
    assert ("bounded_audio" in found) is (bound is not None)
    for place, m in enumerate(("audio", "video")):
        assert found[f"classifier_accuracy_{m}"] == now[place]
        assert found[f"balancing_term_{m}"] == pytest.approx(terms[place])
        for flag in flags.keys() - {"none"}:
            assert found[f"{flag}_{m}"] == flags[flag][place]
    assert found["no_improvement"] == flags["none"]


@pytest.mark.parametrize("terms", [(0.5, -2.0), (1e6, -1e6)])
def test_cosines_and_the_direction_loss_are_logged(terms: tuple[float, float]) -> None:
    method, context = setup(direction="weight")
    batch = next(iter(context.training_batches(torch.arange(16), False)))
    method.last_terms.copy_(torch.tensor(terms))
    method.guide(torch.zeros(2), method(batch), [], batch, context)
    heads: list[Any] = list(method.classifiers)
    pairs = zip([each.last.weight for each in heads], method.last_weights(), strict=True)
    cosines = [float(F.cosine_similarity(v.flatten(), w.flatten(), dim=0).detach()) for v, w in pairs]
    found = context.logged()
    assert [found["similarity_audio"], found["similarity_video"]] == pytest.approx(cosines, abs=1e-5)
    loss = sum(abs(term) - term * cosine for term, cosine in zip(terms, cosines, strict=True)) / 2
    assert found["direction_loss"] == pytest.approx(min(loss, 10.0), rel=1e-4)


# What is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hyperparameters", "modalities", "reason"),
    [
        ({"fusion": "late"}, 2, "late_train: joint"),
        ({"fusion": "etmc"}, 2, "loss of its own"),
        ({"aux_detach": True}, 2, "never reach the encoders"),
        ({}, 1, "at least 2"),
    ],
)
def test_what_is_not_defined_is_refused(hyperparameters: dict[str, Any], modalities: int, reason: str) -> None:
    with pytest.raises(MethodError, match=reason):
        CGGM.check(CGGMHyperparameters(**hyperparameters), tuple("abc"[:modalities]))


def test_one_layer_that_cannot_be_compared_is_refused() -> None:
    wide = {"fusion": "gated", "gate_width": 5, "cls_layers": 1}
    with pytest.raises(MethodError, match=r"fusion gated has 5 columns.*cls_layers: 2 or direction: none"):
        setup(**wide)
    setup(**wide, direction="none")
    method, _ = setup(**{**wide, "cls_layers": 2})
    assert [c.last.weight.shape[1] for c in method.classifiers] == [5, 5]  # type: ignore[union-attr]


def test_values_outside_the_bounds_are_refused() -> None:
    for wrong in (
        {"grad_scale": -0.1}, {"lam": -1.0}, {"cls_lr": 0.0}, {"cls_layers": 3}, {"grad_clip": 0.0},
        {"coeff_clip": 0.0}, {"direction": "weights"},
    ):  # fmt: skip
        with pytest.raises(ValidationError, match=next(iter(wrong))):
            CGGMHyperparameters(**wrong)


def test_the_page_says_what_is_declared() -> None:
    assert_page_says_what_is_declared("cggm")
