"""What a sweep will train: its studies, their configurations, and the baselines beside them. Nothing is trained here,
and no result is read."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import data
import methods
from data.base import DataError, DatasetOptions
from methods.hyperparameters import Choice, SearchRange
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
from sweep.config.conditions import without_effect
from sweep.config.resolve import budget, target
from sweep.identity import canonical, configuration_hash, source_digest
from sweep.numerics import NUMERICS
from sweep.objectives import objectives
from sweep.records import Run
from sweep.space import Space, value_in

Role = Literal["sweep", "reference", "report"]

REFERENCES = (
    MethodSpec(method="joint", label="joint", hyperparameters={"unimodal_loss_weight": 0.0}),
    MethodSpec(method="joint", label="joint + unimodal losses", hyperparameters={"unimodal_loss_weight": 1.0}),
)
"""The baselines that every figure carries."""


@dataclass(frozen=True)
class Configuration:
    """One point of a sweep, to be trained under several seeds.

    values: varied name, as the sweep writes it, -> value, where it has an effect. role: sweep, a point of the sweep;
    reference, a baseline beside it; report, what the sweep chose, under fresh seeds. number: of the Optuna trial that
    proposed it."""

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
        found = self._workshop.configuration(self.sweep, self.entry, self.dataset, values, "vary")
        return replace(found, role=self.role)


@dataclass(frozen=True)
class Plan:
    """All of a sweep. ``seeds`` are those of every configuration and reference, ``report_seeds`` those under which the
    chosen configurations of each study and the references are trained afterwards."""

    sweep: Sweep
    studies: list[Study]
    references: list[Configuration]
    """The baselines that are one configuration each."""
    baselines: list[Study]
    """The baselines that are searched, with the budget of the methods."""

    @property
    def seeds(self) -> list[int]:
        return self.sweep.seeds

    @property
    def report_seeds(self) -> list[int]:
        return self.sweep.report_seeds

    @property
    def searches(self) -> list[Study]:
        """The studies that a search proposes configurations for."""
        return [study for study in [*self.studies, *self.baselines] if study.space]

    def searched_runs(self) -> int:
        """Runs of configurations that a search will propose, at most."""
        most = self.sweep.search.configurations if self.sweep.search else 0
        return len(self.searches) * most * len(self.seeds)

    def report_runs(self) -> int:
        """Runs under report seeds: one chosen configuration of each study (with several objectives there may be more),
        and the references."""
        return (len(self.studies) + len(self.baselines) + len(self.references)) * len(self.report_seeds)

    @property
    def may_end_sooner(self) -> bool:
        """Whether fewer than the expected runs may do: a rule or a race can keep a configuration from further seeds."""
        racing = self.sweep.search is not None and self.sweep.search.racing
        return len(self.seeds) > 1 and (racing or self.sweep.scheduler is not None)

    def expected_runs(self) -> int | None:
        """Runs in all, where no study runs out of configurations and none is stopped early; None where nobody knows how
        many configurations several objectives will choose."""
        if self.report_seeds and len(objectives(self.sweep)) > 1:
            return None
        listed = len(self.references) + sum(len(study.configurations) for study in self.studies)
        return listed * len(self.seeds) + self.searched_runs() + self.report_runs()


def plan(sweep: Sweep) -> Plan:
    """Every configuration that can be known before training. Raises ConfigError with every mistake: values that do not
    go together, data that cannot be found."""
    workshop, problems = _Workshop(), list[Problem]()
    studies = [
        _study(sweep, entry, dataset, "sweep", workshop, problems)
        for entry, dataset in itertools.product(sweep.methods, sweep.datasets)
    ]
    if problems:
        raise ConfigError(problems)
    return Plan(sweep, studies, *_references(sweep, studies, workshop))


def _study(
    sweep: Sweep, entry: MethodSpec, dataset: str, role: Role, workshop: _Workshop, problems: list[Problem]
) -> Study:
    space, found = Space(sweep, entry, dataset), dict[str, Configuration]()
    base: Configuration | None = None
    if space:
        try:
            base = workshop.base(sweep, entry, dataset)
        except ConfigError as error:
            problems += error.problems
    first = _first(space, base.template) if base else []
    for values, room in _listed(sweep, entry, dataset):
        try:
            configuration = workshop.configuration(sweep, entry, dataset, values, *room)
        except ConfigError as error:
            problems += error.problems
        else:
            if space and space.holds(configuration.values):
                first.append(space.values_in(configuration.template))
            else:
                # A point may repeat one of the grid, or write out what is the default.
                found.setdefault(configuration.key, replace(configuration, role=role))
    distinct = {canonical(values): values for values in reversed(first)}
    own = list(found.values())
    return Study(
        sweep, entry, dataset, space, own, list(distinct.values())[::-1], base.key if base else None, role, workshop
    )


def _first(space: Space, default: Run) -> list[dict[str, Any]]:
    """The defaults, where a search can propose all of them."""
    values = space.propose(lambda name, found: value_in(default, name))
    return [values] if space.holds(values) else []


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


def _references(sweep: Sweep, studies: list[Study], workshop: _Workshop) -> tuple[list[Configuration], list[Study]]:
    """The baselines on every dataset that allows them, but for those that the sweep trains as its own. Where the sweep
    is a search they are searched too, over those of its names that exist for them, else they are one configuration."""
    if not sweep.references:
        return [], []
    bases = (workshop.base(study.sweep, study.entry, study.dataset) for study in studies if study.space)
    listed = (configuration for study in studies for configuration in study.configurations)
    own = {configuration.key for configuration in [*listed, *filter(None, bases)]}
    names = {study.name for study in studies}
    single, searched = [], []
    for entry, dataset in itertools.product(REFERENCES, sweep.datasets):
        plain = _reference_sweep(sweep, entry)
        base = workshop.base(plain, entry, dataset)
        if base is None or base.key in own:
            continue
        study = _study(plain, entry, dataset, "reference", workshop, [])
        if study.space and study.name not in names:
            searched.append(study)
        elif not study.space:
            single.append(replace(base, role="reference"))
    return single, searched


def _reference_sweep(sweep: Sweep, entry: MethodSpec) -> Sweep:
    """The sweep as a baseline's own: without points and fixed hyperparameters, varying what exists for the baseline."""
    known = methods.get(entry.method).Hyperparameters.model_fields.keys() - entry.hyperparameters.keys()
    kept = {
        name: found
        for name, found in sweep.vary.items()
        if target(name).room != "hyperparameters" or (name in known and expand(found, name, entry.method) is not None)
    }
    update = {"methods": [entry], "hyperparameters": {}, "points": [], "vary": kept if sweep.search else {}}
    return sweep.model_copy(update=update)


def _settings(sweep: Sweep, entry: MethodSpec, dataset: str, values: Mapping[str, Any], *room: str | int) -> Settings:
    settings = resolve(sweep, entry, dataset, values, lambda name: (*room, name))
    if (reason := refusal(entry, dataset, settings)) is not None:
        said = ", ".join(f"{name} = {value}" for name, value in values.items())
        raise ConfigError([sweep.problem(room, f"{reason}, with {said}" if said else reason)])
    return settings


class _Workshop:
    """Builds configurations, asking for the fingerprint of each dataset once."""

    def __init__(self) -> None:
        self._fingerprints: dict[str, str] = {}

    def configuration(
        self, sweep: Sweep, entry: MethodSpec, dataset: str, values: Mapping[str, Any], *room: str | int
    ) -> Configuration:
        """Raises ConfigError where it cannot be trained."""
        return self._built(sweep, entry, dataset, values, _settings(sweep, entry, dataset, values, *room))

    def base(self, sweep: Sweep, entry: MethodSpec, dataset: str) -> Configuration | None:
        """With nothing varied; None where what is varied cannot be left out. Raises ConfigError where the data cannot
        be found."""
        try:
            settings = _settings(sweep, entry, dataset, {}, "vary")
        except ConfigError:
            return None
        return self._built(sweep, entry, dataset, {}, settings)

    def _built(
        self, sweep: Sweep, entry: MethodSpec, dataset: str, values: Mapping[str, Any], settings: Settings
    ) -> Configuration:
        method, source = methods.get(entry.method), data.get(dataset)
        template = Run(
            method=entry.method,
            hyperparameters=settings.hyperparameters.model_dump(mode="json"),
            dataset=dataset,
            data=_located(settings.options.model_dump(mode="json"), source.paths),
            fingerprint=self._fingerprint(sweep, dataset, settings.options),
            encoders={m: _located(encoder, _weights(encoder)) for m, encoder in settings.encoders.items()},
            train=settings.train,
            epochs=settings.epochs,
            metric=sweep.metric,
            patience=sweep.patience,
            test_peak=source.test_peak if sweep.test_peak is None else sweep.test_peak,
            seed=0,
            source={"method": source_digest(method), "dataset": source_digest(source)},
            workers=sweep.resources.workers,
            numerics=NUMERICS,
        )
        idle = without_effect(settings.hyperparameters)
        shown = {name: value for name, value in values.items() if not _sets(name, idle)}
        return Configuration(entry.label, shown, template)

    def _fingerprint(self, sweep: Sweep, dataset: str, options: DatasetOptions) -> str:
        key = f"{dataset}/{canonical(options.model_dump(mode='json'))}"
        if key not in self._fingerprints:
            try:
                self._fingerprints[key] = data.get(dataset).fingerprint(options)
            except DataError as error:
                raise ConfigError([sweep.problem(("data", dataset), str(error))]) from error
        return self._fingerprints[key]


def _located(options: Mapping[str, Any], paths: Collection[str]) -> dict[str, Any]:
    """``options`` with those in ``paths`` made absolute: a worker starts in another folder than the driver."""
    return {
        name: str(Path(value).expanduser().absolute()) if name in paths and value is not None else value
        for name, value in options.items()
    }


def _weights(encoder: Mapping[str, Any]) -> tuple[str, ...]:
    """The option of an encoder that is a path, where it is one and not the name of a weight set."""
    pretrained = encoder.get("pretrained")
    return ("pretrained",) if isinstance(pretrained, str) and Path(pretrained).expanduser().exists() else ()


def _sets(name: str, hyperparameters: list[str]) -> bool:
    """Whether a varied name sets one of ``hyperparameters``."""
    aim = target(name)
    return aim.room == "hyperparameters" and aim.path[0] in hyperparameters
