"""The parts of a plan: configurations, the studies that propose them, and the plan of all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from data.base import SPLIT_SEED
from sweep.config import (
    MethodSpec,
    Sweep,
)
from sweep.config.resolve import epoch_budget
from sweep.plan.not_applicable import NotApplicable, not_applicable
from sweep.plan.objectives import objectives
from sweep.plan.space import Space
from sweep.runs.canonical_text import canonical
from sweep.runs.identity import configuration_hash, seed_hashes
from sweep.runs.records import Run
from sweep.runs.severities import severities

ON_SPLIT = "/split "
"""Stands in the name of a study before its split, where the sweep has several."""

Role = Literal["sweep", "reference", "report"]


@dataclass(frozen=True)
class Configuration:
    """One point of a sweep on one split, to be trained under several seeds.

    values: varied name, as the sweep writes it, -> value, where it has an effect. role: sweep, a point of the sweep;
    reference, one beside it; report, what the sweep chose, under fresh seeds. number: of the Optuna trial that
    proposed it. content: fingerprint of the data on the dataset's own split, by which a configuration is the same on
    every split; "": as in the template."""

    label: str
    values: dict[str, Any]
    template: Run
    """The run of seed 0; every seed's is like it."""
    role: Role = "sweep"
    number: int | None = None
    content: str = ""

    @property
    def method(self) -> str:
        return self.template.method

    @property
    def dataset(self) -> str:
        return self.template.dataset

    @property
    def split(self) -> int | None:
        """Return the ``split_seed`` of its data; None where the dataset has none."""
        return self.template.data.get(SPLIT_SEED)

    @cached_property
    def key(self) -> str:
        """Return its identity without seed and split."""
        return configuration_hash(
            self.template.model_copy(update={"fingerprint": self.content}) if self.content else self.template
        )

    def runs(self, seeds: list[int]) -> list[Run]:
        """Return one run a seed."""
        return [self.template.model_copy(update={"seed": seed}) for seed in seeds]

    def hashed_runs(self, seeds: list[int]) -> list[tuple[Run, str]]:
        """Return one run a seed, each with its hash."""
        return list(zip(self.runs(seeds), seed_hashes(self.template, seeds), strict=True))


@dataclass(frozen=True)
class Study:
    """One method of a sweep on one dataset, and on one of its splits."""

    sweep: Sweep
    """The sweep with the data of this split alone."""
    entry: MethodSpec
    dataset: str
    space: Space
    """What a search proposes values for; empty where there is no search."""
    configurations: list[Configuration]
    """What is run in any case: the grid, and the points that no search can propose."""
    first: list[dict[str, Any]]
    """What a search tries before it proposes anything itself: the defaults, then the points inside its space."""
    base: str | None
    """Identity of a search without what it varies and without the seeds; None where what is varied cannot be left out,
    or where there is no search."""
    role: Role
    split: int | None
    """The ``split_seed`` of its data; None where the dataset has none."""
    _propose: Callable[[Mapping[str, Any]], Configuration] = field(repr=False, compare=False)

    @property
    def name(self) -> str:
        whole = f"{self.sweep.name}/{self.entry.label}/{self.dataset}"
        return f"{whole}{ON_SPLIT}{self.split}" if self.sweep.splits else whole

    @property
    def method(self) -> str:
        return self.entry.method

    @property
    def label(self) -> str:
        return self.entry.label

    @property
    def epochs(self) -> int:
        """Return the budget of a run, where the sweep does not vary it."""
        return epoch_budget(self.sweep, self.dataset)

    def choices(self) -> int:
        """Count what it chooses: one configuration, and where it corrupts the data one at each severity."""
        listed = {canonical(severities(each.values)) for each in self.configurations}
        return len(listed | ({canonical({})} if self.space else set())) or 1

    def configuration(self, values: Mapping[str, Any]) -> Configuration:
        """Build the configuration of one proposal of the search. Raises ConfigError where it cannot be trained."""
        return self._propose(values)


@dataclass(frozen=True)
class Plan:
    """All of a sweep. ``seeds`` are those of every configuration and reference, ``report_seeds`` those under which the
    chosen configurations of each study and the references are trained afterwards."""

    sweep: Sweep
    studies: list[Study]
    references: list[Configuration]
    """Those references that are listed: one configuration each, or several where the sweep varies the recipe."""
    searched_references: list[Study]
    """Those that are searched, with the budget of the methods."""

    @cached_property
    def not_applicable(self) -> list[NotApplicable]:
        """List the configurations that were left out because their method refuses them."""
        return not_applicable(self.sweep)

    @property
    def seeds(self) -> list[int]:
        return self.sweep.seeds

    @property
    def report_seeds(self) -> list[int]:
        return self.sweep.report_seeds

    @property
    def listed(self) -> list[Configuration]:
        """List the configurations that are known before any is proposed: references, grids and points."""
        return [*self.references, *(each for study in self.studies for each in study.configurations)]

    @property
    def searches(self) -> list[Study]:
        """List the studies that a search proposes configurations for."""
        return [study for study in [*self.studies, *self.searched_references] if study.space]

    def searched_runs(self) -> int:
        """Count the runs of configurations that a search will propose, at most."""
        most = self.sweep.search.configurations if self.sweep.search else 0
        return len(self.searches) * most * len(self.seeds)

    def report_runs(self) -> int:
        """Count the runs under report seeds: one chosen configuration of each study and severity (with several
        objectives there may be more), and of each reference."""
        chosen = sum(study.choices() for study in [*self.studies, *self.searched_references])
        references = {(each.label, each.dataset, canonical(severities(each.values))) for each in self.references}
        return (chosen + len(references)) * len(self.report_seeds)

    @property
    def may_end_sooner(self) -> bool:
        """Tell whether fewer than the expected runs may do: a rule or a race can keep a configuration from further
        seeds."""
        racing = self.sweep.search is not None and self.sweep.search.racing
        return len(self.seeds) > 1 and (racing or self.sweep.scheduler is not None)

    def expected_runs(self) -> int | None:
        """Count all runs, where no study runs out of configurations and none is stopped early; None where nobody knows
        how many configurations several objectives will choose."""
        if self.report_seeds and len(objectives(self.sweep)) > 1:
            return None
        listed = len(self.references) + sum(len(study.configurations) for study in self.studies)
        return listed * len(self.seeds) + self.searched_runs() + self.report_runs()
