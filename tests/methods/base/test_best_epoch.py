"""The best epoch of a module: the first with the largest score, kept as a copy."""

from __future__ import annotations

import torch
from torch import nn

from methods.base import BestEpoch


def module_at(value: float) -> nn.Linear:
    module = nn.Linear(1, 1)
    set_to(module, value)
    return module


def set_to(module: nn.Module, value: float) -> None:
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.fill_(value)


def test_the_first_of_the_best_epochs_comes_back() -> None:
    best, module = BestEpoch(), module_at(0)
    assert best.score is None
    told = []
    for value, score in enumerate((-0.5, 0.25, 0.75, 0.75, 0.5)):
        set_to(module, value)
        told.append(best.keep(module, score))
    assert told == [-0.5, 0.25, 0.75, 0.75, 0.75]
    assert best.score == 0.75
    best.restore(module)
    assert [parameter.item() for parameter in module.parameters()] == [2.0, 2.0]
    # Forgotten: a worse epoch is the best one again.
    assert best.score is None
    assert best.state_dict() == {"score": None, "weights": {}}
    set_to(module, 9)
    assert best.keep(module, -1.0) == -1.0


def test_a_copy_goes_on_from_the_saved_state() -> None:
    best, again, module = BestEpoch(), BestEpoch(), module_at(1)
    best.keep(module, 0.5)
    again.load_state_dict(best.state_dict())
    set_to(module, 2)
    assert again.keep(module, 0.5) == 0.5
    again.restore(module)
    assert module.weight.item() == 1.0
    # What one forgets the other still holds.
    assert list(best.state_dict()["weights"]) == ["weight", "bias"]
