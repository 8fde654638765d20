"""Noise of a sample follows from its place alone, is SplitMix64's, and is normal."""

from __future__ import annotations

from statistics import NormalDist

import pytest
import torch

from data.base.noise import normal_numbers, stream_key

MASK = 2**64 - 1


def split_mix(seed: int, step: int) -> int:
    """The number after ``step`` steps, as its authors write it, in whole numbers without sign."""
    state = (seed + step * 0x9E3779B97F4A7C15) & MASK
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & MASK
    return state ^ (state >> 31)


def test_the_generator_is_the_published_one() -> None:
    # Its first number of seed 0, as in the reference code of java.util.SplittableRandom.
    assert split_mix(0, 1) == 0xE220A8397B1DCDAF


@pytest.mark.parametrize("key", [0, -5, 2**62 + 12345])
def test_each_number_is_the_inverse_normal_of_its_step(key: int) -> None:
    found = normal_numbers(key, torch.tensor([0, 3]), (2, 2))
    for row, sample in enumerate((0, 3)):
        steps = [((split_mix(key, 4 * sample + place + 1) >> 11) + 0.5) / 2**53 for place in range(4)]
        expected = [NormalDist().inv_cdf(share) for share in steps]
        assert found[row].flatten().tolist() == pytest.approx(expected, rel=1e-6)


def test_a_sample_gets_the_same_numbers_in_any_batch() -> None:
    whole = normal_numbers(7, torch.arange(10), (3, 5))
    assert torch.equal(normal_numbers(7, torch.tensor([8, 2]), (3, 5)), whole[[8, 2]])
    assert normal_numbers(7, torch.tensor([], dtype=torch.int64), (3,)).shape == (0, 3)


def test_the_numbers_are_normal_and_unlike_those_of_another_key() -> None:
    one, other = (normal_numbers(stream_key(seed, "noise"), torch.arange(1000), (20,)) for seed in (0, 1))
    assert one.mean().item() == pytest.approx(0, abs=0.03)
    assert one.std().item() == pytest.approx(1, abs=0.03)
    # 20,000 pairs: a correlation has a deviation of 0.007.
    assert torch.corrcoef(torch.stack([one.flatten(), other.flatten()]))[0, 1].abs() < 0.03
    assert torch.corrcoef(torch.stack([one[:, 0], one[:, 1]]))[0, 1].abs() < 0.13


def test_keys_of_streams_differ() -> None:
    keys = {stream_key(0, "a"), stream_key(1, "a"), stream_key(0, "b"), stream_key(0, "a", "b")}
    assert len(keys) == 4
    assert all(-(2**63) <= key < 2**63 for key in keys)
