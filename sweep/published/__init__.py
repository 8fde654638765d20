"""Numbers that the methods' authors published: tables and sensitivity figures, each with its source.

In come a method and its hyperparameters, out come :class:`Cell` and :class:`Curve`. They are reference data beside our
results, never targets: see ``PROTOCOL`` and README.md in this folder. The files of this folder are read here
alone."""

from __future__ import annotations

from sweep.published.numbers import (
    DATASETS,
    FUSED,
    PROTOCOL,
    Cell,
    Curve,
    cells,
    cells_of,
    cost_ratios,
    curves,
    curves_over,
    sources,
)

__all__ = [
    "DATASETS",
    "FUSED",
    "PROTOCOL",
    "Cell",
    "Curve",
    "cells",
    "cells_of",
    "cost_ratios",
    "curves",
    "curves_over",
    "sources",
]
