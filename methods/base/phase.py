"""Phases: how a method tells the training loop what is trained when."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

EVERYTHING = "all"
"""Name of the one parameter group of methods that name none."""


@dataclass(frozen=True)
class Phase:
    """Consecutive epochs in which one set of parameter groups is trained by one optimizer.

    A method tells all of them before anything is trained (:meth:`methods.base.Method.phases_of`)."""

    name: str
    """Unique among the phases; told in the records."""
    epochs: int
    groups: Mapping[str, float] | None = None
    """Parameter group -> factor of the learning rate. Groups that are not named rest. None: all groups, at factor 1."""
    optimizer: str | None = None
    """Phases that name one optimizer share its state. None: one of the phase's own, which starts afresh."""
    schedule: str | None = None
    """Phases that name one schedule share it: it spans the sum of their epochs. None: named as the optimizer."""
    holds_rate: bool = False
    """The phase runs at the rate that its schedule has reached, and leaves it there; its epochs are not counted."""
    selectable: Literal["all", "last", "none"] = "all"
    """Which of its epochs may be selected; patience, schedulers and racing judge no others."""
    budget: bool = True
    """False: the epochs come beside the budget, with a count of epochs and steps and random numbers of their own."""
    validate: bool = True
    """False: only epochs that may be selected are validated."""
    passes: float = 1.0
    """Forward passes through all encoders that a training sample costs (one branch of M: 1/M)."""
    info: Any = None
    """Words of the method's own, for its hooks."""

    @property
    def optimizer_name(self) -> str:
        return self.optimizer or self.name

    @property
    def schedule_name(self) -> str:
        return self.schedule or self.optimizer_name

    def may_select(self, epoch: int) -> bool:
        """Tell whether an epoch of the phase, counted from 1, may be selected."""
        return self.selectable == "all" or (self.selectable == "last" and epoch == self.epochs)

    @property
    def selectable_epochs(self) -> int:
        """Count the epochs that may be selected."""
        return sum(self.may_select(epoch) for epoch in range(1, self.epochs + 1))


def checked_phases(phases: Sequence[Phase]) -> list[Phase]:
    """Return the phases that have epochs. Raises ValueError where they cannot be trained: without an epoch that may be
    selected, or with two of one name."""
    names = [phase.name for phase in phases]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"two phases are called {twice[0]!r}; each needs a name of its own")
    for phase in phases:
        if phase.epochs < 0:
            raise ValueError(f"phase {phase.name!r} has {phase.epochs} epochs")
    found = [phase for phase in phases if phase.epochs]
    if not any(phase.selectable_epochs for phase in found):
        told = ", ".join(f"{phase.name} ({phase.epochs})" for phase in found) or "none"
        raise ValueError(f"no epoch of this training may be selected; its phases: {told}")
    return found


def total_epochs(phases: Sequence[Phase]) -> int:
    """Count all epochs that the loop runs."""
    return sum(phase.epochs for phase in phases)


def selectable_epochs(phases: Sequence[Phase]) -> int:
    """Count the epochs that may be selected: what patience, schedulers and racing count."""
    return sum(phase.selectable_epochs for phase in phases)


def schedule_epochs(phases: Sequence[Phase], schedule: str) -> int:
    """Count the epochs over which a schedule falls; those of the phases alone that hold it, where no other has it."""
    sharing = [phase for phase in phases if phase.schedule_name == schedule]
    return total_epochs([phase for phase in sharing if not phase.holds_rate] or sharing)


@dataclass(frozen=True)
class Place:
    """Where an epoch of the loop lies. All counts begin with 1."""

    phase: Phase
    position: int
    """Of the phase in the list, from 0."""
    phase_epoch: int
    epoch: int
    """Of the budget; in a phase beside the budget, of that phase."""
    epochs: int
    """Of the budget, in all; in a phase beside the budget, of that phase."""


def place_of(phases: Sequence[Phase], epoch: int) -> Place:
    """Find the place of an epoch of the loop, from 1. Raises ValueError for one beyond the last."""
    whole = total_epochs([phase for phase in phases if phase.budget])
    before = budget = 0
    for position, phase in enumerate(phases):
        if epoch <= before + phase.epochs:
            within = epoch - before
            if phase.budget:
                return Place(phase, position, within, budget + within, whole)
            return Place(phase, position, within, within, phase.epochs)
        before += phase.epochs
        budget += phase.epochs if phase.budget else 0
    raise ValueError(f"epoch {epoch} lies beyond the last of {before}")
