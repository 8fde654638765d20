"""How an epoch is cut into joint batches and these into the parts of workers; which samples are held out."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sweep.training.epoch_plan import epoch_steps, stratified_share


@pytest.mark.parametrize(
    ("samples", "batch_size", "workers", "drop_last", "counts"),
    [
        (45, 16, 1, False, [[16], [16], [13]]),
        (45, 16, 2, False, [[8, 8], [8, 8], [7, 6]]),
        (45, 16, 2, True, [[8, 8], [8, 8]]),
        (33, 16, 2, False, [[8, 8], [9, 8]]),  # the one that is left joins the batch before it
        (33, 16, 2, True, [[8, 8], [8, 8]]),
        (17, 16, 1, False, [[17]]),
        (32, 16, 1, False, [[16], [16]]),
        (35, 16, 4, False, [[4, 4, 4, 4], [4, 4, 4, 4], [1, 1, 1, 0]]),  # a worker without a sample
        (1, 16, 2, False, [[1, 0]]),  # no batch before it
        (3, 1, 1, False, [[1], [1], [1]]),  # as was asked for
        (0, 16, 2, False, []),
        (0, 16, 2, True, []),
    ],
)
def test_steps_of_an_epoch(
    samples: int, batch_size: int, workers: int, drop_last: bool, counts: list[list[int]]
) -> None:
    steps = epoch_steps(samples, batch_size, workers, drop_last)
    assert [step.counts for step in steps] == counts
    assert [step.size for step in steps] == [sum(of_step) for of_step in counts]


def test_a_method_that_drops_incomplete_batches_needs_a_whole_one() -> None:
    with pytest.raises(ValueError, match="15 training samples give no whole batch of 16"):
        epoch_steps(15, 16, 1, True)
    assert len(epoch_steps(15, 16, 1, False)) == 1


@given(st.integers(0, 70), st.integers(1, 20), st.integers(1, 5))
def test_every_sample_is_shown_once_and_none_alone(samples: int, batch_size: int, workers: int) -> None:
    steps = epoch_steps(samples, batch_size, workers, False)
    shown = [row for step in steps for row in range(step.start, step.start + step.size)]
    assert shown == list(range(samples))
    assert all(one.size >= other.size or other.size == batch_size + 1 for one, other in pairwise(steps))
    if samples > 1 and batch_size > 1:
        assert min(step.size for step in steps) > 1
    for step in steps:
        parts = [step.part(rank) for rank in range(workers)]
        assert [part.stop - part.start for part in parts] == step.counts
        assert [row for part in parts for row in range(step.size)[part]] == list(range(step.size))


def test_the_share_held_out_is_rounded_in_each_class_and_ascending() -> None:
    labels = torch.tensor([0] * 10 + [1] * 5 + [2] * 2 + [3])

    def drawn(share: float, seed: int = 0) -> torch.Tensor:
        return stratified_share(labels, share, torch.Generator().manual_seed(seed))

    found = drawn(0.3)
    assert found.dtype == torch.int64
    assert labels[found].bincount(minlength=4).tolist() == [3, 2, 1, 0]
    assert (found.diff() > 0).all()
    assert torch.equal(found, drawn(0.3))
    assert not torch.equal(found, drawn(0.3, seed=1))
    assert len(drawn(0.0)) == 0
