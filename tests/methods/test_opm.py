"""OPM: its equations against values by hand and what they promise, and its training against one written out by hand."""

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
from torch import Tensor
from torch.nn import functional as F

from methods.base import MethodError
from methods.opm import (
    OPM,
    OPMHyperparameters,
    apply_drop,
    discrepancy_ratios,
    drop_probabilities,
    drop_scale,
    dropped_features,
    unimodal_scores,
)
from sweep.training.context import TrainingContext
from sweep.training.recipe import Recipe

VARIANTS = [
    Variant("defaults", path="previous"),
    Variant("three-current", {"q_from": "current", "p_exe": 1.0, "fusion": "sum"}, modalities=3, path="current"),
    Variant("gated", {"fusion": "gated", "rescale": False}, path="previous", epochs_to_learn=12),
]

# Equations -----------------------------------------------------------------------------------------------------


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_probabilities_by_hand() -> None:
    ratios = torch.tensor([3.0, 1.25, 0.375])
    expected = [0.4 * (1 + 0.5 * math.tanh(2)), 0.4 * (1 + 0.5 * math.tanh(0.25)), 0]
    assert drop_probabilities(ratios, 0.4, 0.5).tolist() == pytest.approx(expected)
    assert drop_probabilities(ratios, 0.7, 0.5).tolist() == pytest.approx([1, 0.7 * (1 + 0.5 * math.tanh(0.25)), 0])
    # they jump from 0 to q_base at a ratio of 1
    assert drop_probabilities(torch.tensor([1.0, 1 + 1e-6]), 0.4, 0.5).tolist() == pytest.approx([0, 0.4], abs=1e-6)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(1e-3, 64), min_size=2, max_size=5), st.floats(0, 1), st.floats(0, 3))
def test_the_weakest_modality_is_never_dropped(scores: list[float], q_base: float, lam: float) -> None:
    for kind in (torch.float32, torch.float64):
        found = drop_probabilities(discrepancy_ratios(torch.tensor(scores, dtype=kind)), q_base, lam)
        assert float(found[int(torch.tensor(scores, dtype=kind).argmin())]) == 0
        assert int((found > 0).sum()) <= len(scores) - 1
        assert ((found == 0) | (found >= q_base * (1 - 1e-6))).all()
        assert (found <= 1).all()
    if len(scores) == 2:
        assert int((found > 0).sum()) <= 1


def test_the_scale_by_hand() -> None:
    # θ = (3 * 0.5 + 1 * 0.1) / 4 = 0.4
    found = drop_scale(torch.tensor([0.5, 0.1]), [3, 1])
    assert float(found) == pytest.approx(1 / 0.6)
    assert found.shape == ()
    assert float(drop_scale(torch.zeros(3), [2, 5, 7])) == 1
    assert float(drop_scale(torch.ones(2), [2, 5])) == pytest.approx(1e6)


@pytest.mark.parametrize("kind", [torch.int64, torch.bool, torch.float32])
def test_a_drop_by_hand(kind: torch.dtype) -> None:
    features = [torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]), torch.tensor([[7.0], [8.0], [9.0]])]
    keep = torch.tensor([[1, 0, 0], [0, 0, 1]]).to(kind)
    for scale in (2.0, torch.tensor(2.0)):
        (first, second), rows = apply_drop(features, keep, scale)
        assert rows.tolist() == [True, False, True]
        assert first.tolist() == [[2.0, 4.0], [0.0, 0.0]]
        assert second.tolist() == [[0.0], [18.0]]
        assert [x.tolist() for x in dropped_features(features, keep, scale)] == [
            [[2.0, 4.0], [0.0, 0.0], [0.0, 0.0]],
            [[0.0], [0.0], [18.0]],
        ]
    (first, second), rows = apply_drop(features, torch.zeros(2, 3).to(kind), 2.0)
    assert (first.shape, second.shape, rows.any()) == ((0, 2), (0, 1), False)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 4), st.integers(1, 5))
def test_a_drop_equals_a_loop_over_samples(seed: int, count: int, samples: int) -> None:
    features = [draw(samples, m + 1, seed=seed + m) for m in range(count)]
    keep = draw(count, samples, seed=seed + 99) > 0
    found, rows = apply_drop(features, keep, 1.5)
    kept = [i for i in range(samples) if any(bool(keep[m, i]) for m in range(count))]
    assert [i for i in range(samples) if rows[i]] == kept
    for m, x in enumerate(found):
        assert x.shape == (len(kept), m + 1)
        for row, i in zip(x, kept, strict=True):
            torch.testing.assert_close(row, features[m][i] * (1.5 if keep[m, i] else 0.0))


def test_the_scale_keeps_the_mean_of_the_features() -> None:
    probabilities, widths, samples = torch.tensor([0.5, 0.2, 0.0]), [4, 2, 3], 20000
    random = torch.Generator().manual_seed(0)
    keep = torch.rand(3, samples, generator=random) >= probabilities.unsqueeze(1)
    ones = [torch.ones(samples, width) for width in widths]
    found = torch.cat(dropped_features(ones, keep, drop_scale(probabilities, widths)), 1)
    assert float(found.mean()) == pytest.approx(1, abs=0.01)


def test_a_dropped_sample_sends_no_gradient_into_what_it_lost() -> None:
    features = [draw(4, 3, seed=m).requires_grad_() for m in range(2)]
    keep = torch.tensor([[1, 0, 1, 0], [1, 1, 1, 1]])
    kept, _ = apply_drop(features, keep, 1.5)
    (torch.cat(kept, 1) @ draw(6, 2, seed=9)).square().sum().backward()
    assert features[0].grad is not None
    assert (features[0].grad[[1, 3]] == 0).all()
    assert (features[0].grad[[0, 2]] != 0).all()
    assert (features[1].grad != 0).all()


# Training ------------------------------------------------------------------------------------------------------


def setup(modalities: int = 2, epochs: int = 4, **hyperparameters: Any) -> tuple[OPM, TrainingContext]:
    dataset = toy_dataset(modalities)
    method = toy_method("opm", dataset, {"warmup_epochs": 0.0, **hyperparameters}, epochs)
    assert isinstance(method, OPM)
    return method, hand_driven_context(method, dataset, Recipe(batch_size=16, lr=0.1), seed=3)


@pytest.mark.parametrize(
    ("options", "modalities"),
    [
        ({}, 2),
        ({"p_exe": 1.0, "q_base": 0.8}, 3),
        ({"q_from": "current", "p_exe": 0.5, "fusion": "sum"}, 3),
        ({"rescale": False, "p_exe": 1.0}, 2),
    ],
)
def test_training_follows_the_paper(options: dict[str, Any], modalities: int) -> None:
    method, context = setup(modalities, **options)
    twin, _ = setup(modalities, **options)
    hp = method.hyperparameters
    optimizer = torch.optim.SGD(twin.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    previous, dropped, executed = [0.0] * modalities, 0, 0
    bits = torch.rand(48, modalities, generator=context.generator("opm keep", 1))
    for step, batch in enumerate(context.training_batches(torch.arange(48) % 45, False)):
        method.training_step(batch, context)
        optimizer.zero_grad()
        features = [encoder(batch.inputs[m]) for m, encoder in twin.encoders.items()]
        own = twin.fusion.native_logits(features)
        scores = [
            sum(float(row.detach().softmax(0)[y]) for row, y in zip(z, batch.labels.tolist(), strict=True)) for z in own
        ]
        current = []
        for k, score in enumerate(scores):
            ratio = sum(score / s for j, s in enumerate(scores) if j != k) / (modalities - 1)
            current.append(min(1.0, hp.q_base * (1 + hp.lam * math.tanh(ratio - 1))) if ratio > 1 else 0.0)
        q = previous if hp.q_from == "previous" else current
        previous = current
        if float(torch.rand((), generator=context.generator("opm execution", step))) < hp.p_exe:
            executed += 1
            scale = 1 / (1 - sum(q) / modalities) if hp.rescale else 1.0
            kept = [bits[16 * step : 16 * step + 16, k] >= q[k] for k in range(modalities)]
            dropped += sum(int((~each).sum()) for each in kept)
            features = [f * each.float().unsqueeze(1) * scale for f, each in zip(features, kept, strict=True)]
        F.cross_entropy(twin.fusion(features).logits, batch.labels).backward()
        optimizer.step()
        assert method.drop_probabilities.tolist() == pytest.approx(current, abs=1e-4)
    assert dropped
    assert executed == 3 or hp.p_exe < 1
    for found, expected in zip(method.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("options", [{"q_base": 0.0}, {"p_exe": 0.0}, {"start_epoch": 9.0}, {"warmup_epochs": 9.0}])
@pytest.mark.parametrize("modalities", [2, 3])
def test_without_drop_it_is_joint_training_bit_for_bit(options: dict[str, Any], modalities: int) -> None:
    runs = [toy_training("opm", options, modalities=modalities), toy_training("joint", modalities=modalities)]
    for one, other in zip(*(run.epochs() for run in runs), strict=True):
        assert (one.loss, one.metrics) == (other.loss, other.metrics)
    own = {k: v for k, v in runs[0].method.state_dict().items() if k != "drop_probabilities"}
    assert_same(own, runs[1].method.state_dict(), "weights")


def test_the_first_step_drops_nothing_unless_probabilities_are_those_of_the_same_step() -> None:
    for q_from, changed in (("previous", False), ("current", True)):
        method, context = setup(q_from=q_from, p_exe=1.0, q_base=1.0)
        batch = next(iter(context.training_batches(torch.arange(16), False)))
        outputs = method(batch)
        loss = method.loss(outputs, batch, context)
        assert torch.equal(loss, F.cross_entropy(outputs.logits, batch.labels)) is not changed


def test_only_the_epochs_of_the_window_drop_and_all_measure() -> None:
    method, context = setup(warmup_epochs=1.0, end_epoch=2.0, q_from="current", p_exe=1.0, q_base=1.0)
    assert list(method.window) == [1, 2]
    drops = []
    for epoch in range(1, 5):
        move_to(context, method, epoch)
        batch = next(iter(context.training_batches(torch.arange(16), False)))
        outputs = method(batch)
        plain = F.cross_entropy(outputs.logits, batch.labels)
        drops.append(not torch.equal(method.loss(outputs, batch, context), plain))
        assert float(outputs.extra["drop_probabilities"].max()) == 1
        assert set(context.logged()) == {
            f"{name}_{m}" for name in ("ratio", *(["dropped"] if drops[-1] else [])) for m in method.modalities
        }
    assert drops == [False, True, True, False]


def test_the_warm_up_is_a_share_of_the_budget_by_default() -> None:
    windows = [toy_method("opm", toy_dataset(), {}, epochs).window for epochs in (30, 100)]
    assert windows == [range(2, 30), range(6, 100)]


def test_ratio_and_dropped_share_of_each_modality_are_logged() -> None:
    method, context = setup(q_from="current", p_exe=1.0)
    batch = next(iter(context.training_batches(torch.arange(16), False)))
    outputs = method(batch)
    ratios = discrepancy_ratios(unimodal_scores(outputs.unimodal_logits, batch.labels))
    method.training_step(batch, context)
    found = context.logged()
    for m, ratio in zip(method.modalities, ratios, strict=True):
        assert found[f"ratio_{m}"] == pytest.approx(float(ratio))
    strong, weak = (method.modalities[int(k)] for k in (ratios.argmax(), ratios.argmin()))
    assert 0.2 < found[f"dropped_{strong}"] < 1
    assert found[f"dropped_{weak}"] == 0


def test_inference_drops_nothing_and_keeps_no_probabilities() -> None:
    method, context = setup(p_exe=1.0, q_base=1.0)
    for batch in context.training_batches(torch.arange(45), False):
        method.training_step(batch, context)
    assert float(method.drop_probabilities.max()) == 1
    method.eval()
    batch = toy_dataset().test.gather(torch.arange(9))
    features = method.encode(batch)
    torch.testing.assert_close(method.predict(batch)["multi"], method.fusion(features).logits, atol=0, rtol=0)
    assert "drop_probabilities" not in method.inference_state()


# What is refused, what is said -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hyperparameters", "reason"),
    [
        ({"fusion": "channel"}, "needs each on its own"),
        ({"fusion": "late"}, "late_train: joint"),
        ({"fusion": "etmc"}, "loss of its own"),
        ({"unimodal_source": "aux"}, "no auxiliary heads"),
    ],
)
def test_what_is_not_defined_is_refused(hyperparameters: dict[str, Any], reason: str) -> None:
    with pytest.raises(MethodError, match=reason):
        OPM.check(OPMHyperparameters(**hyperparameters), ("a", "b"))
    with pytest.raises(MethodError, match="at least 2"):
        OPM.check(OPMHyperparameters(), ("a",))


def test_values_outside_the_bounds_are_refused() -> None:
    for wrong in ({"q_base": 1.1}, {"lam": -0.1}, {"p_exe": 1.1}, {"warmup_epochs": 1.5}, {"q_from": "next"}):
        with pytest.raises(ValidationError, match=next(iter(wrong))):
            OPMHyperparameters(**wrong)


@pytest.mark.parametrize(
    ("hyperparameters", "said"),
    [
        ({}, ""),
        ({"fusion": "gated"}, "features of all others zeroed"),
        ({"end_epoch": 0.0, "warmup_epochs": 1.0}, "so nothing is dropped"),
    ],
)
def test_the_log_says_where_nothing_is_dropped(hyperparameters: dict[str, Any], said: str) -> None:
    lines: list[str] = []
    method, _ = setup(**hyperparameters)
    method.on_fit_start(hand_driven_context(method, toy_dataset(), Recipe(), warn=lines.append))
    assert len(lines) == bool(said)
    assert said in "".join(lines)


def test_the_page_says_what_is_declared() -> None:
    assert_page_says_what_is_declared("opm")
