"""Optimizers and learning-rate schedules of a recipe."""

from __future__ import annotations

from typing import Any

import pytest
from support.toy_dataset import toy_training


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


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_optimizers_train(optimizer: str) -> None:
    records = list(toy_training("joint", optimizer=optimizer, lr=0.02, epochs=6).epochs())
    assert records[-1].loss < records[0].loss
