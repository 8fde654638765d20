"""Optimizers and learning-rate schedules of a recipe."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from support.toy_dataset import toy_training

from methods.base.phase import Phase
from sweep.training.optimizers import Schedule, build_optimizer, check_schedule, optimizer_kind
from sweep.training.recipe import Recipe, ScheduleSpec


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ({"name": "constant"}, [1.0, 1.0, 1.0, 1.0]),
        ({"name": "step", "every": 2.0}, [1.0, 1.0, 0.1, 0.1]),
        ({"name": "step", "every": 0.25, "factor": 0.5}, [1.0, 0.5, 0.25, 0.125]),
        ({"name": "cosine"}, [1.0, 0.8535534, 0.5, 0.1464466]),
    ],
)
def test_learning_rate_schedules(schedule: dict[str, Any], expected: list[float]) -> None:
    records = toy_training("joint", lr=0.01, schedule=schedule).epochs()
    assert [record.learning_rate / 0.01 for record in records] == pytest.approx(expected)


def test_plateau_falls_when_the_training_loss_stands_still() -> None:
    schedule = {"name": "plateau", "patience": 1, "factor": 0.5}
    records = list(toy_training("joint", epochs=6, lr=1e-6, momentum=0.0, schedule=schedule).epochs())
    rates = [record.learning_rate for record in records]
    assert rates[0] == 1e-6
    assert rates[-1] <= 0.5e-6


def test_a_plateau_waits_as_long_as_its_patience_before_the_rate_falls() -> None:
    schedule = Schedule(ScheduleSpec(name="plateau", patience=1, factor=0.5), 0.8, 9)
    rates = []
    for loss in (3.0, 2.0, 2.0, 2.0, 1.0, 1.0, 1.0):
        schedule.step(loss)
        rates.append(schedule.rate)
    assert rates == [0.8, 0.8, 0.8, 0.4, 0.4, 0.4, 0.2]


@pytest.mark.parametrize("name", ["constant", "step", "cosine", "plateau"])
def test_a_schedule_goes_on_from_its_state(name: Any) -> None:
    spec, losses = ScheduleSpec(name=name, every=2.0, patience=1, factor=0.5), [1.0] * 8
    whole, first, second = (Schedule(spec, rate, 8) for rate in (0.8, 0.8, 0.1))
    rates = []
    for number, loss in enumerate(losses):
        if number == 3:
            second.load_state_dict(first.state_dict())
        whole.step(loss)
        (first if number < 3 else second).step(loss)
        rates.append((whole.rate, (first if number < 3 else second).rate))
    assert all(one == other for one, other in rates)
    assert len({rate for rate, _ in rates}) == {"constant": 1, "step": 5, "cosine": 8, "plateau": 4}[name]


@pytest.mark.parametrize("name", ["plateau", "step"])
def test_phases_of_different_losses_cannot_share_a_plateau(name: Any) -> None:
    joint = Phase("joint", 2, {"audio": 1.0, "video": 1.0}, schedule="one")
    audio, spec = Phase("audio", 2, {"audio": 1.0}, schedule="one"), ScheduleSpec(name=name)

    def check(*phases: Phase) -> None:
        check_schedule(phases, spec)

    check(joint, replace(joint, name="again"))
    check(joint, replace(audio, schedule="another"))
    check(joint, replace(audio, holds_rate=True))
    if name == "plateau":
        with pytest.raises(ValueError, match="plateau compares losses, and those of the phases joint and audio, which"):
            check(joint, audio)
    else:
        check(joint, audio)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_optimizers_train(optimizer: str) -> None:
    records = list(toy_training("joint", optimizer=optimizer, lr=0.02, epochs=6).epochs())
    assert records[-1].loss < records[0].loss


@pytest.mark.parametrize(
    ("name", "kind", "options"),
    [
        ("sgd", torch.optim.SGD, {"momentum": 0.9, "weight_decay": 0.1}),
        ("adam", torch.optim.Adam, {"betas": (0.8, 0.9)}),
        ("adamw", torch.optim.AdamW, {"weight_decay": 0.1}),
    ],
)
def test_an_optimizer_does_what_torchs_own_does(name: str, kind: type, options: dict[str, Any]) -> None:
    ours, theirs = (torch.nn.Parameter(torch.arange(4.0)) for _ in range(2))
    steps = [(optimizer_kind(name)([ours], lr=0.1, **options), ours), (kind([theirs], lr=0.1, **options), theirs)]
    for number in range(4):
        for optimizer, parameter in steps:
            parameter.square().sum().backward()
            optimizer.step()
            optimizer.zero_grad()
            assert parameter.grad is None
            assert parameter.requires_grad
            if number == 1:
                state = optimizer.state_dict()
                optimizer.load_state_dict({**state, "param_groups": [{**state["param_groups"][0], "lr": 0.3}]})
        assert torch.equal(ours, theirs)
    assert steps[0][0].state_dict().keys() == steps[1][0].state_dict().keys()


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_fused_steps_are_the_plain_ones_however_the_gradients_lie_and_whenever_they_come(
    name: str, dtype: torch.dtype
) -> None:
    recipe = Recipe.model_validate({"optimizer": name, "lr": 0.1, "weight_decay": 0.01})
    numbers = torch.arange(24.0).view(2, 3, 2, 2).to(dtype)
    layouts = [numbers, numbers.contiguous(memory_format=torch.channels_last), numbers[0, :, 0]]
    found = []
    for fused in (True, False):
        parameters = [torch.nn.Parameter(layout.clone() / 24) for layout in layouts]
        optimizer = build_optimizer(parameters, recipe)
        if not fused:
            optimizer.param_groups[0]["fused"] = None
        for step in range(4):
            given = (numbers + step) / 9
            # Transposed, laid otherwise than the parameter, one number for all; from a later step on, with a pause.
            gradients = [given.mT, given, given[0, 0, 0, 1].expand(3, 2)]
            gradients = [None if (place, step) in {(0, 0), (0, 1), (1, 2)} else g for place, g in enumerate(gradients)]
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.grad = gradient
            optimizer.step()
        assert bool(optimizer.param_groups[0]["fused"]) == (fused and dtype != torch.bfloat16)
        found.append([parameter.detach() for parameter in parameters])
    for fused_one, plain in zip(*found, strict=True):
        torch.testing.assert_close(fused_one, plain)
