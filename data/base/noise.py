"""Normal numbers that follow from where they stand, not from what was drawn before: any part of them, in any order."""

from __future__ import annotations

import hashlib
import math

import torch
from torch import Tensor

_GOLDEN, _FIRST, _SECOND = -0x61C8864680B583EB, -0x40A7B892E31B1A47, -0x6B2FB644ECCEEE15
"""0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9 and 0x94D049BB133111EB of SplitMix64, as signed numbers of 64 bits."""


def stream_key(seed: int, *stream: str) -> int:
    """Give a signed number of 64 bits for the named stream of ``seed``."""
    name = "/".join((str(seed), *stream))
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big", signed=True)


def normal_numbers(key: int, index: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Give normal numbers [b, *shape], float32, of the samples at ``index`` (int64 [b]): each follows from the key, the
    sample and the place within it alone, and all are computed at once.

    By SplitMix64 (Steele, Lea, Flood, OOPSLA 2014) of a counter, and the inverse of the normal distribution."""
    size = math.prod(shape)
    places = torch.arange(size, device=index.device)
    state = (index[:, None] * size + places + 1) * _GOLDEN + key
    state = (state ^ _shifted(state, 30)) * _FIRST
    state = (state ^ _shifted(state, 27)) * _SECOND
    state = state ^ _shifted(state, 31)
    uniform = (_shifted(state, 11).double() + 0.5) * 2.0**-53
    return torch.special.ndtri(uniform).float().view(len(index), *shape)


def _shifted(state: Tensor, by: int) -> Tensor:
    """Shift to the right, zeros in front: torch repeats the sign."""
    return (state >> by) & ((1 << (64 - by)) - 1)
