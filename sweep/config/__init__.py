"""sweeps.yaml: reading, merging, overriding, checking. Everything wrong is said before anything runs.

In comes a file with overrides, out comes a checked :class:`Sweep`, or a :class:`ConfigError` with every mistake. The
other modules of this room serve these two; what several configurations make wrong together is found by
:func:`sweep.plan.validate`."""

from __future__ import annotations

from sweep.config.load import freeze, load, load_frozen, names
from sweep.config.problems import ConfigError, Problem
from sweep.config.ranges import contains, range_of, search_range
from sweep.config.resolve import Settings, point_values, refusal, resolve, varied_names
from sweep.config.schema import (
    BudgetSpec,
    MethodSpec,
    MLflowSpec,
    Range,
    ReferenceName,
    ResourcesSpec,
    SchedulerSpec,
    SearchSpec,
    Sweep,
    WandbSpec,
)
from sweep.training.recipe import Recipe

__all__ = [
    "BudgetSpec",
    "ConfigError",
    "MLflowSpec",
    "MethodSpec",
    "Problem",
    "Range",
    "Recipe",
    "ReferenceName",
    "ResourcesSpec",
    "SchedulerSpec",
    "SearchSpec",
    "Settings",
    "Sweep",
    "WandbSpec",
    "contains",
    "freeze",
    "load",
    "load_frozen",
    "names",
    "point_values",
    "range_of",
    "refusal",
    "resolve",
    "search_range",
    "varied_names",
]
