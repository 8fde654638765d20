"""Validate a whole file: what no single value shows, but several together."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from sweep.config import ConfigError, Problem, Sweep, load
from sweep.plan.check_data import DataChecks
from sweep.plan.not_applicable import nothing_applies


def validate(
    path: Path | str, overrides: Sequence[str] = (), note: Callable[[str], None] = lambda line: None
) -> list[Sweep]:
    """Load the sweeps of a file. Raises ConfigError with every mistake in it, those included that show only where
    several varied values meet, or in the data, as far as it shows before it is loaded.

    note: hears of data that are not here, a line each: a file may be written on one machine for another."""
    sweeps = load(path, None, list(overrides))
    checks = DataChecks(note)
    problems = [problem for sweep in sweeps for problem in check_configurations(sweep, checks)]
    if problems:
        raise ConfigError(problems)
    return sweeps


def check_configurations(sweep: Sweep, checks: DataChecks) -> Iterator[Problem]:
    """Find what is wrong where several varied values meet, and with the data."""
    for entry, dataset in itertools.product(sweep.methods, sweep.datasets):
        yield from checks.study_problems(sweep, entry, dataset)
    yield from nothing_applies(sweep)
