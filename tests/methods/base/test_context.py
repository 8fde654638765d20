"""The Context: what a method is promised is what the loop gives."""

from __future__ import annotations

import inspect

import pytest

from methods.base import Context
from sweep.training.context import TrainingContext

SERVICES = [name for name, value in vars(Context).items() if inspect.isfunction(value) and not name.startswith("_")]


@pytest.mark.parametrize("name", SERVICES)
def test_the_loop_takes_the_arguments_that_are_promised_with_their_defaults(name: str) -> None:
    promised, given = (inspect.signature(getattr(kind, name)).parameters for kind in (Context, TrainingContext))
    assert [(p.name, p.kind, p.default) for p in given.values()] == [
        (p.name, p.kind, p.default) for p in promised.values()
    ]


def test_there_are_services() -> None:
    assert {"train_batches", "validation_batches", "optimizer_step", "log"} <= set(SERVICES)
