"""Numbers of the device that a later step reads."""

from __future__ import annotations

import torch

from methods.base.delayed import DelayedNumbers


def test_a_number_is_read_two_steps_later_and_once() -> None:
    numbers, read = DelayedNumbers(), []
    for step in range(5):
        read.append(numbers.take())
        if step != 3:
            numbers.put(torch.tensor(10 * step))
    assert read == [None, None, 0, 10, None]


def test_what_is_forgotten_is_not_read() -> None:
    numbers = DelayedNumbers()
    for step in range(3):
        numbers.put(torch.tensor(step))
    numbers.forget()
    assert numbers.take() is None
    numbers.put(torch.tensor(7))
    assert numbers.take() is None
    numbers.put(torch.tensor(8))
    assert numbers.take() == 7


def test_what_has_not_been_read_is_saved() -> None:
    numbers, other = DelayedNumbers(), DelayedNumbers()
    numbers.put(torch.tensor(3))
    numbers.put(torch.tensor(-1))
    assert numbers.state_dict() == [3, -1]
    other.load_state_dict(numbers.state_dict())
    assert other.take() == numbers.take() == 3
