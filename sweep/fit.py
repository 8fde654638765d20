"""``from sweep.fit import fit``: train a method without Ray; see :func:`sweep.training.loop.fit`."""

from sweep.training.loop import FitResult, fit

__all__ = ["FitResult", "fit"]
