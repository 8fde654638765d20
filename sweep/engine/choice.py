"""The choice of a sweep: the best configurations of each study, which are trained again under the report seeds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from sweep.config import Sweep
from sweep.engine.tasks import Outcomes, StudyKey, is_candidate, study_of
from sweep.plan.configurations import Configuration
from sweep.plan.objectives import directions, mean_values, objectives, pareto_front


class Choice:
    """Collects the configurations that have ended, and chooses among them by their means over the sweep's seeds."""

    def __init__(self, sweep: Sweep) -> None:
        self._seeds, self._objectives = len(sweep.seeds), objectives(sweep)
        self._candidates: dict[StudyKey, dict[int, tuple[Configuration, Outcomes]]] = {}

    def add(self, position: int, configuration: Configuration, outcomes: Outcomes) -> None:
        """Take a configuration that has ended, where it is one to choose from. position: of its proposal."""
        if is_candidate(configuration):
            self._candidates.setdefault(study_of(configuration), {})[position] = (configuration, outcomes)

    def best(self) -> list[Configuration]:
        """Return the best configuration of each study, or with several objectives those that none beats; of ties the
        first proposed."""
        return [best for candidates in self._candidates.values() for best in self._front(candidates)]

    def _front(self, candidates: dict[int, tuple[Configuration, Outcomes]]) -> list[Configuration]:
        valued = []
        for _, (configuration, outcomes) in sorted(candidates.items()):
            means = mean_values(outcomes.values(), self._objectives, self._seeds)
            if means is not None:
                valued.append((means, configuration))
        front = pareto_front([means for means, _ in valued], directions(self._objectives))
        return [valued[position][1] for position in front]


def for_report(configurations: Iterable[Configuration]) -> list[Configuration]:
    """Return configurations in the role that they have under the report seeds."""
    return [replace(configuration, role="report") for configuration in configurations]
