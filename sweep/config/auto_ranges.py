"""``vary: auto``: every hyperparameter of a method that declares a search range, as names of their own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import methods
from methods.base.hyperparameters import Choice, Declared
from sweep.config.conditions import applies, declarations, equality_test
from sweep.config.problems import Path, Problem, nearest
from sweep.config.ranges import contains, search_range
from sweep.config.schema import Range, Sweep
from sweep.config.targets import target

ALL = "*"
"""The name in ``vary`` that stands for all hyperparameters with a declared range; METHOD.* for those of one method."""


def expand_auto(sweep: Sweep, broken: set[str]) -> tuple[Sweep, list[Problem]]:
    """Write out each name with a ``*`` in ``vary``; also return what is wrong with them.

    What the sweep fixes or varies by name is left out, and so is what has no effect under what is fixed."""
    if not any(name.rpartition(".")[2] == ALL for name in sweep.vary):
        return sweep, []
    problems, vary = list[Problem](), dict[str, Range]()
    explicit = {name: found for name, found in sweep.vary.items() if name.rpartition(".")[2] != ALL}
    known = [method for method in dict.fromkeys(e.method for e in sweep.methods) if method in methods.names()]
    for name, found in sweep.vary.items():
        path, owner = ("vary", name), name.rpartition(".")[0]
        if name in explicit:
            vary[name] = found
        elif found.kind != "auto":
            problems.append(sweep.problem(path, f"{name} stands for declared ranges", "write auto"))
        elif owner and owner not in known:
            problems.append(sweep.problem(path, f"no method of this sweep is called {owner!r}", nearest(owner, known)))
        else:
            written = list(_written_out(sweep, [owner] if owner else known, explicit, prefixed=len(known) > 1))
            problems += _check_written_out(sweep, path, written, broken)
            place = sweep._written.place(path)[0]
            if sweep.search is not None or all(isinstance(each.search, Choice) for _, each in written):
                vary |= {each: Range.model_validate("auto") for each, _ in written}
                sweep._written.places.update({("vary", each): place for each, _ in written})
    return sweep.model_copy(update={"vary": vary}), problems


def _check_written_out(
    sweep: Sweep, path: Path, written: list[tuple[str, Declared]], broken: set[str]
) -> Iterator[Problem]:
    if not written and sweep.methods and "methods" not in broken:
        what = "no method here declares a search range of what is neither fixed nor varied by name"
        yield sweep.problem(path, what, "see: python -m sweep list hyperparameters")
    ranges = [name for name, each in written if not isinstance(each.search, Choice)]
    if sweep.search is None and ranges and "search" not in broken:
        what = f"the ranges of {', '.join(ranges)} need a search"
        yield sweep.problem(path, what, "give one, as in {algorithm: tpe, configurations: 40}, or vary by name")


def _written_out(
    sweep: Sweep, owners: list[str], explicit: dict[str, Range], prefixed: bool
) -> Iterator[tuple[str, Declared]]:
    for method in owners:
        own = {target(name).hyperparameter: (name, found) for name, found in explicit.items()
               if target(name).owner in (None, method)}  # fmt: skip
        kind = methods.get(method).Hyperparameters
        known, fixed = declarations(kind), _fixed(sweep, method)
        free = {name: each for name, each in known.items() if each.search and name not in own and name not in fixed}
        settled = equality_test(kind, fixed)

        def may_be(
            other: str, value: Any, method: str = method, own: Any = own, free: Any = free, settled: Any = settled
        ) -> bool:
            if other in free:
                return contains(free[other].search, value)
            if other in own:
                space = search_range(own[other][1], own[other][0], method)
                return space is not None and contains(space, value)
            return bool(settled(other, value))

        for name, each in free.items():
            if applies(kind, name, may_be):
                yield f"{method}.{name}" if prefixed else name, each


def _fixed(sweep: Sweep, method: str) -> dict[str, Any]:
    """Collect what the sweep, or any entry of the method, fixes as a whole or in part."""
    fixed = {
        aim.hyperparameter: value
        for name, value in sweep.hyperparameters.items()
        if (aim := target(name)).hyperparameter is not None and aim.owner in (None, method)
    }
    for entry in sweep.methods:
        if entry.method == method:
            fixed |= {name.partition(".")[0]: value for name, value in entry.hyperparameters.items()}
    return {name: value for name, value in fixed.items() if name is not None}
