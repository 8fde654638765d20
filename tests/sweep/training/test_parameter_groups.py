"""Which parameters learn in an epoch, at which rate, by which optimizer."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from support.equality import assert_same
from support.hand_driven_context import ParametersAlone, hand_driven_context, move_to
from support.toy_dataset import toy_dataset
from torch import nn

from methods.base import Phase
from sweep.training.context import TrainingContext
from sweep.training.recipe import Recipe, ScheduleSpec
from sweep.training.workers import WorkerGroup


class Grouped(ParametersAlone):
    """Two layers, each a group of its own."""

    listed: tuple[Phase, ...] = (Phase("both", 4, {"slow": 0.1, "fast": 1.0}),)

    def build(self) -> None:
        torch.manual_seed(0)
        self.slow, self.fast = nn.Linear(2, 2), nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
        self.more: list[nn.Parameter] = []

    @classmethod
    def phases_of(cls, hyperparameters: Any, modalities: tuple[str, ...], epochs: int) -> list[Phase]:
        return list(cls.listed)

    def groups(self) -> Mapping[str, list[nn.Module | nn.Parameter]]:
        return {"slow": [self.slow, *self.more], "fast": [self.fast]}


def grouped(*phases: Phase) -> Grouped:
    kind = type("OfPhases", (Grouped,), {"listed": phases}) if phases else Grouped
    return kind()


def context_of(method: ParametersAlone, **recipe: Any) -> TrainingContext:
    return hand_driven_context(method, toy_dataset(), Recipe(**{"batch_size": 16, "lr": 0.1, **recipe}))


def rates(context: TrainingContext) -> dict[str, float]:
    """Learning rates by the groups of the optimizer, as it holds them."""
    optimizer = context.groups.optimizer
    assert optimizer is not None
    return {group["name"]: group["lr"] for group in optimizer.param_groups}


def step_on(context: TrainingContext, *parameters: nn.Parameter) -> list[bool]:
    """Step on a loss that depends on these; tell which of them moved."""
    before = [p.detach().clone() for p in parameters]
    context.zero_grad()
    context.backward(torch.stack([p.square().sum() for p in parameters]).sum())
    context.optimizer_step()
    return [not torch.equal(p, old) for p, old in zip(parameters, before, strict=True)]


def test_what_the_optimizer_remembers_of_parameters_can_be_forgotten() -> None:
    method = grouped()
    context = context_of(method, momentum=0.9)
    step_on(context, *method.parameters())
    context.forget_momentum([method.slow.weight])
    optimizer = context.groups.optimizer
    assert optimizer is not None
    assert [bool(optimizer.state.get(p)) for p in (method.slow.weight, method.slow.bias)] == [False, True]
    before = method.slow.weight.detach().clone()
    step_on(context, method.slow.weight)
    # A first step again: 0.01 times the gradient 2 w, and nothing of the step before.
    torch.testing.assert_close(method.slow.weight, before - 0.01 * 2 * before)


# Parameters that are made during training ------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["constant", "step", "cosine", "plateau"])
def test_parameters_made_later_join_before_the_next_epoch_at_the_rate_of_the_others(name: Any) -> None:
    first, late = (nn.Parameter(torch.ones(2)) for _ in range(2))
    method = ParametersAlone([first], epochs=4)
    context = context_of(method, schedule=ScheduleSpec(name=name, every=1.0, patience=0))
    step_on(context, first)
    method.held.append(late)
    assert step_on(context, first, late) == [True, False]
    for _ in range(3):
        context.groups.schedule.step(1.0)
        context.groups.refresh()
        optimizer = context.groups.optimizer
        assert optimizer is not None
        assert [id(p) for group in optimizer.param_groups for p in group["params"]] == [id(first), id(late)]
        assert len({group["lr"] for group in optimizer.param_groups}) == 1
        assert step_on(context, first, late) == [True, True]
    assert (optimizer.param_groups[0]["lr"] == 0.1) == (name == "constant")


def test_parameters_made_later_have_the_factor_of_their_group() -> None:
    method = grouped()
    context = context_of(method)
    late = nn.Parameter(torch.ones(2))
    method.more.append(late)
    context.groups.refresh()
    assert rates(context) == {"slow": pytest.approx(0.01), "fast": 0.1}
    assert any(p is late for p in context.groups.parameters)
    step_on(context, late)
    torch.testing.assert_close(late.detach(), torch.full((2,), 1 - 0.01 * (2 + 1e-4)))


# Rates and rest ---------------------------------------------------------------------------------------------------


def test_rates_are_products_of_schedule_phase_and_what_the_method_wrote() -> None:
    context = context_of(grouped(), schedule={"name": "step", "every": 1.0, "factor": 0.5})
    context.rates["fast"] = 3.0
    context.groups.schedule.step(1.0)
    context.groups.refresh()
    expected = {"slow": pytest.approx(0.1 * 0.5 * 0.1), "fast": pytest.approx(0.1 * 0.5 * 3.0)}
    assert rates(context) == context.groups.learning_rates == expected


def test_a_group_at_rest_is_evaluated_without_gradients_and_wakes_again() -> None:
    method = grouped()
    frozen = method.fast[0].bias.requires_grad_(False)
    context = context_of(method)
    step_on(context, *method.slow.parameters(), method.fast[0].weight)
    context.rates["fast"] = 0.0
    context.groups.refresh()
    assert not any(p.requires_grad or p.grad is not None for p in method.fast.parameters())
    assert not any(module.training for module in method.fast.modules())
    assert method.slow.training
    assert list(map(id, context.groups.parameters)) == list(map(id, method.slow.parameters()))
    assert context.groups.learning_rates == {"slow": pytest.approx(0.01)}
    # Neither momentum nor weight decay moves it.
    before = method.fast[0].weight.clone()
    step_on(context, method.slow.weight)
    assert torch.equal(method.fast[0].weight, before)
    context.rates["fast"] = 1.0
    context.groups.refresh()
    assert all(p.requires_grad for p in method.fast.parameters() if p is not frozen)
    assert not frozen.requires_grad
    assert all(module.training for module in method.modules())


@pytest.mark.parametrize(
    ("phase", "written", "message"),
    [
        ({"slow": 1.0, "fats": 1.0}, {}, "phase 'only' names parameter group 'fats'; the method has: slow, fast"),
        (None, {"head": 0.5}, "context.rates names parameter group 'head'; the method has: slow, fast"),
        (None, {"fast": -0.5}, r"context.rates\['fast'\] is -0.5"),
        (None, {"fast": float("nan")}, r"context.rates\['fast'\] is nan"),
    ],
)
def test_groups_that_are_not_there_and_rates_that_are_none_are_refused(
    phase: dict[str, float] | None, written: dict[str, float], message: str
) -> None:
    method = grouped(Phase("only", 4, phase))
    context = TrainingContext(
        method, toy_dataset(), Recipe(batch_size=16), 0, torch.device("cpu"), WorkerGroup(), print
    )
    context.groups.enter(0)
    context.rates.update(written)
    with pytest.raises(ValueError, match=message):
        context.groups.refresh()


def test_a_parameter_of_two_groups_is_refused() -> None:
    method = grouped()
    method.more.append(method.fast[0].weight)
    with pytest.raises(ValueError, match="lies in two groups, 'slow' and 'fast'"):
        context_of(method)


# Phases -----------------------------------------------------------------------------------------------------------

SHARED = (
    Phase("one", 1, {"slow": 1.0}, optimizer="run"),
    Phase("aside", 1, {"fast": 1.0}),
    Phase("two", 1, {"slow": 0.5, "fast": 1.0}, optimizer="run"),
)


def test_phases_of_one_optimizer_share_its_state_and_others_start_afresh() -> None:
    method = grouped(*SHARED)
    context, weight = context_of(method), method.slow.weight
    step_on(context, weight)
    first = context.groups.optimizer
    assert first is not None
    momentum = first.state[weight]["momentum_buffer"].clone()
    move_to(context, method, 2)
    aside = context.groups.optimizer
    assert aside is not first
    step_on(context, method.fast[0].weight)
    move_to(context, method, 3)
    assert context.groups.optimizer is first
    assert torch.equal(first.state[weight]["momentum_buffer"], momentum)
    # What the phase aside trained is new to this optimizer.
    assert method.fast[0].weight not in first.state
    assert rates(context) == {"slow": pytest.approx(0.05), "fast": 0.1}


def test_a_schedule_spans_the_phases_that_share_it() -> None:
    phases = (Phase("one", 2, optimizer="run"), Phase("aside", 3), Phase("two", 2, optimizer="run"))
    method = grouped(*phases)
    context = context_of(method, schedule={"name": "cosine"})
    found = []
    for epoch in range(1, 8):
        move_to(context, method, epoch)
        found.append(context.groups.schedule.rate / 0.1)
        context.groups.schedule.step(1.0)
    assert found[:2] + found[5:] == pytest.approx([1.0, 0.8535534, 0.5, 0.1464466])
    assert found[2:5] == pytest.approx([1.0, 0.75, 0.25])


def test_states_go_by_the_names_of_parameters() -> None:
    method = grouped(*SHARED)
    context = context_of(method, optimizer="adamw")
    context.rates["slow"] = 0.25
    step_on(context, method.slow.weight)
    context.groups.schedule.step(1.0)
    state = copy.deepcopy(context.groups.state_dict())
    assert {name: set(slots) for name, slots in state["optimizers"].items()} == {"run": {"slow.weight"}}
    assert state["rates"] == {"slow": 0.25}
    other = grouped(*SHARED)
    resumed = context_of(other, optimizer="adamw")
    resumed.groups.load_state_dict(state, 0)
    assert_same(resumed.groups.state_dict(), state, "groups")
    other.load_state_dict(method.state_dict())
    for each, own in ((context, method), (resumed, other)):
        each.groups.refresh()
        step_on(each, own.slow.weight)
    assert torch.equal(method.slow.weight, other.slow.weight)
