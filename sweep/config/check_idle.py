"""Check that what would end runs early can: what stands in one entry of a file, and contradicts itself there."""

from __future__ import annotations

from collections.abc import Iterator

import methods
from methods.base import Method
from sweep.config.problems import Problem
from sweep.config.schema import Sweep


def idle_problems(sweep: Sweep) -> Iterator[Problem]:
    """Find a patience or a grace that no run is long enough for. Defaults are for several sweeps, and the command line
    shortens one for a trial; and methods of several phases may have more epochs that count, or fewer."""
    epochs, kinds = sweep.epochs, [methods.get(entry.method) for entry in sweep.methods]
    several = any("epochs" in names for names in (sweep.vary, *sweep.points))
    if epochs is None or several or not sweep.wrote_itself(("epochs",)):
        return
    if any(kind.phases_of.__func__ is not Method.phases_of.__func__ for kind in kinds):  # type: ignore[attr-defined]
        return
    said = f"no run has more than {epochs} epochs"
    if sweep.patience is not None and sweep.patience >= epochs and sweep.wrote_itself(("patience",)):
        what = f"{sweep.patience} epochs without a better value never come: {said}"
        yield sweep.problem(("patience",), what, "give fewer, or leave patience out")
    path = ("scheduler", "grace")
    if sweep.scheduler is not None and sweep.scheduler.grace >= epochs and sweep.wrote_itself(path):
        what = f"{sweep.scheduler.name} stops nothing in the first {sweep.scheduler.grace} epochs: {said}"
        yield sweep.problem(path, what, "give fewer, or leave scheduler out")
