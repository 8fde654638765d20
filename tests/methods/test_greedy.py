"""Greedy: learning speeds by hand, which gate is frozen for how long, and what is used of the other modality."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from support.hand_driven_context import hand_driven_context
from support.method_pages import assert_page_says_what_is_declared
from support.method_variants import Variant
from support.tiny_encoders import tiny
from support.toy_dataset import toy_dataset, toy_method, toy_training
from torch import Tensor
from torch.nn import functional as F

from data.base import Batch
from methods.base import MethodError, evaluating
from methods.greedy import (
    Greedy,
    GreedyHyperparameters,
    conditional_learning_speed,
    conditional_utilization,
    frozen_branch,
    running_gate,
    speed_gap,
    update_magnitude,
)
from sweep.training.context import TrainingContext
from sweep.training.recipe import Recipe

VARIANTS = [
    Variant("defaults", {"window": 2, "start_epoch": 0.0}, epochs_to_learn=14),
    Variant("random-of-three", {"policy": "random", "allow_more": True, "utilization": False}, modalities=3,
            epochs_to_learn=14),
]  # fmt: skip

# Equations -----------------------------------------------------------------------------------------------------


def test_magnitudes_by_hand() -> None:
    weights, gradients = [torch.tensor([3.0, 0.0]), torch.tensor([[4.0]])], [torch.tensor([1.0, 2.0]), torch.zeros(1)]
    assert float(update_magnitude(weights, gradients)) == pytest.approx(5 / 25)
    scaled = update_magnitude([7 * w for w in weights], [7 * g for g in gradients])
    assert float(scaled) == pytest.approx(0.2)
    with pytest.raises(ValueError, match="all zero"):
        update_magnitude([torch.zeros(2)], [torch.ones(2)])


def test_speeds_and_gaps_by_hand() -> None:
    assert conditional_learning_speed(1.0, 100.0) == pytest.approx(-2)
    assert speed_gap([1.0, 5.0], [100.0, 50.0]) == pytest.approx(-1)
    assert speed_gap([5.0, 1.0], [50.0, 100.0]) == pytest.approx(1)
    assert [frozen_branch(gap, 0.5) for gap in (0.6, 0.5, 0.0, -0.5, -0.6)] == [0, None, None, None, 1]


def test_running_gates_and_utilization_by_hand() -> None:
    mean, gate = torch.tensor([0.5, 0.1]), torch.tensor([[0.0, 1.0], [1.0, 0.6]])
    torch.testing.assert_close(running_gate(mean, gate, 3), torch.tensor([0.5, 0.275]))
    torch.testing.assert_close(running_gate(mean, gate, 0), torch.tensor([0.5, 0.8]))
    assert conditional_utilization(0.8, 0.6) == pytest.approx(0.25)
    assert conditional_utilization(0.5, 0.6) == pytest.approx(-0.2)
    assert conditional_utilization(0.0, 0.6) == 0.0


# Steps ---------------------------------------------------------------------------------------------------------


def driven(modalities: int = 2, epoch: int = 2, **hyperparameters: Any) -> tuple[Greedy, TrainingContext]:
    dataset = toy_dataset(modalities)
    method = toy_method("greedy", dataset, hyperparameters)
    assert isinstance(method, Greedy)
    recipe = Recipe(lr=0.05, batch_size=16, momentum=0.9, weight_decay=0.01)
    return method, hand_driven_context(method, dataset, recipe, epoch=epoch)


def stepped(method: Greedy, context: TrainingContext, steps: int) -> Iterator[tuple[Batch, int]]:
    """Step so many times; give each batch and whose gate was frozen."""
    order = torch.arange(16 * steps) % 45
    for batch in context.training_batches(order, drop_last=False):
        method.training_step(batch, context)
        yield batch, method._frozen


def test_a_window_opens_a_step_late_lasts_as_said_and_the_sums_stand_still() -> None:
    method, context = driven(alpha=0.0, window=3)
    totals, frozen = [], []
    for _, whose in stepped(method, context, 9):
        totals.append(method.totals.clone())
        frozen.append(whose)
    # Two steps that count, of which the first asks for the window; again after it.
    assert [whose >= 0 for whose in frozen] == [False, False, True, True, True, False, False, True, True]
    for step in range(1, 9):
        assert torch.equal(totals[step], totals[step - 1]) is (frozen[step] >= 0)
    bypass, main = totals[0].tolist()
    assert frozen[2] == frozen_branch(speed_gap(bypass, main), 0.0)
    told = context.logged()
    assert told["frozen_audio"] + told["frozen_video"] == pytest.approx(5 / 9)


def test_no_window_opens_before_its_epoch_nor_for_a_gap_below_alpha() -> None:
    for options, epoch in (({"alpha": 0.0}, 1), ({"alpha": 1e9}, 2)):
        method, context = driven(epoch=epoch, **options)
        assert [frozen for _, frozen in stepped(method, context, 5)] == [-1] * 5
        assert (method.totals > 0).all()


def test_sums_are_those_of_each_branch_and_of_what_acts_on_it() -> None:
    method, context = driven(epoch=1)
    gates = method.fusion.gates["0"]
    (batch,) = context.training_batches(torch.arange(16), drop_last=False)
    method.training_step(batch, context)
    # As it was before the step: the gradients are still there, the weights are not.
    twin, _ = driven(epoch=1)
    for p, moved in zip(twin.parameters(), method.parameters(), strict=True):
        p.grad = moved.grad
    for position, modality in enumerate(method.modalities):
        own = [*twin.encoders[modality].parameters(), *twin.fusion.heads[position].parameters()]
        acting = [*twin.fusion.gates["0"].squeeze.parameters(), *twin.fusion.gates["0"].excite[position].parameters()]
        expected = [float(update_magnitude(of, [p.grad for p in of])) for of in (acting, own)]
        assert method.totals[:, position].tolist() == pytest.approx(expected)
    assert gates.excite[0].weight.grad is not None


def test_a_frozen_branch_learns_of_its_own_modality_alone() -> None:
    method, context = driven(alpha=0.0, window=1)
    *_, (batch, _) = stepped(method, context, 3)
    method._frozen = frozen = 0
    with method.gates_of_the_step():
        own = method(batch).unimodal_logits
        inputs = batch.inputs | {"video": torch.randn_like(batch.inputs["video"])}
        other = method(replace(batch, inputs=inputs)).unimodal_logits
    assert torch.equal(own[frozen], other[frozen])
    assert not torch.equal(own[1], other[1])
    # A step in a window, with momentum from those before: the excitation of the frozen gate does not move.
    method._left = 1
    before = [p.detach().clone() for p in method.fusion.gates["0"].excite.parameters()]
    method.training_step(batch, context)
    moved = [
        not torch.equal(p, old) for p, old in zip(method.fusion.gates["0"].excite.parameters(), before, strict=True)
    ]
    assert method._frozen == 0
    assert moved == [False, False, True, True]


def test_gates_are_averaged_over_all_training_steps() -> None:
    method, context = driven(alpha=0.0, window=2)
    expected = torch.zeros(16)
    order = torch.arange(16 * 5) % 45
    for count, batch in enumerate(context.training_batches(order, drop_last=False)):
        with torch.no_grad(), method.fusion.recorded() as records:
            method(batch)
        expected = running_gate(expected, torch.cat(records["0"].gates, 1), count)
        method.training_step(batch, context)
        torch.testing.assert_close(method.gate_means, expected)
    method.predict(batch)
    torch.testing.assert_close(method.gate_means, expected)


def test_the_control_freezes_by_chance_from_its_epoch_on() -> None:
    method, context = driven(epoch=1, policy="random")
    assert [frozen for _, frozen in stepped(method, context, 4)] == [-1] * 4
    method, context = driven(policy="random")
    drawn = [frozen for _, frozen in stepped(method, context, 40)]
    assert {-1, 0, 1} == set(drawn)
    assert drawn[0] == -1  # there is no mean yet
    again, context = driven(policy="random")
    assert [frozen for _, frozen in stepped(again, context, 40)] == drawn


def test_of_three_branches_the_gate_of_the_largest_speed_is_frozen() -> None:
    method, _ = driven(3, allow_more=True, alpha=0.5)
    method.totals.copy_(torch.tensor([[1.0, 40.0, 2.0], [100.0, 1000.0, 50.0]]))  # speeds -2, -1.4, -1.4
    assert int(method.decision()) == 1 or int(method.decision()) == 2
    method.totals[0, 2] = 20.0
    assert int(method.decision()) == 2
    method.totals.fill_(1.0)
    assert int(method.decision()) == -1


def test_without_windows_training_is_that_of_joint_gates() -> None:
    method, context = driven(alpha=1e9)
    twin, _ = driven(alpha=1e9)
    optimizer = torch.optim.SGD(twin.parameters(), 0.05, 0.9, weight_decay=0.01, fused=True)
    order = torch.arange(45)
    for batch in context.training_batches(order, drop_last=False):
        optimizer.zero_grad()
        outputs = twin.fusion([batch.inputs[m] for m in twin.modalities])
        heads = twin.fusion.native_logits(outputs.features)
        torch.stack([F.cross_entropy(z, batch.labels) for z in heads]).sum().backward()
        optimizer.step()
        method.training_step(batch, context)
    assert all(torch.equal(one, two) for one, two in zip(method.parameters(), twin.parameters(), strict=True))
    torch.testing.assert_close(
        method.predict(batch)["multi"], (method.predict(batch)["audio"] + method.predict(batch)["video"]) / 2
    )


# Utilization ---------------------------------------------------------------------------------------------------


def test_utilization_is_what_mean_maps_of_the_others_cost() -> None:
    *_, last = toy_training("greedy", epochs=3).epochs()
    assert {"utilization_of_others_audio", "utilization_of_others_video"} <= set(last.diagnostics)
    method, context = driven(epoch=4)
    train, val = toy_dataset().train.gather(torch.arange(45)), toy_dataset().validation.gather(torch.arange(21))
    with torch.no_grad(), evaluating(method):
        own = [method.encoders[m](train.inputs[m]).mean(0) for m in method.modalities]
        means = method.mean_squeezes(context)
        for found, expected in zip(means["0"], own, strict=True):
            torch.testing.assert_close(found, expected)
        feature = method.encoders["audio"](val.inputs["audio"])
        gate = method.fusion.gates["0"]([feature, own[1].expand(21, -1)])[0]
        logits = method.fusion.heads[0](feature * gate)
    expected = float((logits.argmax(1) == val.labels).float().mean())
    assert method.accuracy_without_others(0, means, context) == pytest.approx(expected)
    assert math.isfinite(last.diagnostics["utilization_of_others_audio"])


# What is refused -----------------------------------------------------------------------------------------------


def test_what_is_not_defined_is_refused() -> None:
    with pytest.raises(MethodError, match="defined for two modalities, the dataset gives 3: a, b, c; allow_more: true"):
        Greedy.check(GreedyHyperparameters(), ("a", "b", "c"))
    with pytest.raises(MethodError, match="numbered from 1"):
        Greedy.check(GreedyHyperparameters(mmtm_stages=[0]), ("a", "b"))
    Greedy.check(GreedyHyperparameters(allow_more=True), ("a", "b", "c"))


def test_gates_lie_between_the_stages_of_convolutional_encoders() -> None:
    encoders = {m: tiny("cnn") for m in ("audio", "image")}
    method = Greedy(encoders, 3, GreedyHyperparameters(mmtm_stages=[2, 3]), 4)
    assert list(method.fusion.gates) == ["1", "2"]
    assert len(method.gate_means) == sum(method._widths)
    inputs: dict[str, Tensor] = {m: torch.randn(4, 1, 8, 9) for m in encoders}
    labels = torch.zeros(4, dtype=torch.int64)
    assert method.predict(Batch(inputs, labels, labels))["multi"].shape == (4, 3)


def test_the_page_says_what_is_declared() -> None:
    assert_page_says_what_is_declared("greedy")
