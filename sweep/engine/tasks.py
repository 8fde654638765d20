"""One run to train, as agenda and executors speak of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sweep.plan.configurations import Configuration, Plan
from sweep.runs.canonical_text import canonical
from sweep.runs.records import FinalRecord, IndexEntry, Run
from sweep.runs.severities import severities

Outcomes = dict[int, FinalRecord]
"""Seed -> how the run ended."""


@dataclass(frozen=True)
class Task:
    """One run to train. stoppable: the early-stopping rule may end it (the first seed of a configuration)."""

    run: Run
    hash: str
    configuration: Configuration
    stoppable: bool
    opening: int
    """Of its configuration, counted from 0."""


def index_entry(task: Task) -> IndexEntry:
    """Return the line of the sweep's index that says how a run belongs to it."""
    configuration = task.configuration
    return IndexEntry(
        hash=task.hash,
        method=configuration.method,
        label=configuration.label,
        dataset=configuration.dataset,
        role=configuration.role,
        values=configuration.values,
        configuration=configuration.key,
        seed=task.run.seed,
        split=configuration.split,
        number=configuration.number,
    )


def listed_entries(plan: Plan) -> Iterator[IndexEntry]:
    """Yield the lines of the index that a plan lists: references, grids and points, under each seed. What a search
    proposes is not known before."""
    for configuration in plan.listed:
        for run, hashed in configuration.hashed_runs(plan.seeds):
            yield index_entry(Task(run, hashed, configuration, stoppable=False, opening=0))


StudyKey = tuple[str, str, int | None, str]


def study_of(configuration: Configuration) -> StudyKey:
    """Return label, dataset, split and severity of a configuration: whatever is chosen is chosen among those that have
    all of them in common."""
    severity = canonical(severities(configuration.values))
    return (configuration.label, configuration.dataset, configuration.split, severity)


def is_candidate(configuration: Configuration) -> bool:
    """Tell whether a configuration is one of a study that is chosen from: a point of the sweep, or a reference that is
    searched or varied."""
    varied = configuration.number is not None or bool(configuration.values)
    return configuration.role == "sweep" or (configuration.role == "reference" and varied)
