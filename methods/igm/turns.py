"""Turns of IGM: which modality a phase trains."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from methods.base import Phase


class Turn(NamedTuple):
    """A phase's number among all, from 1, its cycle, from 1, and its modality."""

    number: int
    cycle: int
    modality: str


def turns(order: Sequence[str], lengths: Sequence[int], cycles: int, passes: float) -> list[Phase]:
    """List the phases in which the modalities take turns in ``order``, each for its ``lengths``, round and round; each
    trains the group of its modality by a fresh optimizer.

    Before the last turn of the first cycle a modality is untrained: no epoch before it may be selected."""
    phases: list[Phase] = []
    for cycle in range(1, cycles + 1):
        for modality, epochs in zip(order, lengths, strict=True):
            turn = Turn(len(phases) + 1, cycle, modality)
            phases.append(
                Phase(
                    f"cycle {cycle} {modality}",
                    epochs,
                    {modality: 1.0},
                    selectable="none" if turn.number < len(order) else "all",
                    passes=passes,
                    info=turn,
                )
            )
    return phases
