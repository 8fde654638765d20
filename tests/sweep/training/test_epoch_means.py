"""Means over the samples of an epoch: of all steps, and of all workers."""

from __future__ import annotations

import pytest
import torch

from sweep.training.epoch_means import EpochMeans
from sweep.training.workers import WorkerGroup

CPU = torch.device("cpu")


class Adding(WorkerGroup):
    """One of two workers, of which the other has the same sums, and half the samples."""

    def __init__(self) -> None:
        self.rank, self.size, self.collectives = 0, 2, 0

    def sum(self, value: torch.Tensor) -> torch.Tensor:
        self.collectives += 1
        sums, counts = value
        return torch.stack([2 * sums, 1.5 * counts])


def logged(means: EpochMeans, *steps: tuple[dict[str, float], int]) -> EpochMeans:
    for values, samples in steps:
        for name, value in values.items():
            means.set(name, value, samples)
        means.end_step()
    return means


def test_steps_count_by_their_samples() -> None:
    means = logged(EpochMeans(CPU, WorkerGroup()), ({"loss": 1.0, "gap": 4.0}, 6), ({"loss": 5.0}, 2))
    assert means.values() == {"gap": 4.0, "loss": 2.0}


def test_the_last_value_of_a_step_is_its_value() -> None:
    means = EpochMeans(CPU, WorkerGroup())
    means.set("loss", 9.0, 4)
    means.set("loss", torch.tensor(2.0, requires_grad=True), 4)
    means.end_step()
    means.end_step()  # a step that logs nothing changes nothing
    assert means.values() == {"loss": 2.0}
    means.set("loss", 8.0, 8)
    assert means.values() == {"loss": 6.0}


def test_the_means_are_added_in_double_precision() -> None:
    means = EpochMeans(CPU, WorkerGroup())
    for value in (1.0, 2.0**-24, 2.0**-24):
        means.set("small", torch.tensor(value), 1)
        means.end_step()
    assert means.values()["small"] == (1 + 2.0**-23) / 3


def test_a_worker_without_samples_adds_nothing_even_of_what_is_no_number() -> None:
    means = logged(EpochMeans(CPU, WorkerGroup()), ({"loss": 3.0}, 4), ({"loss": float("nan")}, 0))
    assert means.values() == {"loss": 3.0}
    empty = logged(EpochMeans(CPU, Adding()), ({"other": 1.0, "loss": 7.0}, 0), ({"loss": 2.0}, 4))
    assert empty.values()["loss"] == pytest.approx(2 * 8 / 6)
    assert set(empty.values()) == {"other", "loss"}  # alike on every worker


def test_workers_are_asked_once_until_something_is_logged() -> None:
    workers = Adding()
    means = logged(EpochMeans(CPU, workers), ({"loss": 3.0}, 4))
    means.values()["loss"] = 0.0  # whoever reads may keep what he read
    assert means.values() == means.values() == {"loss": pytest.approx(2 * 12 / 6)}
    assert workers.collectives == 1
    logged(means, ({"loss": 3.0}, 4))
    assert means.values() == {"loss": pytest.approx(4.0)}
    assert workers.collectives == 2


def test_where_nothing_is_logged_nobody_is_asked() -> None:
    workers = Adding()
    assert EpochMeans(CPU, workers).values() == {}
    assert workers.collectives == 0
