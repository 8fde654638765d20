"""InfoReg: its equations against values by hand, and its training against one written out by hand."""

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
from torch import Tensor, nn
from torch.nn import functional as F

from methods.base import MethodError
from methods.inforeg import (
    InfoReg,
    InfoRegHyperparameters,
    fisher_trace,
    performance_gaps,
    performance_scores,
    regulated_gradient,
    regulation_strength,
    relative_trace_change,
)
from sweep.training.context import TrainingContext
from sweep.training.recipe import Recipe

VARIANTS = [
    Variant("defaults", {"when": "always"}, path="regulated"),
    Variant("window", path="window", epochs=4),
    Variant(
        "code",
        {
            "unimodal_loss": True,
            "trace_window": 3,
            "strength": "code",
            "trace_reduction": "layer_mean",
            "score": "probability_sum",
        },
        path="code",
    ),
    Variant("three", {"when": "always", "fusion": "sum"}, modalities=3, path="regulated"),
    Variant("gated", {"when": "outside", "fusion": "gated"}, path="window", epochs_to_learn=12),
]

# Equations -----------------------------------------------------------------------------------------------------


def test_scores_by_hand() -> None:
    first = torch.tensor([[0.0, 0.0], [math.log(3), 0.0]])
    second = torch.tensor([[math.log(4), 0.0], [0.0, math.log(9)]])
    labels = torch.tensor([0, 1])
    found = performance_scores([first, second], labels)
    assert found.tolist() == pytest.approx([math.log(0.5 * 0.25) / 2, math.log(0.8 * 0.9) / 2])
    assert performance_scores([first, second], labels, "probability_sum").tolist() == pytest.approx([0.75, 1.7])
    with pytest.raises(ValueError, match="'probability_mean', nearest is 'probability_sum'"):
        performance_scores([first], labels, "probability_mean")


def test_gaps_by_hand() -> None:
    assert performance_gaps(torch.tensor([-1.0, -3.0])).tolist() == [2, 0]
    assert performance_gaps(torch.tensor([-1.0, -3.0, -2.0])).tolist() == [1.5, 0, 1]
    assert performance_gaps(torch.tensor([-3.0, -3.0, -1.0])).tolist() == [0, 0, 2]
    assert performance_gaps(torch.tensor([2.0, 2.0])).tolist() == [0, 0]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-5, 5), min_size=2, max_size=5))
def test_gaps_are_as_a_naive_loop_has_them_and_the_worst_has_none(scores: list[float]) -> None:
    found = performance_gaps(torch.tensor(scores, dtype=torch.float64)).tolist()
    for k, score in enumerate(scores):
        leads = [score - other for other in scores if other < score]
        assert found[k] == pytest.approx(sum(leads) / len(leads) if leads else 0)
    assert found[scores.index(min(scores))] == 0


def test_the_trace_by_hand() -> None:
    gradients = [torch.tensor([[1.0, 2.0], [3.0, 0.0]]), torch.tensor([4.0, 2.0])]
    assert float(fisher_trace(gradients)) == 34
    assert float(fisher_trace(gradients, "layer_mean")) == 14 / 4 + 20 / 2
    assert float(fisher_trace([])) == 0
    with pytest.raises(ValueError, match="'layer', nearest is 'layer_mean'"):
        fisher_trace(gradients, "layer")


@pytest.mark.parametrize(
    ("history", "window", "expected"),
    [
        ([], 1, None),
        ([2.0], 1, None),
        ([9.0, 2.0, 4.0], 1, 0.5),
        ([4.0, 2.0], 1, -1.0),
        ([4.0, 0.0], 1, 0.0),
        ([], 3, 1.0),
        ([2.0], 2, 1.0),
        ([2.0, 4.0], 2, (3 - 1) / 3),
        ([2.0, 4.0, 6.0, 6.0], 2, (6 - 5) / 6),
        ([0.0, 0.0], 2, 0.0),
    ],
)
def test_changes_of_the_trace_by_hand(history: list[float], window: int, expected: float | None) -> None:
    found = relative_trace_change(history, window)
    assert found is None if expected is None else found == pytest.approx(expected)


def test_a_window_without_values_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1 value, got 0"):
        relative_trace_change([1.0], 0)


@settings(max_examples=60, deadline=None)
@given(st.floats(0, 5), st.floats(0.1, 2), st.floats(0.01, 1))
def test_strength_grows_with_gap_and_beta_from_one_to_the_power_of_beta(gap: float, beta: float, more: float) -> None:
    found = regulation_strength(gap, beta)
    assert isinstance(found, float)
    assert found == pytest.approx(math.exp(beta * math.tanh(gap)))
    assert 1 <= found <= math.exp(beta)
    assert regulation_strength(0.0, beta) == 1
    assert regulation_strength(gap + more, beta) >= found
    assert regulation_strength(gap, beta + more) >= found
    tensor = torch.tensor(gap, dtype=torch.float64)
    assert float(regulation_strength(tensor, beta)) == pytest.approx(found)
    code = regulation_strength(tensor, beta, "code")
    assert float(code) == pytest.approx(beta * math.exp(math.tanh(gap)))
    assert regulation_strength(gap, beta, "code") == pytest.approx(float(code))


def test_another_strength_is_refused() -> None:
    with pytest.raises(ValueError, match="'papers', nearest is 'paper'"):
        regulation_strength(0.0, 1.0, "papers")


def test_regulated_gradients_by_hand() -> None:
    grad, weight, start = torch.tensor([1.0, 2.0]), torch.tensor([3.0, 3.0]), torch.tensor([1.0, 4.0])
    assert regulated_gradient(grad, weight, start, 0.5).tolist() == [2, 1.5]
    assert regulated_gradient(grad, weight, start, torch.tensor(2.0)).tolist() == [5, 0]
    assert grad.tolist() == [1, 2]


# Training ------------------------------------------------------------------------------------------------------


def setup(modalities: int = 2, epochs: int = 4, **hyperparameters: Any) -> tuple[InfoReg, TrainingContext]:
    dataset = toy_dataset(modalities)
    method = toy_method("inforeg", dataset, hyperparameters, epochs)
    assert isinstance(method, InfoReg)
    return method, hand_driven_context(method, dataset, Recipe(batch_size=16, lr=0.1), seed=3)


def own_logits(twin: InfoReg, features: list[Tensor], k: int) -> Tensor:
    """The logits of modality k, written out for concat, sum and the zeroed features of the others."""
    head: Any = twin.fusion
    if twin.hyperparameters.unimodal_source == "zero":
        return head([f if j == k else 0 * f for j, f in enumerate(features)]).logits  # type: ignore[no-any-return]
    if twin.hyperparameters.fusion == "sum":
        return head.heads[k](features[k])  # type: ignore[no-any-return]
    own: Tensor = features[k] @ head.head.weight[:, 8 * k : 8 * k + 8].T + head.head.bias / len(features)
    return own


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"when": "always", "beta": 2.0, "unimodal_source": "zero"},
        {"when": "always", "fusion": "sum", "modalities": 3, "unimodal_loss": True},
        {"when": "outside", "threshold": 0.9, "score": "probability_sum", "trace_reduction": "layer_mean"},
    ],
)
def test_training_follows_the_paper(options: dict[str, Any]) -> None:
    method, context = setup(**options)
    twin, _ = setup(**options)
    hp = method.hyperparameters
    optimizer = torch.optim.SGD(twin.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    history: dict[str, list[float]] = {m: [] for m in twin.modalities}
    pulled = set[int]()
    for epoch in range(1, 5):
        move_to(context, method, epoch)
        method.on_epoch_start(context)
        starts = {m: [p.detach().clone() for p in e.parameters()] for m, e in twin.encoders.items()}
        sums = dict.fromkeys(twin.modalities, 0.0)
        for batch in context.training_batches(torch.arange(45), False):
            method.training_step(batch, context)
            optimizer.zero_grad()
            features = [encoder(batch.inputs[m]) for m, encoder in twin.encoders.items()]
            own = [own_logits(twin, features, k) for k in range(len(features))]
            loss = F.cross_entropy(twin.fusion(features).logits, batch.labels)
            if hp.unimodal_loss:
                loss = loss + sum(F.cross_entropy(z, batch.labels) for z in own)
            loss.backward()
            right = [z.detach().log_softmax(1)[range(len(batch)), batch.labels] for z in own]
            scores = [float(r.exp().sum() if hp.score == "probability_sum" else r.mean()) for r in right]
            for k, (m, encoder) in enumerate(twin.encoders.items()):
                grads = [p.grad for p in encoder.parameters() if hp.trace_reduction == "sum" or p.ndim > 1]
                squares = [(g**2).sum() if hp.trace_reduction == "sum" else (g**2).mean() for g in grads]
                sums[m] += float(sum(squares))
                leads = [scores[k] - s for s in scores if s < scores[k]]
                traces = history[m]
                change = (traces[-1] - traces[-2]) / traces[-1] if len(traces) > 1 else None
                inside = change is not None and change > hp.threshold
                outside = change is not None and not inside
                if not leads or not {"window": inside, "always": True, "outside": outside}[hp.when]:
                    continue
                pulled.add(epoch)
                strength = math.exp(hp.beta * math.tanh(sum(leads) / len(leads)))
                for p, start in zip(encoder.parameters(), starts[m], strict=True):
                    p.grad = p.grad + strength * (p.detach() - start)
            optimizer.step()
        method.on_epoch_end(context)
        for m in twin.modalities:
            history[m].append(sums[m] / 3)
        assert method.traces[epoch - 1].tolist() == pytest.approx([history[m][-1] for m in twin.modalities], rel=1e-3)
    assert pulled
    assert hp.when == "always" or min(pulled) >= 3
    for found, expected in zip(method.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize(("options", "alike"), [({}, 2), ({"threshold": 1.0}, 4), ({"when": "outside"}, 2)])
def test_without_open_window_it_is_joint_training_bit_for_bit(options: dict[str, Any], alike: int) -> None:
    runs = [toy_training("inforeg", options, lr=0.1), toy_training("joint", {}, lr=0.1)]
    differ = []
    for one, other in zip(*(run.epochs() for run in runs), strict=True):
        found, expected = (run.method.state_dict() for run in runs)
        if one.epoch <= alike:
            assert (one.loss, one.metrics) == (other.loss, other.metrics)
            assert_same({key: value for key, value in found.items() if key in expected}, expected, "weights")
        differ.append(one.loss != other.loss)
    assert any(differ) == (alike < 4)


def gradients(method: InfoReg) -> dict[str, list[Tensor]]:
    return {m: [p.grad.clone() for p in e.parameters() if p.grad is not None] for m, e in method.encoders.items()}


def test_the_leading_encoder_alone_is_pulled_back_and_not_in_the_first_step() -> None:
    method, context = setup(when="always")
    method.on_epoch_start(context)
    for step, batch in enumerate(context.training_batches(torch.arange(32), False)):
        context.zero_grad()
        outputs = method(batch)
        method.loss(outputs, batch, context).backward()
        before = gradients(method)
        method.modulate_gradients(outputs, batch, context)
        scores = performance_scores(outputs.unimodal_logits, batch.labels)
        better, worse = (method.modalities[k] for k in scores.argsort(descending=True).tolist())
        after = gradients(method)
        assert all(torch.equal(a, b) for a, b in zip(after[worse], before[worse], strict=True))
        same = [torch.equal(a, b) for a, b in zip(after[better], before[better], strict=True)]
        assert all(same) if step == 0 else not any(same)
        context.optimizer_step()


def test_a_regulated_encoder_travels_less_in_an_epoch() -> None:
    held_back, free = (list(toy_training("inforeg", o).epochs()) for o in ({"when": "always"}, {"threshold": 1.0}))
    for held, one in zip(held_back, free, strict=True):
        leading = max(("audio", "video"), key=lambda m: held.diagnostics[f"gap_{m}"])
        assert held.diagnostics[f"distance_{leading}"] < one.diagnostics[f"distance_{leading}"]


def test_windows_traces_and_strengths_are_told() -> None:
    records = list(toy_training("inforeg", {"threshold": 0.0}, lr=0.1).epochs())
    for number, record in enumerate(records):
        found = record.diagnostics
        for m in ("audio", "video"):
            if number < 2:
                assert f"trace_change_{m}" not in found
                assert found[f"regulated_{m}"] == found[f"strength_{m}"] == 0
                continue
            last, before = (records[number - back].diagnostics[f"trace_{m}"] for back in (1, 2))
            assert found[f"trace_change_{m}"] == pytest.approx((last - before) / last)
            assert found[f"regulated_{m}"] == float(last > before)
            assert (found[f"strength_{m}"] > 0) <= (found[f"regulated_{m}"] == 1)


def test_auxiliary_heads_learn_with_the_unimodal_losses() -> None:
    method, context = setup(unimodal_loss=True, unimodal_source="aux")
    batch = next(iter(context.training_batches(torch.arange(16), False)))
    method.training_step(batch, context)
    assert isinstance(method.fusion.aux_heads, nn.ModuleList)
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in method.fusion.aux_heads.parameters())


# What is refused, what is said -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hyperparameters", "modalities", "reason"),
    [
        ({"fusion": "late"}, 2, "late_train: joint"),
        ({"fusion": "etmc"}, 2, "loss of its own"),
        ({"unimodal_source": "aux"}, 2, "unimodal_loss: true alone"),
        ({}, 1, "at least 2"),
    ],
)
def test_what_is_not_defined_is_refused(hyperparameters: dict[str, Any], modalities: int, reason: str) -> None:
    with pytest.raises(MethodError, match=reason):
        InfoReg.check(InfoRegHyperparameters(**hyperparameters), tuple("abc"[:modalities]))


def test_values_outside_the_bounds_are_refused() -> None:
    for wrong in ({"beta": -0.1}, {"threshold": -0.1}, {"trace_window": 0}, {"when": "never"}, {"strength": "papers"}):
        with pytest.raises(ValidationError, match=next(iter(wrong))):
            InfoRegHyperparameters(**wrong)


@pytest.mark.parametrize(
    ("hyperparameters", "epochs", "said"),
    [
        ({}, 4, ""),
        ({"fusion": "weight", "additive": True}, 4, ""),
        ({"fusion": "gated"}, 4, "features of all others zeroed"),
        ({}, 2, "no encoder is regulated before the third"),
    ],
)
def test_the_log_says_what_to_expect(hyperparameters: dict[str, Any], epochs: int, said: str) -> None:
    lines: list[str] = []
    method, _ = setup(epochs=epochs, **hyperparameters)
    method.on_fit_start(hand_driven_context(method, toy_dataset(), Recipe(), warn=lines.append))
    assert len(lines) == bool(said)
    assert said in "".join(lines)


def test_what_an_epoch_started_from_is_in_no_checkpoint() -> None:
    method, _ = setup()
    starts = [name for name, _ in method.named_buffers() if name.startswith("start_")]
    assert len(starts) == sum(len(list(encoder.parameters())) for encoder in method.encoders.values())
    assert not {*starts, "trace_sums"} & method.state_dict().keys()
    assert "traces" in method.state_dict()


def test_the_page_says_what_is_declared() -> None:
    assert_page_says_what_is_declared("inforeg")
