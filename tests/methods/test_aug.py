"""AUG: its equations against values by hand and naive loops, growth, and its step against the paper's algorithm."""

from __future__ import annotations

import io
import math
from itertools import pairwise, product
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.hand_driven_context import hand_driven_context
from support.method_pages import assert_page_says_what_is_declared
from support.method_variants import Variant
from support.toy_dataset import toy_training
from torch import Tensor, nn
from torch.nn import functional as F

from data.base import Batch, Dataset, Split
from methods.aug import (
    AUG,
    AUGHyperparameters,
    assign_classifiers,
    boosting_loss,
    confidence_score,
    merge_logits,
    residual_target,
)
from methods.base import MULTI, MethodError
from sweep.training.context import TrainingContext
from sweep.training.recipe import Recipe

VARIANTS = [
    Variant("every-epoch", {"assign_every": 1, "dead_zone": 0.0}),
    Variant(
        "alternate",
        {"assign_every": 1, "criterion": "ratio", "score": "entropy", "dead_zone": 0.0, "update": "alternate"},
        epochs_to_learn=6,
    ),
    Variant(
        "fixed",
        {"assignment": "fixed", "fixed_modality": "video", "n_fixed": 3, "use_eps_o": False, "alpha": 0.4},
    ),
    Variant(
        "first-epoch",
        {"assign_first_epoch": True, "dead_zone": 0.0, "max_heads": 2, "use_eps_p": False},
        modalities=3,
    ),
]

# Equations -----------------------------------------------------------------------------------------------------


def _draw(*shape: int, seed: int = 0) -> Tensor:
    return 2 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


LABELS = torch.tensor([0, 2, 1, 2])


def test_residual_labels_take_confidence_off_the_true_class_only() -> None:
    prev = torch.tensor([[math.log(3.0), 0.0], [0.0, 0.0]], requires_grad=True)
    residual = residual_target(torch.tensor([0, 1]), prev, 0.5)
    torch.testing.assert_close(residual, torch.tensor([[1 - 0.5 * 0.75, 0.0], [0.0, 1 - 0.5 * 0.5]]))
    assert not residual.requires_grad
    assert residual_target(torch.tensor([0, 1]), prev, 0.0).tolist() == [[1.0, 0.0], [0.0, 1.0]]
    saturated = residual_target(torch.tensor([0]), torch.tensor([[1e4, -1e4]]), 1.0)
    assert saturated.tolist() == [[0.0, 0.0]]


@pytest.mark.parametrize("lam", [-0.01, 1.01, math.nan])
def test_a_share_outside_zero_and_one_is_refused(lam: float) -> None:
    with pytest.raises(ValueError, match="lam"):
        residual_target(LABELS, _draw(4, 3), lam)
    with pytest.raises(ValueError, match="lam"):
        boosting_loss(_draw(1, 4, 3), LABELS, lam)


def _naive_terms(logits: Tensor, labels: Tensor, lam: float) -> list[float]:
    """ε, ε_o, ε_p of equations 2 to 4, one sample after the other."""

    def log_probability(z: list[float], y: int) -> float:
        return z[y] - math.log(sum(math.exp(v) for v in z))

    totals = [0.0, 0.0, 0.0]
    for i, y in enumerate(labels.tolist()):
        heads = [[float(v) for v in head[i]] for head in logits]
        prev = [sum(head[k] for head in heads[:-1]) for k in range(len(heads[0]))]
        everything = [p + v for p, v in zip(prev, heads[-1], strict=True)]
        totals[0] -= (1 - lam * math.exp(log_probability(prev, y))) * log_probability(heads[-1], y)
        totals[1] -= log_probability(everything, y)
        totals[2] -= log_probability(prev, y)
    return [total / len(labels) for total in totals]


@pytest.mark.parametrize("count", [2, 4])
@pytest.mark.parametrize("switches", product([True, False], repeat=3))
def test_boosting_loss_equals_the_terms_sample_by_sample(count: int, switches: tuple[bool, bool, bool]) -> None:
    logits = _draw(count, 4, 3)
    terms = _naive_terms(logits, LABELS, 0.3)
    found = boosting_loss(logits, LABELS, 0.3, *switches)
    assert list(found) == ["eps", "eps_o", "eps_p", "total"]
    assert all(value.ndim == 0 for value in found.values())
    expected = [*terms, sum(term for term, on in zip(terms, switches, strict=True) if on)]
    assert [float(value) for value in found.values()] == pytest.approx(expected)


@pytest.mark.parametrize("switches", [(True, True, True), (False, False, False)])
def test_a_single_classifier_learns_plain_cross_entropy(switches: tuple[bool, bool, bool]) -> None:
    logits = _draw(1, 4, 3).requires_grad_()
    found = boosting_loss(logits, LABELS, 0.5, *switches)
    plain = F.cross_entropy(logits[0], LABELS)
    assert [float(found[term]) for term in ("eps", "eps_p")] == [0.0, 0.0]
    assert torch.equal(found["eps_o"], plain)
    assert torch.equal(found["total"], plain)
    torch.testing.assert_close(torch.autograd.grad(found["total"], logits), torch.autograd.grad(plain, logits))


def test_the_residual_labels_pass_no_gradient_to_earlier_classifiers() -> None:
    logits = _draw(3, 4, 3).requires_grad_()
    gradient = {
        term: torch.autograd.grad(boosting_loss(logits, LABELS, 0.7)[term], logits)[0] for term in ("eps", "eps_o")
    }
    assert gradient["eps"][:2].abs().max() == 0
    assert gradient["eps"][2].abs().min() > 0
    assert gradient["eps_o"].abs().min() > 0
    (of_prev,) = torch.autograd.grad(boosting_loss(logits, LABELS, 0.7)["eps_p"], logits)
    assert of_prev[2].abs().max() == 0
    assert of_prev[:2].abs().min() > 0


@given(st.integers(0, 1000), st.integers(1, 4), st.floats(0, 1), st.floats(0, 1))
def test_terms_are_not_negative_and_the_residual_one_falls_with_its_share(
    seed: int, count: int, lam: float, other: float
) -> None:
    logits = _draw(count, 4, 3, seed=seed)
    low, high = (boosting_loss(logits, LABELS, share) for share in sorted((lam, other)))
    assert all(value >= 0 for value in low.values())
    assert high["eps"] <= low["eps"] + 1e-12
    assert torch.equal(low["eps_o"], high["eps_o"])
    none = boosting_loss(logits, LABELS, 0.0)
    if count > 1:
        torch.testing.assert_close(none["eps"], F.cross_entropy(logits[-1], LABELS))


def test_confidence_is_the_mean_probability_of_the_truth() -> None:
    logits = torch.tensor([[math.log(3.0), 0.0], [0.0, 0.0]])
    assert confidence_score(logits, torch.tensor([0, 1])) == pytest.approx((0.75 + 0.5) / 2)
    assert confidence_score(logits, torch.tensor([1, 1])) == pytest.approx((0.25 + 0.5) / 2)
    assert isinstance(confidence_score(logits, torch.tensor([1, 1])), float)


NAN = math.nan
INF = math.inf


@pytest.mark.parametrize(
    ("scores", "sigma", "dead_zone", "criterion", "expected"),
    [
        ([0.6, 0.5], 1.0, 0.01, "difference", [1]),
        ([0.5, 0.6], 1.0, 0.01, "difference", [0]),
        ([0.5, 0.5], 1.0, 0.01, "difference", []),
        ([0.5, 0.5], 1.0, 0.0, "difference", []),
        ([0.5, 0.5], 1.25, 0.01, "difference", [0]),
        ([0.75, 0.5], 1.0, 0.25, "difference", []),  # a difference equal to the dead zone
        ([0.5, 0.75], 1.0, 0.25, "difference", []),
        ([0.7, 0.5], 1.25, 0.01, "difference", [1]),
        ([0.0, 0.0], 1.0, 0.01, "difference", []),
        ([0.6, 0.5], 1.0, 0.01, "ratio", [1]),
        ([0.5, 0.6], 1.0, 0.01, "ratio", [0]),
        ([0.625, 0.5], 1.0, 0.25, "ratio", []),  # strictly
        ([1.01, 1.0], 1.0, 0.01, "ratio", []),
        ([0.375, 0.5], 1.0, 0.25, "ratio", []),
        ([0.3, 0.0], 1.0, 0.01, "ratio", [1]),
        ([0.0, 0.3], 1.0, 0.01, "ratio", [0]),
        ([0.0, 0.0], 1.0, 0.01, "ratio", []),
        ([INF, 0.3], 1.0, 0.01, "ratio", [1]),
        ([INF, INF], 1.0, 0.01, "ratio", []),
        ([0.5, 0.4, 0.1], 1.0, 0.01, "difference", [2]),
        ([0.9, 0.2, 0.1], 1.0, 0.01, "difference", [1, 2]),
        ([0.5, 0.5, 0.5], 1.0, 0.01, "difference", []),
        ([0.25, 0.5, 0.5], 1.0, 0.25, "difference", []),
        ([0.9, 0.2, 0.1], 1.0, 0.01, "ratio", [1, 2]),
        ([0.0, 0.2, 0.1], 1.0, 0.01, "ratio", [0]),
        ([0.0, 0.0, 0.0], 1.0, 0.01, "ratio", []),
        ([0.0, 0.0, 0.1], 1.0, 0.01, "ratio", [0, 1]),
        ([0.1, 0.9, 0.9, 0.9], 1.0, 0.01, "ratio", [0]),
        ([0.9, NAN], 1.0, 0.01, "difference", []),
        ([NAN, 0.1, 0.9], 1.0, 0.01, "ratio", []),
        ([0.9], 1.0, 0.01, "difference", []),
        ([0.9], 1.0, 0.01, "ratio", []),
        ([], 1.0, 0.01, "ratio", []),
    ],
)
def test_assignment(scores: list[float], sigma: float, dead_zone: float, criterion: str, expected: list[int]) -> None:
    assert assign_classifiers(scores, sigma, dead_zone, criterion) == expected


@pytest.mark.parametrize("scores", [[0.5, 0.4], [0.5], [NAN, 0.4]])
def test_an_unknown_criterion_is_refused(scores: list[float]) -> None:
    with pytest.raises(ValueError, match="criterion called 'differenz', nearest is 'difference'"):
        assign_classifiers(scores, criterion="differenz")


@given(st.lists(st.integers(1, 999), min_size=3, max_size=3))
def test_three_modalities_grow_by_the_official_rule(thousandths: list[int]) -> None:
    scores = [value / 1000 for value in thousandths]
    total = sum(thousandths)
    # In whole numbers, so that no rounding decides: s / (sum of the others) < 0.4.
    expected = [o for o, own in enumerate(thousandths) if 10 * own < 4 * (total - own)]
    ties = any(10 * own == 4 * (total - own) for own in thousandths)
    assert ties or assign_classifiers(scores, 1.25, 0.0) == expected


def test_merged_logits_are_weighted() -> None:
    logits = _draw(3, 4, 2)
    torch.testing.assert_close(merge_logits(logits), (logits[0] + logits[1] + logits[2]) / 3)
    torch.testing.assert_close(merge_logits(logits, [0.2, 0.0, 3.0]), 0.2 * logits[0] + 3 * logits[2])
    with pytest.raises(ValueError, match=r"3 modalities .* got 2"):
        merge_logits(logits, [0.5, 0.5])


# Method --------------------------------------------------------------------------------------------------------


def _encoder(inputs: int, width: int) -> nn.Module:
    encoder = nn.Linear(inputs, width)
    encoder.out_dim = width  # type: ignore[assignment]
    return encoder


def _dataset(noise: dict[str, float] | None = None, n: int = 24) -> Dataset:
    """Three classes; the noisier a modality, the less it tells."""
    random = torch.Generator().manual_seed(7)
    noise = noise or {"audio": 0.3, "video": 3.0}
    labels = torch.arange(n) % 3
    centres = 3 * torch.eye(3, 5)[labels]
    split = Split({m: centres + s * torch.randn(n, 5, generator=random) for m, s in noise.items()}, labels)
    return Dataset("toy", tuple(noise), tuple("abc"), split, split, split)


def _setup(
    dataset: Dataset, lr: float = 0.02, momentum: float = 0.9, seed: int = 3, **hyperparameters: Any
) -> tuple[AUG, TrainingContext]:
    torch.manual_seed(seed)
    encoders = {m: _encoder(5, 4 + k) for k, m in enumerate(dataset.modalities)}
    chosen = AUGHyperparameters(**{"hidden_dim": 8, **hyperparameters})
    method = AUG(encoders, dataset.num_classes, chosen, epochs=20)
    return method, _before_training(method, dataset, lr, momentum)


def _before_training(method: AUG, dataset: Dataset, lr: float = 0.02, momentum: float = 0.9) -> TrainingContext:
    context = hand_driven_context(method, dataset, Recipe(lr=lr, momentum=momentum, batch_size=8))
    context.epoch = 0
    return context


def _train(method: AUG, context: TrainingContext, epochs: int = 1) -> list[list[int]]:
    """Classifiers of each modality after each epoch."""
    counts = []
    for _ in range(epochs):
        context.begin_epoch(context.epoch + 1)
        for batch in context.training_batches(method.sampler(context), drop_last=False):
            method.training_step(batch, context)
        method.on_epoch_end(context)
        counts.append([method.owners.count(o) for o in range(len(method.modalities))])
    return counts


def _everything(dataset: Dataset) -> Batch:
    return dataset.train.gather(torch.arange(len(dataset.train)))


def test_without_growth_it_is_late_fusion_with_a_shared_head() -> None:
    dataset = _dataset()
    method, context = _setup(dataset, assign_every=50)
    twin, _ = _setup(dataset)
    layers = dict(zip(dataset.modalities, twin.classifiers, strict=True))
    optimizer = torch.optim.SGD(twin.parameters(), 0.02, 0.9, weight_decay=1e-4, fused=True)
    for epoch in range(1, 4):
        _train(method, context)
        order = torch.randperm(24, generator=context.generator("order", epoch))
        for part in order.split(8):
            batch = dataset.train.gather(part)
            hidden = [F.relu(layers[m](twin.encoders[m](batch.inputs[m]))) for m in dataset.modalities]
            losses = [F.cross_entropy(twin.shared_head(h), batch.labels) for h in hidden]
            optimizer.zero_grad()
            torch.stack(losses).sum().backward()
            optimizer.step()
    assert all(torch.equal(one, other) for one, other in zip(method.parameters(), twin.parameters(), strict=True))


def test_the_loss_sums_the_modalities_boosting_losses() -> None:
    dataset = _dataset()
    options: dict[str, Any] = {"assignment": "fixed", "fixed_modality": "video", "n_fixed": 3}
    method, context = _setup(dataset, lam=0.3, use_eps_p=False, **options)
    assert method.owners == [0, 1, 1, 1]
    batch = _everything(dataset)
    audio, video = method.encode(batch)
    heads = [method.shared_head(F.relu(layer(video))) for layer in list(method.classifiers)[1:]]
    expected = boosting_loss(torch.stack(heads), batch.labels, 0.3, use_eps_p=False)["total"]
    expected = expected + F.cross_entropy(method.shared_head(F.relu(method.classifiers[0](audio))), batch.labels)
    outputs = method(batch)
    torch.testing.assert_close(method.loss(outputs, batch, context), expected)
    torch.testing.assert_close(outputs.unimodal_logits[1], heads[0] + heads[1] + heads[2])
    torch.testing.assert_close(outputs.logits, sum(outputs.unimodal_logits) / 2)


def test_each_term_alone_trains_the_classifiers_it_names() -> None:
    def trained(**terms: bool) -> list[bool]:
        dataset = _dataset()
        method, context = _setup(dataset, assignment="fixed", fixed_modality="video", n_fixed=3, **terms)
        method.training_step(_everything(dataset), context)
        return [layer.weight.grad.abs().max() > 0 for layer in method.classifiers]

    assert trained(use_eps_o=False, use_eps_p=False) == [True, False, False, True]
    assert trained(use_eps=False, use_eps_o=False) == [True, True, True, False]
    assert trained(use_eps=False, use_eps_p=False) == [True, True, True, True]


def test_the_first_additions_go_to_the_weaker_modality() -> None:
    for noise in ({"audio": 0.3, "video": 3.0}, {"audio": 3.0, "video": 0.3}):
        method, context = _setup(_dataset(noise, n=120), assign_every=2)
        counts = _train(method, context, 6)
        weak = max(noise, key=noise.__getitem__) == "video"
        assert counts[:4] == [[1, 1], [1, 2], [1, 2], [1, 3]] if weak else [[1, 1], [2, 1], [2, 1], [3, 1]]
        assert all(old <= new for a, b in pairwise(counts) for old, new in zip(a, b, strict=True))


@pytest.mark.parametrize(("sigma", "owners"), [(1.0, [0, 1]), (1.5, [0, 1, 0])])
def test_equal_modalities_grow_only_at_a_larger_sigma(sigma: float, owners: list[int]) -> None:
    same = _dataset().train.inputs["video"]
    split = Split({"audio": same, "video": same}, _dataset().train.labels)
    dataset = Dataset("toy", ("audio", "video"), tuple("abc"), split, split, split)
    torch.manual_seed(1)
    method = AUG({m: _encoder(5, 4) for m in dataset.modalities}, 3, AUGHyperparameters(assign_every=1, sigma=sigma), 5)
    for part in (method.encoders.values(), method.classifiers):
        first, second = part
        second.load_state_dict(first.state_dict())
    _train(method, _before_training(method, dataset))
    assert method.owners == owners


def test_a_new_classifier_is_trained_and_leaves_the_earlier_ones_alone() -> None:
    dataset = _dataset()
    method, context = _setup(dataset, assign_every=1)
    batch = _everything(dataset)
    context.epoch = 1
    method.training_step(batch, context)
    with torch.no_grad():
        before = method(batch)
    torch.manual_seed(1)
    method.add_classifier(1, context)
    with torch.no_grad():
        after = method(batch)
    assert torch.equal(after.extra["video"][:1], before.extra["video"])
    assert torch.equal(after.extra["audio"], before.extra["audio"])
    assert not torch.equal(after.unimodal_logits[1], before.unimodal_logits[1])

    def held() -> list[int]:
        return [id(p) for group in context.groups.optimizer.param_groups for p in group["params"]]

    new = method.classifiers[-1]
    assert new.bias.abs().max() == 0
    earlier = [id(p) for p in method.parameters() if p is not new.weight and p is not new.bias]
    assert held() == earlier
    context.groups.refresh()  # as before the next epoch
    assert held() == [*earlier, id(new.weight), id(new.bias)] == list(map(id, context.groups.parameters))
    assert [group["lr"] for group in context.groups.optimizer.param_groups] == [0.02]
    assert new.weight not in context.groups.optimizer.state
    old = new.weight.clone()
    method.training_step(batch, context)
    assert not torch.equal(new.weight, old)


def test_new_classifiers_are_fixed_by_run_epoch_modality_and_number() -> None:
    method, context = _setup(_dataset())
    other, other_context = _setup(_dataset(), seed=8)
    for each, each_context in ((method, context), (other, other_context)):
        each_context.epoch = 1
        each.add_classifier(1, each_context)
        each.add_classifier(1, each_context)
        each_context.epoch = 2
        each.add_classifier(1, each_context)
        torch.manual_seed(99)
    weights = [layer.weight for layer in method.classifiers[2:]]
    assert all(torch.equal(a, b.weight) for a, b in zip(weights, other.classifiers[2:], strict=True))
    assert not any(torch.equal(weights[i], weights[j]) for i, j in ((0, 1), (0, 2), (1, 2)))
    spread = nn.init.xavier_normal_(torch.empty(2000, 2000), generator=torch.Generator().manual_seed(1)).std()
    assert spread == pytest.approx(math.sqrt(2 / 4000), rel=0.01)


@pytest.mark.parametrize(
    ("options", "epochs"),
    [
        ({"assign_every": 2}, [2, 4]),
        ({"assign_every": 2, "assign_first_epoch": True}, [1, 2, 4]),
        ({"assign_every": 0.15}, [3]),  # of 20 epochs
        ({"assign_every": 1, "max_heads": 3}, [1, 2]),
        ({"assign_every": 1, "max_heads": 1}, []),
        ({"assign_first_epoch": True}, [1]),
    ],
)
def test_when_classifiers_are_added(options: dict[str, Any], epochs: list[int]) -> None:
    method, context = _setup(_dataset(n=120), **options)
    counts = [2, *(sum(count) for count in _train(method, context, 5))]
    assert [e for e in range(1, 6) if counts[e] > counts[e - 1]] == epochs


def test_a_fixed_assignment_never_grows() -> None:
    options: dict[str, Any] = {"assignment": "fixed", "fixed_modality": "audio", "n_fixed": 4, "assign_every": 1}
    method, context = _setup(_dataset(n=120), **options)
    assert _train(method, context, 3) == [[4, 1]] * 3


@pytest.mark.parametrize("name", ["confidence", "entropy", "loss"])
def test_scores_are_those_of_the_epochs_training_forwards(name: str) -> None:
    dataset = _dataset(n=20)
    method, context = _setup(dataset, score=name, criterion="ratio", assign_every=1)
    for epoch in (1, 2):  # the sums of the first epoch must not reach the second
        twin, _ = _setup(dataset)
        sums, sizes = [0.0, 0.0], []
        context.begin_epoch(epoch)
        for batch in context.training_batches(method.sampler(context), drop_last=False):
            twin.load_state_dict(method.state_dict())
            for o, logits in enumerate(twin(batch).unimodal_logits):
                p = logits.detach().softmax(-1)
                truth = p[torch.arange(len(batch)), batch.labels]
                value = {"confidence": truth, "entropy": -(p * p.log()).sum(-1), "loss": -truth.log()}[name]
                sums[o] += float(value.sum())
            sizes.append(len(batch))
            method.training_step(batch, context)
        assert sizes == [8, 8, 4]
        before = list(method.owners)
        method.on_epoch_end(context)
        means = [value / 20 for value in sums]
        found = context.logged()
        assert [found[f"{name}_{m}"] for m in dataset.modalities] == pytest.approx(means, rel=1e-5)
        strong = [1 / value for value in means] if name != "confidence" else means
        assert method.owners == before + assign_classifiers(strong, criterion="ratio")


def test_numbers_follow_the_number_of_classifiers() -> None:
    method, context = _setup(_dataset(n=120), assign_every=1)
    assert method.diagnostics() == {"classifiers_audio": 1.0, "classifiers_video": 1.0}
    _train(method, context)
    plain = {"confidence_audio", "confidence_video"}
    assert set(context.logged()) == plain
    assert method.diagnostics() == {"classifiers_audio": 1.0, "classifiers_video": 2.0}
    _train(method, context)
    assert set(context.logged()) == plain | {"eps_video", "eps_o_video", "eps_p_video"}
    assert context.logged()["eps_p_video"] > 0
    assert set(method.diagnostics()) == {"classifiers_audio", "classifiers_video"}


def test_alternate_updates_leave_the_other_modality_alone_and_move_the_shared_head() -> None:
    dataset = _dataset()
    method, context = _setup(dataset, update="alternate", assign_every=50)
    twin, _ = _setup(dataset)
    optimizer = torch.optim.SGD(twin.parameters(), 0.02, 0.9, weight_decay=1e-4)
    for part in torch.arange(24).split(8):
        batch = dataset.train.gather(part)
        expected = 0.0
        for o, modality in enumerate(dataset.modalities):
            optimizer.zero_grad(set_to_none=True)
            feature = twin.encoders[modality](batch.inputs[modality])
            loss = F.cross_entropy(twin.shared_head(F.relu(twin.classifiers[o](feature))), batch.labels)
            loss.backward()
            optimizer.step()
            expected += float(loss.detach())
        assert float(method.training_step(batch, context)) == pytest.approx(expected)
    assert all(torch.equal(one, other) for one, other in zip(method.parameters(), twin.parameters(), strict=True))
    assert context.step == 6


@pytest.mark.parametrize(
    ("alpha", "noise", "weights"),
    [
        (None, {"audio": 1.0, "video": 1.0}, [0.5, 0.5]),
        (0.4, {"audio": 1.0, "video": 1.0}, [0.4, 0.6]),
        (1, {"audio": 1.0, "video": 1.0}, [1.0, 0.0]),
        (None, {"a": 1.0, "b": 1.0, "c": 1.0}, [1 / 3] * 3),
        ([0.3, 0.3, 0.4], {"a": 1.0, "b": 1.0, "c": 1.0}, [0.3, 0.3, 0.4]),
        (None, {"audio": 1.0}, [1.0]),
    ],
)
def test_modalities_are_merged_by_weight_and_absent_ones_left_out(
    alpha: Any, noise: dict[str, float], weights: list[float]
) -> None:
    dataset = _dataset(noise)
    method, context = _setup(dataset, alpha=alpha)
    _train(method, context)  # so that biases are not zero
    batch = _everything(dataset)
    logits = method.predict(batch)
    own = [logits[m] for m in dataset.modalities]
    torch.testing.assert_close(logits[MULTI], sum(w * z for w, z in zip(weights, own, strict=True)))
    last = dataset.modalities[-1]
    torch.testing.assert_close(method.predict(batch, [last])[MULTI], weights[-1] * logits[last])
    assert torch.equal(method.predict(batch, dataset.modalities)[MULTI], logits[MULTI])


def test_a_single_modality_trains_and_never_grows() -> None:
    method, context = _setup(_dataset({"audio": 0.3}), assign_every=1, lr=0.1)
    assert _train(method, context, 3) == [[1]] * 3
    assert context.logged()["confidence_audio"] > 0.5


def test_three_modalities_may_grow_at_once() -> None:
    method, context = _setup(_dataset({"audio": 0.1, "video": 3.0, "text": 3.0}, n=120), assign_every=1)
    assert _train(method, context, 2)[-1] == [1, 3, 3]


def test_a_loaded_state_predicts_bit_for_bit_whatever_the_number_of_classifiers() -> None:
    dataset = _dataset(n=120)
    method, context = _setup(dataset, assign_every=1)
    batch, early = _everything(dataset), {k: v.clone() for k, v in method.state_dict().items()}
    expected = method.predict(batch)[MULTI]
    _train(method, context, 3)
    assert all(torch.is_tensor(value) for value in method.state_dict().values())  # what a file of weights can hold
    buffer = io.BytesIO()
    torch.save(method.state_dict(), buffer)
    buffer.seek(0)
    fresh, _ = _setup(dataset, seed=8)
    fresh.load_state_dict(torch.load(buffer, weights_only=True))
    assert fresh.owners == method.owners == [0, 1, 1, 1, 1]
    found, grown = fresh.predict(batch), method.predict(batch)
    assert all(torch.equal(found[key], grown[key]) for key in grown)
    fresh.load_state_dict(early)
    assert fresh.owners == [0, 1]
    assert torch.equal(fresh.predict(batch)[MULTI], expected)


def test_loading_the_same_structure_keeps_the_parameters_that_an_optimizer_holds() -> None:
    method, context = _setup(_dataset(n=120), assign_every=1)
    _train(method, context, 2)
    before = list(map(id, method.parameters()))
    method.load_state_dict({k: v.clone() for k, v in method.state_dict().items()})
    assert list(map(id, method.parameters())) == before


def test_the_selected_epoch_comes_back_with_its_classifiers() -> None:
    training = toy_training("aug", {"assign_every": 1, "dead_zone": 0.0}, epochs=4, lr=1e-8)
    records = list(training.epochs())
    training.result()
    method = training.method
    assert isinstance(method, AUG)
    selected = max(records, key=lambda record: record.metrics["validation_accuracy"])  # the first of equals
    counts = [selected.diagnostics[f"classifiers_{m}"] for m in method.modalities]
    assert [method.owners.count(o) for o in range(2)] == counts
    assert sum(counts) < sum(records[-1].diagnostics[f"classifiers_{m}"] for m in method.modalities)


@pytest.mark.parametrize(
    ("options", "modalities", "message"),
    [
        ({"use_eps": False, "use_eps_o": False, "use_eps_p": False}, "av", "at least one of use_eps"),
        ({"assignment": "fixed"}, "av", "needs fixed_modality, one of a, v"),
        ({"assignment": "fixed", "fixed_modality": "x"}, "av", "no modality called 'x'"),
        ({"score": "entropy"}, "av", "criterion: ratio"),
        ({"score": "loss"}, "avt", "criterion: ratio"),
        ({"alpha": 0.4}, "avt", "list a weight for each"),
        ({"alpha": 0.4}, "a", "list a weight for each"),
        ({"alpha": [0.5, 0.5]}, "avt", "lists 2 weights"),
    ],
)
def test_what_is_refused(options: dict[str, Any], modalities: str, message: str) -> None:
    with pytest.raises(MethodError, match=message):
        AUG.check(AUGHyperparameters(**options), tuple(modalities))


def test_what_is_allowed() -> None:
    AUG.check(AUGHyperparameters(), ("a",))
    AUG.check(AUGHyperparameters(alpha=[0.4, 0.6]), ("a", "v"))
    AUG.check(AUGHyperparameters(score="entropy", criterion="ratio"), ("a", "v", "t"))
    AUG.check(AUGHyperparameters(assignment="fixed", fixed_modality="v", score="loss"), ("a", "v"))


@pytest.mark.parametrize(
    "options",
    [
        {"lam": 1.1}, {"sigma": 0.9}, {"dead_zone": -0.1}, {"assign_every": 0}, {"assign_every": 1.5}, {"alpha": 1.2},
        {"alpha": [0.5, -0.5]}, {"alpha": [0.0, 0.0]}, {"alpha": []}, {"max_heads": 0}, {"n_fixed": 0},
        {"hidden_dim": 0},
    ],
)  # fmt: skip
def test_values_out_of_bounds_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        AUGHyperparameters(**options)


@pytest.mark.parametrize("count", [1, 2, 4])
def test_predictions_sum_a_modalitys_classifiers_as_training_does(count: int) -> None:
    dataset = _dataset()
    options: dict[str, Any] = {"assignment": "fixed", "fixed_modality": "video", "n_fixed": count}
    method, context = _setup(dataset, **options)
    _train(method, context)
    batch = _everything(dataset)
    audio, video = method.encode(batch)
    first, *others = (method.shared_head(F.relu(layer(video))) for layer in list(method.classifiers)[1:])
    predicted, trained = method.predict(batch), method(batch)
    torch.testing.assert_close(predicted["audio"], method.shared_head(F.relu(method.classifiers[0](audio))))
    torch.testing.assert_close(predicted["video"], sum(others, first))
    for name, logits in zip(("audio", "video", MULTI), (*trained.unimodal_logits, trained.logits), strict=True):
        assert torch.equal(predicted[name], logits)


def test_the_page_says_what_is_declared() -> None:
    assert_page_says_what_is_declared("aug")
