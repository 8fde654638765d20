"""Phases of IGM: which modality an epoch trains."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Phase(NamedTuple):
    """Where an epoch lies: number of its phase, modality, epoch within the phase, length. All count from 1."""

    number: int
    modality: str
    epoch: int
    epochs: int


def phase_of(epoch: int, order: Sequence[str], lengths: Sequence[int]) -> Phase:
    """Find the phase of an epoch, from 1, where the modalities take turns in ``order``, each for its ``lengths``."""
    cycle, rest = divmod(epoch - 1, sum(lengths))
    position = 0
    while rest >= lengths[position]:
        rest -= lengths[position]
        position += 1
    number = cycle * len(order) + position + 1
    return Phase(number, order[position], rest + 1, lengths[position])
