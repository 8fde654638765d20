"""Configurations that their method refuses, where a sweep leaves such out: the N/A of the papers' tables.

They are no runs: nothing counts them, no comparison takes them in. The data is not looked for."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sweep.config import ConfigError, MethodSpec, Problem, Sweep, range_of, varied_names
from sweep.config.check_sweep import attempts, representative_values
from sweep.plan.points import RefusedError, checked_settings, listed_points
from sweep.runs.canonical_text import canonical


@dataclass(frozen=True)
class NotApplicable:
    """One configuration, or with no ``values`` all of a study, that the method refuses, and why."""

    label: str
    dataset: str
    values: dict[str, Any]
    reason: str


def not_applicable(sweep: Sweep) -> list[NotApplicable]:
    """List what a sweep leaves out, in the order of its studies; nothing where it refuses such configurations."""
    if sweep.not_applicable == "refuse":
        return []
    studies = itertools.product(sweep.methods, sweep.datasets)
    return [each for entry, dataset in studies for each in _left_out(sweep, entry, dataset)]


def is_applicable(sweep: Sweep, entry: MethodSpec, dataset: str) -> bool:
    """Tell whether anything of a study is left to train."""
    if sweep.search and varied_names(sweep, entry.method, dataset):
        return sweep.not_applicable == "refuse" or _search_refusal(sweep, entry, dataset) is None
    points = listed_points(sweep, entry, dataset)
    return any(_refusal(sweep, entry, dataset, values) is None for values, _ in points)


def is_left_out(sweep: Sweep, error: ConfigError) -> bool:
    """Tell whether a sweep leaves out the configuration of which ``error`` was raised."""
    return sweep.not_applicable == "skip" and isinstance(error, RefusedError)


def nothing_applies(sweep: Sweep) -> Iterator[Problem]:
    """Find that every configuration of a sweep is left out."""
    left_out = not_applicable(sweep)
    studies = itertools.product(sweep.methods, sweep.datasets)
    if left_out and not any(is_applicable(sweep, entry, dataset) for entry, dataset in studies):
        reasons = "; ".join(dict.fromkeys(each.reason for each in left_out))
        yield sweep.problem(("not_applicable",), f"nothing of this sweep is left: {reasons}")


def _left_out(sweep: Sweep, entry: MethodSpec, dataset: str) -> Iterator[NotApplicable]:
    searched = bool(sweep.search and varied_names(sweep, entry.method, dataset))
    if searched and (whole := _search_refusal(sweep, entry, dataset)) is not None:
        yield NotApplicable(entry.label, dataset, {}, whole.reason)
        return
    seen = set[str]()
    for values, _ in listed_points(sweep, entry, dataset):
        if (refused := _refusal(sweep, entry, dataset, values)) is not None:
            shown = {name: value for name, value in values.items() if name not in refused.idle}
            if canonical(shown) not in seen:
                yield NotApplicable(entry.label, dataset, shown, refused.reason)
            seen.add(canonical(shown))


def _search_refusal(sweep: Sweep, entry: MethodSpec, dataset: str) -> RefusedError | None:
    """Give the refusal of all that a search can propose; None where something of it can be trained."""
    names = varied_names(sweep, entry.method, dataset)
    spaces = {name: range_of(sweep, name, entry.method, dataset) for name in names}
    ends = {name: representative_values(space) for name, space in spaces.items() if space is not None}
    points = dict(enumerate(sweep.points))
    tried = [{}, *(values for _, values, _ in attempts(sweep, entry, dataset, ends, points))]
    found = [_refusal(sweep, entry, dataset, values) for values in tried]
    return None if None in found else found[0]


def _refusal(sweep: Sweep, entry: MethodSpec, dataset: str, values: dict[str, Any]) -> RefusedError | None:
    """Give the method's refusal; None where there is none. A mistake of another kind is said elsewhere."""
    try:
        checked_settings(sweep, entry, dataset, values, "vary")
    except RefusedError as error:
        return error
    except ConfigError:
        return None
    return None
