"""The runs that a plan names, with what the store holds of each; nothing is started."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from sweep.plan.configurations import Configuration, Plan
from sweep.runs.records import FinalRecord, Run
from sweep.runs.store import Store


@dataclass(frozen=True)
class PlannedRun:
    """A run of a plan with its end, or None, and the epochs that it has trained."""

    configuration: Configuration
    run: Run
    hash: str
    final: FinalRecord | None
    epochs: int

    @property
    def status(self) -> str:
        """Say how the run ended, else whether it has begun."""
        if self.final is not None:
            return self.final.status
        return "begun" if self.epochs else "missing"


Named = tuple[Configuration, Run, str]
"""A run of a plan with its hash."""


def named_runs(sweep_plan: Plan) -> Iterator[Named]:
    """Name every run of a plan once, in its order: references, grids and points.

    Searched configurations are not known before they are proposed."""
    seen = set()
    for configuration in sweep_plan.listed:
        for run, hashed in configuration.hashed_runs(sweep_plan.seeds):
            if hashed not in seen:
                seen.add(hashed)
                yield configuration, run, hashed


def look_up(named: Iterable[Named], store: Store) -> Iterator[PlannedRun]:
    """Look up runs in the store, in their order."""
    for configuration, run, hashed in named:
        folder = store.run(hashed)
        final = folder.final()
        epochs = len(folder.epochs()) if final is None else final.epochs_trained
        yield PlannedRun(configuration, run, hashed, final, epochs)


def planned_runs(sweep_plan: Plan, store: Store) -> Iterator[PlannedRun]:
    """Look up every run that a plan names."""
    return look_up(named_runs(sweep_plan), store)
