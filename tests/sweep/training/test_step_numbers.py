"""Random numbers of steps: the same however many steps are drawn together."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from sweep.training import seeds, step_numbers
from sweep.training.step_numbers import RecordedNumbers, StepNumbers

CPU = torch.device("cpu")


class Numbers:
    """Numbers of one epoch; what was drawn, and the names and keys that were asked for."""

    def __init__(self, epoch: int = 2, samples: int = 7, seed: int = 5) -> None:
        self.asked, self.drawn, self.seed = list[tuple[Any, ...]](), 0, seed
        self.found = StepNumbers(CPU, self._generator, epoch, samples)

    def _generator(self, name: str, *keys: int) -> torch.Generator:
        self.asked.append((name, *keys))
        return seeds.generator(self.seed, name, *keys)

    def normal(self, generator: torch.Generator) -> torch.Tensor:
        self.drawn += 1
        return torch.randn(4, generator=generator)

    def of_step(self, step: int, last: int, name: str = "noise") -> torch.Tensor:
        return self.found.of_step(name, step, last, self.normal)


def own(step: int, name: str = "noise") -> torch.Tensor:
    """What a step draws that draws for itself."""
    return torch.randn(4, generator=seeds.generator(5, name, step))


STEP_BYTES = own(0).nbytes


@pytest.mark.parametrize("ahead", [0, STEP_BYTES, 3 * STEP_BYTES - 1, 3 * STEP_BYTES, 2**20])
def test_each_step_has_the_numbers_that_it_would_draw_itself(ahead: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_numbers, "AHEAD_BYTES", ahead)
    numbers = Numbers()
    for step in range(3, 11):
        assert torch.equal(numbers.of_step(step, 10), own(step))
    assert numbers.drawn == 8  # each step's once, and none beyond the last


@pytest.mark.parametrize(("ahead", "together"), [(0, 1), (3 * STEP_BYTES - 1, 2), (3 * STEP_BYTES, 3), (2**20, 8)])
def test_as_many_steps_are_drawn_together_as_the_memory_for_them_holds(
    ahead: int, together: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(step_numbers, "AHEAD_BYTES", ahead)
    numbers = Numbers()
    numbers.of_step(3, 10)
    assert numbers.drawn == together
    numbers.of_step(2 + together, 10)  # the last of these
    assert numbers.drawn == together


def test_small_numbers_of_many_steps_are_drawn_together() -> None:
    numbers = Numbers()
    numbers.of_step(0, 499)
    assert numbers.drawn == 500


def test_a_step_that_is_asked_for_again_or_went_before_has_its_own_numbers() -> None:
    numbers = Numbers()
    for step in (5, 5, 9, 4, 9, 12):
        assert torch.equal(numbers.of_step(step, 12), own(step))


def test_names_are_drawn_apart() -> None:
    numbers = Numbers()
    for name in ("noise", "mix", "noise", "mix"):
        for step in (0, 1):
            assert torch.equal(numbers.of_step(step, 3, name), own(step, name))
    assert numbers.drawn == 2 * 4


def test_a_draw_of_nothing_is_nothing() -> None:
    numbers = Numbers()
    assert numbers.found.of_step("none", 0, 3, lambda generator: torch.empty(0)).shape == (0,)


def test_the_samples_of_an_epoch_are_drawn_once_and_by_its_number() -> None:
    numbers = Numbers(epoch=2, samples=7)
    parts = [numbers.found.of_samples("mask", 3, rows) for rows in (slice(0, 4), slice(4, 7))]
    assert torch.equal(torch.cat(parts), torch.rand(7, 3, generator=seeds.generator(5, "mask", 2)))
    assert numbers.asked == [("mask", 2)]
    again, later = (Numbers(epoch).found.of_samples("mask", 3, slice(0, 7)) for epoch in (2, 3))
    assert torch.equal(torch.cat(parts), again)
    assert not torch.equal(again, later)


def test_samples_have_one_number_of_columns_a_name_and_epoch() -> None:
    numbers = Numbers().found
    numbers.of_samples("mask", 3, slice(0, 4))
    assert numbers.of_samples("other", 2, slice(0, 4)).shape == (4, 2)
    with pytest.raises(ValueError, match="'mask' was drawn with 3 columns in this epoch, not 2"):
        numbers.of_samples("mask", 2, slice(4, 7))


# Recorded steps ---------------------------------------------------------------------------------------------------


def test_a_recorded_step_reads_buffers_that_are_filled_with_the_numbers_of_each_replay() -> None:
    numbers, present = RecordedNumbers(), [torch.tensor([1.0])]
    read = lambda: present[0]  # noqa: E731
    assert numbers.give("noise", read) is present[0]
    with numbers.in_buffers() as fill:
        buffer = numbers.give("noise", read)
        assert (buffer.tolist(), buffer is present[0]) == ([1], False)
        present[0] = torch.tensor([2.0])
        assert buffer.tolist() == [1]
        fill()
        assert buffer.tolist() == [2]
        assert numbers.give("noise", read) is buffer
        with pytest.raises(RuntimeError, match="asks for the numbers 'mask', which the one before did not"):
            numbers.give("mask", read)
    assert numbers.give("noise", read) is present[0]
    present[0] = torch.tensor([3.0])
    fill()
    assert buffer.tolist() == [3]


def test_buffers_end_with_an_error() -> None:
    numbers = RecordedNumbers()
    with pytest.raises(KeyError), numbers.in_buffers():
        raise KeyError
    assert numbers.give("mask", lambda: torch.tensor([4.0])).tolist() == [4]
