"""Reading ahead: the same batches, made while those before are used, by one thread that ends with them."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import torch
from support.toy_dataset import toy_dataset, toy_method

from data.base import Batch
from sweep.training.context import TrainingContext
from sweep.training.read_ahead import read_ahead
from sweep.training.recipe import Recipe
from sweep.training.workers import WorkerGroup

CPU = torch.device("cpu")
PATIENCE = 60.0
"""Seconds after which a test has failed that waits for a thread."""


def batch(number: int) -> Batch:
    return Batch({"audio": torch.full((1, 2), float(number))}, torch.tensor([number]), torch.tensor([number]))


def readers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("read-ahead")]


@pytest.mark.parametrize("count", [0, 1, 3])
def test_every_batch_comes_once_and_in_order(count: int) -> None:
    assert [int(each.labels) for each in read_ahead(batch, count, CPU)] == list(range(count))
    assert not readers()


def test_the_next_batch_is_made_while_one_is_used_and_no_more_than_that() -> None:
    begun = [threading.Event() for _ in range(4)]

    def noted(number: int) -> Batch:
        begun[number].set()
        return batch(number)

    batches = read_ahead(noted, 4, CPU)
    for number in range(3):
        next(batches)
        assert begun[number + 1].wait(PATIENCE)
        assert not any(later.is_set() for later in begun[number + 2 :])
    batches.close()  # type: ignore[attr-defined]
    assert not readers()


def test_an_error_is_raised_where_its_batch_is_asked_for() -> None:
    def failing(number: int) -> Batch:
        if number == 1:
            raise OSError("cannot read sample 7")
        return batch(number)

    batches = read_ahead(failing, 3, CPU)
    next(batches)
    with pytest.raises(OSError, match="cannot read sample 7"):
        next(batches)
    assert not readers()


def test_the_thread_computes_with_as_many_threads_as_its_caller() -> None:
    before, found = torch.get_num_threads(), list[int]()

    def counted(number: int) -> Batch:
        found.append(torch.get_num_threads())
        return batch(number)

    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            list(read_ahead(counted, 1, CPU))
    finally:
        torch.set_num_threads(before)
    assert found == [1, 2]


def seen(reads_ahead: bool) -> list[dict[str, Any]]:
    """What a context shows of each batch of an epoch, and what it says of the step meanwhile."""
    dataset, recipe = toy_dataset(), Recipe(batch_size=16)
    method = toy_method("joint", dataset)
    context = TrainingContext(method, dataset, recipe, 5, CPU, WorkerGroup(), print, reads_ahead)
    order, tags = torch.arange(45).flip(0), torch.arange(45)
    return [
        {
            **each.inputs,
            "labels": each.labels,
            "index": each.index,
            "tag": each.tag,
            "numbers": context.sample_numbers("dropped", 2),
            "step": torch.tensor([context.samples_in_step, context.offset]),
        }
        for each in context.training_batches((order, tags), drop_last=False)
    ]


def test_a_context_that_reads_ahead_shows_what_one_shows_that_does_not() -> None:
    ahead, plain = seen(True), seen(False)
    assert [len(found["labels"]) for found in plain] == [16, 16, 13]
    for one, other in zip(ahead, plain, strict=True):
        assert all(torch.equal(one[name], other[name]) for name in other)
