"""What a sweep will train: its studies, their configurations, and the baselines beside them. Nothing is trained here,
and no result is read."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import data
import methods
from data.base import DataError, DatasetOptions
from methods.hyperparameters import Choice, Integer, SearchRange
from sweep.config import (
    ConfigError,
    MethodSpec,
    Problem,
    Settings,
    Sweep,
    expand,
    point_values,
    refusal,
    resolve,
    varied,
)
from sweep.config.resolve import budget, target
from sweep.identity import canonical, configuration_hash, source_digest
from sweep.records import Run

Role = Literal["sweep", "reference", "report"]

REFERENCES = (
    MethodSpec(method="joint", label="joint"),
    MethodSpec(method="joint", label="joint + unimodal losses", hyperparameters={"unimodal_loss_weight": 1.0}),
)
"""The baselines that every figure carries."""


@dataclass(frozen=True)
class Configuration:
    """One point of a sweep, to be trained under several seeds.

    values: varied name, as the sweep writes it, -> value. role: sweep, a point of the sweep; reference, a baseline
    beside it; report, what the sweep chose, under fresh seeds. number: of the Optuna trial that proposed it."""

    label: str
    values: dict[str, Any]
    template: Run
    """The run of seed 0; every seed's is like it."""
    role: Role = "sweep"
    number: int | None = None

    @property
    def method(self) -> str:
        return self.template.method

    @property
    def dataset(self) -> str:
        return self.template.dataset

    @cached_property
    def key(self) -> str:
        """Identity without the seed."""
        return configuration_hash(self.template)

    def runs(self, seeds: list[int]) -> list[Run]:
        """One run a seed."""
        return [self.template.model_copy(update={"seed": seed}) for seed in seeds]


@dataclass(frozen=True)
class Study:
    """One method of a sweep on one dataset."""

    sweep: Sweep
    entry: MethodSpec
    dataset: str
    space: dict[str, SearchRange]
    """Varied names that a search proposes values for; empty where there is no search."""
    configurations: list[Configuration]
    """What is run in any case: the grid, and the points."""
    _workshop: _Workshop = field(repr=False, compare=False)

    @property
    def name(self) -> str:
        return f"{self.sweep.name}/{self.entry.label}/{self.dataset}"

    @property
    def method(self) -> str:
        return self.entry.method

    @property
    def label(self) -> str:
        return self.entry.label

    @property
    def epochs(self) -> int:
        """Budget of a run, where the sweep does not vary it."""
        return budget(self.sweep, self.dataset)

    def configuration(self, values: Mapping[str, Any]) -> Configuration:
        """The configuration of one proposal of the search. Raises ConfigError where it cannot be trained."""
        return self._workshop.configuration(self.entry, self.dataset, values, "vary")

    def default_values(self) -> dict[str, Any] | None:
        """What the searched names are where nobody varies them, so that a search can try that first; None where one of
        these values lies outside its range."""
        settings = _base(self.sweep, self.entry, self.dataset)
        if settings is None:
            return None
        found = {name: _value(settings, name) for name in self.space}
        return found if all(contains(self.space[name], value) for name, value in found.items()) else None


@dataclass(frozen=True)
class Plan:
    """All of a sweep. ``seeds`` are those of every configuration and reference, ``report_seeds`` those under which the
    chosen configuration of each study and the references are trained afterwards."""

    sweep: Sweep
    studies: list[Study]
    references: list[Configuration]

    @property
    def seeds(self) -> list[int]:
        return self.sweep.seeds

    @property
    def report_seeds(self) -> list[int]:
        return self.sweep.report_seeds

    def searched_runs(self) -> int:
        """Runs of configurations that a search will propose, at most."""
        if not self.sweep.search:
            return 0
        searches = sum(bool(study.space) for study in self.studies)
        return searches * self.sweep.search.configurations * len(self.seeds)

    def report_runs(self) -> int:
        """Runs under report seeds: the chosen configuration of each study, and the references."""
        return (len(self.studies) + len(self.references)) * len(self.report_seeds)

    def expected_runs(self) -> int:
        """Runs in all, where no study runs out of configurations and none is stopped early."""
        listed = len(self.references) + sum(len(study.configurations) for study in self.studies)
        return listed * len(self.seeds) + self.searched_runs() + self.report_runs()


def plan(sweep: Sweep) -> Plan:
    """Every configuration that can be known before training. Raises ConfigError with every mistake: values that do not
    go together, data that cannot be found."""
    workshop, problems = _Workshop(sweep), list[Problem]()
    studies = []
    for entry, dataset in itertools.product(sweep.methods, sweep.datasets):
        found: dict[str, Configuration] = {}
        for values, room in _listed(sweep, entry, dataset):
            try:
                configuration = workshop.configuration(entry, dataset, values, *room)
            except ConfigError as error:
                problems += error.problems
            else:
                # A point may repeat one of the grid, or write out what is the default.
                found.setdefault(configuration.key, configuration)
        space = _space(sweep, entry, dataset)
        studies.append(Study(sweep, entry, dataset, space, list(found.values()), workshop))
    if problems:
        raise ConfigError(problems)
    return Plan(sweep, studies, _references(sweep, studies))


def check_configurations(sweep: Sweep) -> Iterator[Problem]:
    """What is wrong where several varied values meet. The data is not looked for."""
    for entry, dataset in itertools.product(sweep.methods, sweep.datasets):
        for values, room in _listed(sweep, entry, dataset):
            try:
                _settings(sweep, entry, dataset, values, *room)
            except ConfigError as error:
                yield from error.problems


def _listed(sweep: Sweep, entry: MethodSpec, dataset: str) -> Iterator[tuple[dict[str, Any], tuple[str | int, ...]]]:
    """Values of each configuration of the grid, then of each point, with where they were written."""
    points = [(i, point_values(sweep, point, entry.method, dataset)) for i, point in enumerate(sweep.points)]
    own = [(i, values) for i, values in points if values is not None]
    names = varied(sweep, entry.method, dataset)
    if not sweep.search and (names or not own):
        grids = [_finite(expand(sweep.vary[name], name, entry.method)) for name in names]
        for point in itertools.product(*grids):
            yield dict(zip(names, point, strict=True)), ("vary",)
    elif sweep.search and not names and not own:
        yield {}, ("vary",)
    for i, values in own:
        yield values, ("points", i)


def _finite(found: SearchRange | None) -> tuple[Any, ...]:
    assert isinstance(found, Choice), "a range without a search is refused before"
    return found.values


def _space(sweep: Sweep, entry: MethodSpec, dataset: str) -> dict[str, SearchRange]:
    if not sweep.search:
        return {}
    found = {name: expand(sweep.vary[name], name, entry.method) for name in varied(sweep, entry.method, dataset)}
    return {name: space for name, space in found.items() if space is not None}


def _references(sweep: Sweep, studies: list[Study]) -> list[Configuration]:
    """The baselines on every dataset that allows them without a varied value, but for those that the sweep trains as
    its own."""
    if not sweep.references:
        return []
    own = {configuration.key for study in studies for configuration in study.configurations}
    plain = sweep.model_copy(update={"methods": list(REFERENCES), "hyperparameters": {}, "vary": {}, "points": []})
    workshop = _Workshop(plain)
    found = []
    for entry, dataset in itertools.product(REFERENCES, sweep.datasets):
        settings = _base(plain, entry, dataset)
        if settings is not None and refusal(entry, dataset, settings) is None:
            configuration = workshop.configuration(entry, dataset, {}, "vary")
            if configuration.key not in own:
                found.append(replace(configuration, role="reference"))
    return found


def _base(sweep: Sweep, entry: MethodSpec, dataset: str) -> Settings | None:
    """The settings with nothing varied; None where what is varied cannot be left out."""
    try:
        return resolve(sweep, entry, dataset, {}, lambda name: ("vary", name))
    except ConfigError:
        return None


def _settings(sweep: Sweep, entry: MethodSpec, dataset: str, values: Mapping[str, Any], *room: str | int) -> Settings:
    settings = resolve(sweep, entry, dataset, values, lambda name: (*room, name))
    if (reason := refusal(entry, dataset, settings)) is not None:
        said = ", ".join(f"{name} = {value}" for name, value in values.items())
        raise ConfigError([sweep.problem(room, f"{reason}, with {said}" if said else reason)])
    return settings


class _Workshop:
    """Builds configurations of a sweep, asking for the digests of code and data once each."""

    def __init__(self, sweep: Sweep) -> None:
        self._sweep = sweep
        self._fingerprints: dict[str, str] = {}

    def configuration(
        self, entry: MethodSpec, dataset: str, values: Mapping[str, Any], *room: str | int
    ) -> Configuration:
        sweep, method, source = self._sweep, methods.get(entry.method), data.get(dataset)
        settings = _settings(sweep, entry, dataset, values, *room)
        template = Run(
            method=entry.method,
            hyperparameters=settings.hyperparameters.model_dump(mode="json"),
            dataset=dataset,
            data=settings.options.model_dump(mode="json"),
            fingerprint=self._fingerprint(dataset, settings.options),
            encoders=settings.encoders,
            train=settings.train,
            epochs=settings.epochs,
            metric=sweep.metric,
            patience=sweep.patience,
            test_peak=source.test_peak if sweep.test_peak is None else sweep.test_peak,
            seed=0,
            source={"method": source_digest(method), "dataset": source_digest(source)},
            workers=sweep.resources.workers,
        )
        return Configuration(entry.label, dict(values), template)

    def _fingerprint(self, dataset: str, options: DatasetOptions) -> str:
        key = f"{dataset}/{canonical(options.model_dump(mode='json'))}"
        if key not in self._fingerprints:
            try:
                self._fingerprints[key] = data.get(dataset).fingerprint(options)
            except DataError as error:
                raise ConfigError([self._sweep.problem(("data", dataset), str(error))]) from error
        return self._fingerprints[key]


def contains(space: SearchRange, value: Any) -> bool:
    """Whether a search over ``space`` can propose ``value``."""
    if isinstance(space, Choice):
        return canonical(value) in map(canonical, space.values)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    whole = not isinstance(space, Integer) or value == int(value)
    return whole and space.low <= value <= space.high


def _value(settings: Settings, name: str) -> Any:
    """What a varied name is in ``settings``."""
    aim = target(name)
    if aim.room == "epochs":
        return settings.epochs
    rooms: dict[str, Any] = {
        "hyperparameters": settings.hyperparameters.model_dump(mode="json"),
        "data": settings.options.model_dump(mode="json"),
        "train": settings.train.model_dump(mode="json"),
        "encoders": settings.encoders,
    }
    found = rooms[aim.room]
    for part in aim.path:
        found = found.get(part) if isinstance(found, dict) else None
    return found
