"""Validate a whole file: what no single value shows, but several together."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

from sweep.config import ConfigError, Problem, Sweep, load
from sweep.plan.points import checked_settings, listed_points


def validate(path: Path | str, overrides: Sequence[str] = ()) -> list[Sweep]:
    """Load the sweeps of a file. Raises ConfigError with every mistake in it, those included that show only where
    several varied values meet. The data itself is not looked for: a file may be written on one machine for another."""
    sweeps = load(path, None, list(overrides))
    problems = [problem for sweep in sweeps for problem in check_configurations(sweep)]
    if problems:
        raise ConfigError(problems)
    return sweeps


def check_configurations(sweep: Sweep) -> Iterator[Problem]:
    """Find what is wrong where several varied values meet. The data is not looked for."""
    for entry, dataset in itertools.product(sweep.methods, sweep.datasets):
        for values, key in listed_points(sweep, entry, dataset):
            try:
                checked_settings(sweep, entry, dataset, values, *key)
            except ConfigError as error:
                yield from error.problems
