"""Train a method without Ray by ``from sweep.fit import fit``; see :func:`sweep.training.loop.fit`."""

from sweep.training.loop import FitResult, fit

__all__ = ["FitResult", "fit"]
