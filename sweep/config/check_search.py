"""Check that the keys of a search go together, with one another and with the rest of a sweep."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import methods
from sweep.config.conditions import applies, declarations, equality_test, values_under
from sweep.config.problems import Path, Problem
from sweep.config.ranges import contains, range_of
from sweep.config.resolve import concerns_study, fixed_hyperparameters, varied_names
from sweep.config.schema import MethodSpec, Sweep
from sweep.config.targets import target
from sweep.runs.severities import is_severity

MULTI_OBJECTIVE = ("tpe", "nsga2", "random", "qmc")
"""Algorithms that can look for several objectives."""


def check_search(sweep: Sweep, broken: set[str]) -> Iterator[Problem]:
    """Find what is wrong with ``search`` and ``scheduler``; nothing where the keys ``broken`` leave that open."""
    search = sweep.search
    if search is None or search.algorithm == "grid":
        return
    if not sweep.vary and "vary" not in broken:
        yield sweep.problem(("search",), "there is nothing to search", "give ranges in vary")
    for position, objective in enumerate(search.objectives):
        if objective in search.objectives[:position]:
            yield sweep.problem(("search", "objectives", position), f"{objective} stands twice", "keep one")
    yield from _check_comparisons(sweep)
    for name in filter(is_severity, sweep.vary):
        what = "a severity is a condition, which no search can choose: it would choose the cleanest data"
        yield sweep.problem(("vary", name), what, "fix it in data, in a sweep for each, or leave search out")
    for position, name in enumerate(search.warm_start):
        path: Path = ("search", "warm_start", position)
        if name == sweep.name:
            yield sweep.problem(path, "a sweep cannot start from itself", "name an earlier one")
        elif name in search.warm_start[:position]:
            yield sweep.problem(path, f"{name} stands twice", "keep one")
    if len(sweep.points) > search.configurations and not broken & {"points", "search"}:
        what = f"{search.configurations} configurations cannot hold the {len(sweep.points)} points"
        yield sweep.problem(("search", "configurations"), what, f"use at least {len(sweep.points)}")


def _check_comparisons(sweep: Sweep) -> Iterator[Problem]:
    """Check that early stopping and racing compare single values, those that the search looks for."""
    search = sweep.search
    assert search is not None
    several = len(search.objectives) > 1
    if several and search.algorithm not in MULTI_OBJECTIVE:
        what = f"{search.algorithm} looks for one objective only"
        yield sweep.problem(
            ("search", "objectives"), what, f"use {', '.join(MULTI_OBJECTIVE[:-1])} or {MULTI_OBJECTIVE[-1]}"
        )
    if several and sweep.scheduler is not None:
        yield sweep.problem(("scheduler",), "cannot stop runs early by several objectives", "leave one of them out")
    elif sweep.scheduler is not None and search.objectives not in ([], [sweep.metric]):
        what = f"stops runs by {sweep.metric}, which is not what the search looks for"
        yield sweep.problem(("scheduler",), what, "leave it out, or search for the metric")
    if search.racing and several:
        what = "cannot compare configurations by several objectives"
        yield sweep.problem(("search", "racing"), what, "leave one of them out")
    if search.racing and len(sweep.seeds) < 2:
        yield sweep.problem(("search", "racing"), "there is one seed only to race over", "give at least two seeds")


def check_effect(sweep: Sweep) -> Iterator[Problem]:
    """Find varied hyperparameters that have no effect, whatever else varies: each method uses them under a condition
    that never holds."""
    for name in sweep.vary:
        aim = target(name)
        studies = [
            (entry, dataset)
            for entry in sweep.methods
            for dataset in sweep.datasets
            if aim.section == "hyperparameters" and concerns_study(sweep, name, entry.method, dataset)
        ]
        if studies and not any(_has_effect(sweep, entry, dataset, aim.path[0]) for entry, dataset in studies):
            method = studies[0][0].method
            condition = declarations(methods.get(method).Hyperparameters)[aim.path[0]].only_if
            assert condition is not None, "what has no condition has an effect"
            other, values = condition[0], " or ".join(str(value) for value in values_under(condition))
            what = f"has no effect here: {method} uses it only with {other}: {values}"
            yield sweep.problem(("vary", name), what, f"set {other} in hyperparameters, or vary it too")


def _has_effect(sweep: Sweep, entry: MethodSpec, dataset: str, hyperparameter: str) -> bool:
    kind = methods.get(entry.method).Hyperparameters
    if declarations(kind)[hyperparameter].only_if is None:
        return True
    names = varied_names(sweep, entry.method, dataset)
    own = {target(name).path[0]: name for name in names if target(name).hyperparameter and len(target(name).path) == 1}
    settled = equality_test(kind, fixed_hyperparameters(sweep, entry, dataset))

    def may_be(other: str, value: Any) -> bool:
        if other not in own:
            return settled(other, value)
        space = range_of(sweep, own[other], entry.method, dataset)
        return space is not None and contains(space, value)

    return applies(kind, hyperparameter, may_be)
