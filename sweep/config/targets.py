"""What a name in ``vary`` or ``hyperparameters`` sets: the section of a sweep, whose it is, and the place in it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal

import methods
from sweep.runs.severities import CORRUPT


@dataclass(frozen=True)
class Target:
    """The value that a varied name sets. section: the key of a sweep that it belongs to. owner: the one method or
    dataset that it is for; None: every one of the sweep."""

    section: Literal["hyperparameters", "train", "data", "encoders", "epochs"]
    owner: str | None
    path: tuple[str, ...]

    @property
    def hyperparameter(self) -> str | None:
        """Return the hyperparameter that it sets, or of which it sets a part."""
        return self.path[0] if self.section == "hyperparameters" else None

    def concerns(self, method: str, dataset: str) -> bool:
        return self.owner in (None, dataset if self.section == "data" else method)


def target(name: str) -> Target:
    """Find what ``name`` sets: ``alpha``, ``iprm.alpha``, ``rho.audio``, ``igm.rho.audio``, ``train.lr``,
    ``train.schedule.every``, ``data.image_noise``, ``data.av_digits.image_noise``, ``data.corrupt.image.noise``,
    ``data.av_digits.corrupt.image.noise``, ``encoders.left.width``, ``epochs``. What stands first is a method before it
    is a hyperparameter."""
    first = name.partition(".")[0]
    return _target(name, first in methods.METHODS.found.usable or first in methods.METHODS.found.unusable)


@cache
def _target(name: str, owned: bool) -> Target:
    first, *rest = name.split(".")
    if first == "epochs" and not rest:
        return Target("epochs", None, ("epochs",))
    if first == "train":
        return Target("train", None, tuple(rest))
    if first == "encoders":
        return Target("encoders", None, tuple(rest))
    if first == "data":
        owns = len(rest) > 1 and rest[0] != CORRUPT
        return Target("data", rest[0] if owns else None, tuple(rest[owns:]))
    return (
        Target("hyperparameters", first, tuple(rest))
        if owned and rest
        else Target("hyperparameters", None, (first, *rest))
    )
