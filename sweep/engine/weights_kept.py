"""The weights that stay after a run: none, those of the best configurations of each study, or all."""

from __future__ import annotations

from sweep.config import Sweep
from sweep.engine.tasks import StudyKey, study_of
from sweep.plan.configurations import Configuration
from sweep.plan.objectives import directions, mean_values, objectives, pareto_front
from sweep.runs.records import FinalRecord
from sweep.runs.store import Store


class WeightsKeeper:
    """Drops weights as configurations end, so that a long sweep never holds more than it keeps. Weights of runs that
    this sweep did not train itself are left alone: another sweep may hold them."""

    def __init__(self, store: Store, sweep: Sweep) -> None:
        self._store, self._sweep, self._objectives = store, sweep, objectives(sweep)
        self._best: dict[StudyKey, list[tuple[list[float], list[str]]]] = {}

    def ended(self, configuration: Configuration, trained: list[str], outcomes: dict[int, FinalRecord]) -> None:
        """Take a configuration that has ended; ``trained`` are the hashes of those of its runs that were trained
        now."""
        if self._sweep.keep == "all" or configuration.role == "report":
            return
        means = mean_values(outcomes.values(), self._objectives, len(self._sweep.seeds))
        if self._sweep.keep == "none" or configuration.role != "sweep" or means is None:
            self._drop(trained)
            return
        study = study_of(configuration)
        held = [*self._best.get(study, []), (means, trained)]
        front = set(pareto_front([values for values, _ in held], directions(self._objectives)))
        for position, (_, hashes) in enumerate(held):
            if position not in front:
                self._drop(hashes)
        self._best[study] = [held[position] for position in sorted(front)]

    def _drop(self, hashes: list[str]) -> None:
        for run_hash in hashes:
            self._store.run(run_hash).drop_weights()
