"""One run in plain PyTorch: recipe, loop, what a step may ask of it, workers, metrics.

In come a method, a dataset and a recipe, out come an :class:`EpochRecord` an epoch and a :class:`FitResult`. This room
knows no file, no sweep and no Ray."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sweep.training.epoch_record import EpochRecord
from sweep.training.recipe import Recipe

if TYPE_CHECKING:
    from sweep.training.loop import DivergedError, FitResult, Training, fit

__all__ = ["DivergedError", "EpochRecord", "FitResult", "Recipe", "Training", "fit"]


def __getattr__(name: str) -> Any:
    # The loop imports torch, which whoever only reads records does without.
    if name in __all__:
        from sweep.training import loop

        return getattr(loop, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
