"""Check what a schema cannot know: that the names in a sweep exist, and that what it asks for can be trained."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Collection, Iterator
from typing import Any

import data
import methods
from methods.base.hyperparameters import Choice, SearchRange
from sweep.config.check_names import check_encoders, check_name
from sweep.config.check_search import check_effect, check_search
from sweep.config.check_splits import check_splits
from sweep.config.problems import ConfigError, Path, Problem, explain_absence, nearest
from sweep.config.ranges import range_of, search_range
from sweep.config.resolve import PathOf, point_values, refusal, resolve, varied_names
from sweep.config.schema import MethodSpec, Sweep
from sweep.config.schema_errors import describe_value
from sweep.config.targets import target
from sweep.runs.canonical_text import canonical

MOST_POINTS = 100_000
"""Configurations of one study that a grid may have, on all splits together."""
MOST_RUNS = 1_000_000
"""Runs that a grid may have."""


def check(sweep: Sweep, broken: set[str]) -> list[Problem]:
    """Find every mistake in a sweep that fits the schema. What builds on a wrong name is not looked at, nor what
    builds on the keys ``broken``, of whose values something wrong had to be left out."""
    problems = [*_check_needed(sweep, broken), *check_search(sweep, broken)]
    problems += [*_check_methods(sweep), *_check_datasets(sweep), *_check_loggers(sweep)]
    # One wrong name must not hide the mistakes in the others.
    known = sweep.model_copy(
        update={
            "methods": [entry for entry in sweep.methods if entry.method in methods.names()],
            "datasets": [name for name in dict.fromkeys(sweep.datasets) if name in data.names()],
        }
    )
    problems += [*_check_hyperparameters(known), *check_encoders(known), *check_splits(known)]
    known = _without_unknown_hyperparameters(known)
    wrong = {name: found for name in known.vary if (found := list(_check_varied(known, name, broken)))}
    if not wrong:
        problems += check_effect(known)
    points, wrong_points = _check_points(known)
    problems += [problem for found in wrong.values() for problem in found] + wrong_points
    for entry in known.methods:
        for dataset in known.datasets:
            problems += _check_study(known, entry, dataset, points, wrong.keys())
    return list(dict.fromkeys(problems))


def _check_needed(sweep: Sweep, broken: set[str]) -> Iterator[Problem]:
    if not sweep.methods and "methods" not in broken:
        yield sweep.problem(("methods",), "name at least one method", nearest("", methods.names()))
    if not sweep.datasets and "datasets" not in broken:
        yield sweep.problem(("datasets",), "name at least one dataset", nearest("", data.names()))
    if sweep.search and sweep.search.algorithm == "grid":
        yield sweep.problem(
            ("search",), "grid runs every point and takes no other key", "write {algorithm: grid} alone"
        )
    common = [seed for seed in sweep.report_seeds if seed in sweep.seeds]
    if common and not broken & {"seeds", "report_seeds"}:
        path = ("report_seeds",) if sweep.wrote(("report_seeds",)) else ("seeds",)
        hint = "report seeds must be fresh ones"
        yield sweep.problem(path, f"seed {common[0]} is in both seeds and report_seeds", hint)


def _check_loggers(sweep: Sweep) -> Iterator[Problem]:
    for name in sweep.loggers.chosen():
        found = importlib.util.find_spec(name)
        # Without an origin it is a folder of this name, as Weights & Biases leaves one where it runs.
        if found is None or found.origin is None:
            hint = "pip install 'balanced-multimodal-sweeps[loggers]'"
            yield sweep.problem(("loggers", name), f"{name} is not installed", hint)


def _check_methods(sweep: Sweep) -> Iterator[Problem]:
    labels = set[str]()
    for position, entry in enumerate(sweep.methods):
        path = ("methods", position)
        if entry.method not in methods.names():
            yield sweep.problem(path, *explain_absence(methods.METHODS, entry.method))
        if entry.label in labels:
            hint = f"write {{method: {entry.method}, label: another name}}"
            yield sweep.problem(path, f"label {entry.label!r} stands twice", hint)
        labels.add(entry.label)


def _check_datasets(sweep: Sweep) -> Iterator[Problem]:
    for position, name in enumerate(sweep.datasets):
        if name not in data.names():
            yield sweep.problem(("datasets", position), *explain_absence(data.DATASETS, name))
        elif name in sweep.datasets[:position]:
            yield sweep.problem(("datasets", position), f"dataset {name!r} stands twice")
    for name, options in sweep.data.items():
        if name not in data.names():
            yield sweep.problem(("data", name), *explain_absence(data.DATASETS, name))
        elif name not in sweep.datasets:
            known = list(data.get(name).Options.model_fields)
            for option in options:
                path = ("data", name, option)
                if option not in known:
                    yield sweep.problem(path, f"no option of {name} called {option!r}", nearest(option, known))
                elif sweep.from_command_line(path):
                    yield sweep.problem(path, f"this sweep does not use {name}", nearest("", sweep.datasets))


def _check_hyperparameters(sweep: Sweep) -> Iterator[Problem]:
    for name in sweep.hyperparameters:
        path: Path = ("hyperparameters", name)
        yield from check_name(sweep, name, path)
        if any(_is_within(name, other) for other in sweep.vary):
            yield sweep.problem(path, f"{name} is both fixed and varied", "keep one of them")
        elif sweep.points and not sweep.vary and all(name in point for point in sweep.points):
            yield sweep.problem(path, "has no effect: every point sets it", "leave it out")
    for entry in sweep.methods:
        known = list(methods.get(entry.method).Hyperparameters.model_fields)
        for name in entry.hyperparameters:
            path = (*sweep.entry_path(entry), "hyperparameters", name)
            if (first := name.partition(".")[0]) not in known:
                hint = nearest(first, known)
                yield sweep.problem(path, f"no hyperparameter of {entry.method} called {first!r}", hint)
            elif any(_is_within(f"{entry.method}.{name}", other) for other in sweep.vary):
                yield sweep.problem(path, f"{name} is both fixed and varied", "keep one of them")
            elif "." in name:
                yield from check_name(sweep, f"{entry.method}.{name}", path)


def _without_unknown_hyperparameters(sweep: Sweep) -> Sweep:
    def known(entry: MethodSpec) -> dict[str, Any]:
        fields = methods.get(entry.method).Hyperparameters.model_fields
        own = ((name, value, (*sweep.entry_path(entry), name)) for name, value in entry.hyperparameters.items())
        return {
            name: value
            for name, value, path in own
            if name in fields or ("." in name and not list(check_name(sweep, f"{entry.method}.{name}", path)))
        }

    fixed = {
        name: value
        for name, value in sweep.hyperparameters.items()
        if not list(check_name(sweep, name, ("hyperparameters", name)))
    }
    entries = [entry.model_copy(update={"hyperparameters": known(entry)}) for entry in sweep.methods]
    return sweep.model_copy(update={"hyperparameters": fixed, "methods": entries})


def _is_within(name: str, other: str) -> bool:
    """Tell whether ``other`` sets all that ``name`` sets, of some method or dataset at least."""
    part, whole = target(name), target(other)
    return (
        part.section == whole.section
        and part.path[: len(whole.path)] == whole.path
        and (part.owner is None or whole.owner is None or part.owner == whole.owner)
    )


def _check_varied(sweep: Sweep, name: str, broken: set[str]) -> Iterator[Problem]:
    path, found = ("vary", name), sweep.vary[name]
    wrong = list(check_name(sweep, name, path))
    if wrong:
        yield from wrong
        return
    wholes = [other for other in sweep.vary if _is_within(name, other) and target(other).path != target(name).path]
    if wholes and target(name).hyperparameter:
        yield sweep.problem(path, f"{wholes[0]} is varied too, and sets all of it", "keep one of them")
    kept = set[str]()
    for position, value in enumerate(found.values):
        if (written := canonical(value)) in kept:
            yield sweep.problem((*path, found.kind, position), f"{describe_value(value)} stands twice", "keep one")
        kept.add(written)
    owner = target(name).owner if target(name).section == "hyperparameters" else None
    for method in dict.fromkeys(entry.method for entry in sweep.methods if owner in (None, entry.method)):
        if found.kind == "each":
            continue
        expanded = search_range(found, name, method)
        if expanded is None:
            what = f"{method} declares no range for {target(name).path[0]}"
            if target(name).section != "hyperparameters":
                what = "only a hyperparameter has a declared range"
            yield sweep.problem(path, what, "give one, as in {grid: [0.1, 0.5]}")
        elif sweep.search is None and "search" not in broken and not isinstance(expanded, Choice):
            hint = "give values, as in {grid: [0.1, 0.5]}, or a search, as in {algorithm: tpe, configurations: 40}"
            yield sweep.problem(path, "a range needs a search", hint)


def _check_points(sweep: Sweep) -> tuple[dict[int, dict[str, Any]], list[Problem]]:
    """Sort out the points that can be looked at further, by position, and what is wrong with the others."""
    good, problems, seen = dict[int, dict[str, Any]](), list[Problem](), dict[str, int]()
    for position, point in enumerate(sweep.points):
        wrong = [problem for name in point for problem in check_name(sweep, name, ("points", position, name))]
        written = canonical(point)
        if written in seen:
            wrong.append(sweep.problem(("points", position), f"repeats points[{seen[written]}]", "keep one"))
        seen.setdefault(written, position)
        problems += wrong
        if not wrong:
            good[position] = point
    return good, problems


def _check_study(
    sweep: Sweep, entry: MethodSpec, dataset: str, points: dict[int, dict[str, Any]], wrong: Collection[str]
) -> Iterator[Problem]:
    """Build each value of each varied name that is not ``wrong``, and each point; where there are none, what is
    fixed."""
    names = varied_names(sweep, entry.method, dataset)
    spaces = {name: range_of(sweep, name, entry.method, dataset) for name in names if name not in wrong}
    ends = {name: representative_values(space) for name, space in spaces.items() if space is not None}
    yield from _check_size(sweep, math.prod(map(len, ends.values())))
    refused: list[tuple[Path, str | None]] = []
    entry_path = sweep.entry_path(entry)
    for path, values, at in attempts(sweep, entry, dataset, ends, points):
        try:
            settings = resolve(sweep, entry, dataset, values, at)
        except ConfigError as error:
            yield from error.problems
        else:
            # What the method needs may be what a wrong name was meant to vary.
            asked = not wrong and sweep.not_applicable == "refuse"
            refused += [(path or entry_path, refusal(entry, dataset, settings))] if asked else []
    always = len(refused) > 1 and len({message for _, message in refused}) == 1
    for path, message in refused:
        if message is not None:
            yield sweep.problem(entry_path if always else path, message)


def _check_size(sweep: Sweep, points: int) -> Iterator[Problem]:
    """Check that what a study lists, ``points`` on each split, can be listed."""
    configurations = points * max(1, len(sweep.splits))
    if sweep.search is not None:
        return
    if configurations > MOST_POINTS:
        on_splits = f" on {len(sweep.splits)} splits" if sweep.splits else ""
        yield sweep.problem_of_whole(
            ("vary",), f"a grid of {points:,} configurations{on_splits}", "give fewer values, or a search"
        )
    elif (runs := configurations * len(sweep.seeds)) > MOST_RUNS:
        yield sweep.problem(("seeds",), f"{runs:,} runs of one method, of at most {MOST_RUNS:,}", "give fewer seeds")


def attempts(
    sweep: Sweep, entry: MethodSpec, dataset: str, ends: dict[str, list[Any]], points: dict[int, dict[str, Any]]
) -> Iterator[tuple[Path, dict[str, Any], PathOf]]:
    """Yield what to try: each value beside the first ones of the other names, with the path to blame for a refusal."""
    first = {name: values[0] for name, values in ends.items()}
    own = ((position, point_values(sweep, point, entry.method, dataset)) for position, point in points.items())
    in_points = {position: values for position, values in own if values is not None}
    if not ends and not in_points:
        yield (), {}, lambda name: ("vary", name)
    for name, tried in ends.items():
        for value in tried:
            yield ("vary", name), first | {name: value}, lambda name: ("vary", name)
    for position, point in in_points.items():
        yield ("points", position), point, lambda name, position=position: ("points", position, name)  # type: ignore[misc]


def representative_values(space: SearchRange) -> list[Any]:
    """Pick the values of a range that stand for all: each of a finite set, both ends of the others."""
    return list(space.values) if isinstance(space, Choice) else [space.low, space.high]
