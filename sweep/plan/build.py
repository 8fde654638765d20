"""Build the plan of a sweep: its studies, their configurations, and the references beside them. Nothing is trained,
and no result is read."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import data
import methods
from data.base import DataError, DatasetOptions
from sweep.config import (
    ConfigError,
    MethodSpec,
    Problem,
    Settings,
    Sweep,
)
from sweep.config.conditions import idle_names
from sweep.config.resolve import data_problem
from sweep.config.targets import target
from sweep.plan.check_data import DataChecks
from sweep.plan.configurations import Configuration, Plan, Role, Study
from sweep.plan.not_applicable import is_applicable, is_left_out, nothing_applies
from sweep.plan.points import checked_settings, listed_points
from sweep.plan.references import REFERENCES, reference_sweep
from sweep.plan.space import Space, value_in
from sweep.plan.splits import default_split, each_split, split_of_data
from sweep.runs.canonical_text import canonical
from sweep.runs.identity import NUMERICS, code_digests
from sweep.runs.records import Run


def plan(sweep: Sweep) -> Plan:
    """Plan every configuration that can be known before training. Raises ConfigError with every mistake: values that do
    not go together, data that cannot be found or used, encoders that cannot take its samples, nothing left of a sweep
    that leaves out what its methods refuse."""
    workshop, problems = _ConfigurationBuilder(), list(nothing_applies(sweep))
    studies = [
        _study(own, entry, dataset, "sweep", workshop, problems)
        for own in each_split(sweep)
        for entry, dataset in itertools.product(sweep.methods, sweep.datasets)
        if sweep.not_applicable == "refuse" or is_applicable(sweep, entry, dataset)
    ]
    if problems:
        raise ConfigError(problems)
    single, searched = list[Configuration](), list[Study]()
    for own in each_split(sweep):
        found = _references(own, [study for study in studies if study.sweep.splits == own.splits], workshop)
        single, searched = single + found[0], searched + found[1]
    return Plan(sweep, studies, single, searched)


def _study(
    sweep: Sweep, entry: MethodSpec, dataset: str, role: Role, workshop: _ConfigurationBuilder, problems: list[Problem]
) -> Study:
    space, found = Space(sweep, entry, dataset), dict[str, Configuration]()
    base: Configuration | None = None
    if space:
        try:
            base = workshop.base(sweep, entry, dataset)
        except ConfigError as error:
            problems += error.problems
        problems += workshop.checks.search_problems(sweep, entry, dataset)
    first = _default_values(space, base.template) if base else []
    for values, key in listed_points(sweep, entry, dataset):
        try:
            configuration = workshop.configuration(sweep, entry, dataset, values, *key)
        except ConfigError as error:
            problems += [] if is_left_out(sweep, error) else error.problems
        else:
            if space and space.holds(configuration.values):
                first.append(space.values_in(configuration.template))
            else:
                # A point may repeat one of the grid, or write out what is the default.
                found.setdefault(configuration.key, replace(configuration, role=role))
    distinct = {canonical(values): values for values in first}
    own = list(found.values())

    def proposed(values: Mapping[str, Any]) -> Configuration:
        return replace(workshop.configuration(sweep, entry, dataset, values, "vary"), role=role)

    first_values, identity = list(distinct.values()), base.key if base else None
    return Study(
        sweep, entry, dataset, space, own, first_values, identity, role, split_of_data(sweep, dataset), proposed
    )


def _default_values(space: Space, default: Run) -> list[dict[str, Any]]:
    """Return the defaults as the first point, where a search can propose all of them."""
    values = space.propose(lambda name, found: value_in(default, name))
    return [values] if space.holds(values) else []


def _references(
    sweep: Sweep, studies: list[Study], workshop: _ConfigurationBuilder
) -> tuple[list[Configuration], list[Study]]:
    """Plan the references on every dataset that allows them, but for those that the sweep trains as its own. Where the
    sweep is a search they are searched too, over those of its names that exist for them; where it varies the data, the
    recipe or the budget over a grid or by points, they are varied alike; else they are one configuration."""
    if not sweep.references:
        return [], []
    bases = (workshop.base(study.sweep, study.entry, study.dataset) for study in studies if study.space)
    listed = (configuration for study in studies for configuration in study.configurations)
    own = {configuration.key for configuration in [*listed, *filter(None, bases)]}
    names = {study.name for study in studies}
    single, searched = [], []
    for name, dataset in itertools.product(sweep.references, sweep.datasets):
        reference = REFERENCES[name]
        plain = reference_sweep(sweep, reference)
        base, refused = workshop.base(plain, reference.entry, dataset), list[Problem]()
        if base is None and not reference.vary:
            continue
        study = _study(plain, reference.entry, dataset, "reference", workshop, refused)
        if study.space and not refused and study.name not in names and (base is None or base.key not in own):
            searched.append(study)
        elif not study.space:
            fresh = [each for each in study.configurations if each.key not in own]
            # The best of several is the best of all of them, also of those that the sweep trains as its own.
            single += study.configurations if reference.vary and fresh else fresh
    return single, searched


class _ConfigurationBuilder:
    """Builds configurations, asking for the fingerprint of each dataset once."""

    def __init__(self) -> None:
        self._fingerprints: dict[str, str] = {}
        self.checks = DataChecks()

    def configuration(
        self, sweep: Sweep, entry: MethodSpec, dataset: str, values: Mapping[str, Any], *key: str | int
    ) -> Configuration:
        """Build one configuration. Raises ConfigError where it cannot be trained."""
        settings = checked_settings(sweep, entry, dataset, values, *key)
        self._require_data(sweep, dataset, settings)
        problems = list(self.checks.weight_problems(sweep, entry, settings, values, *key))
        problems += self.checks.fit_problems(sweep, entry, dataset, settings, values, *key)
        if problems:
            raise ConfigError(problems)
        return self._built(sweep, entry, dataset, values, settings)

    def base(self, sweep: Sweep, entry: MethodSpec, dataset: str) -> Configuration | None:
        """Build the one with nothing varied; None where what is varied cannot be left out. Raises ConfigError where the
        data cannot be found or used."""
        try:
            settings = checked_settings(sweep, entry, dataset, {}, "vary")
        except ConfigError:
            return None
        self._require_data(sweep, dataset, settings)
        if any(self.checks.fit_problems(sweep, entry, dataset, settings, {}, "vary")):
            return None
        return self._built(sweep, entry, dataset, {}, settings)

    def _require_data(self, sweep: Sweep, dataset: str, settings: Settings) -> None:
        if problems := list(self.checks.data_problems(sweep, dataset, settings.options)):
            raise ConfigError(problems)

    def _built(
        self, sweep: Sweep, entry: MethodSpec, dataset: str, values: Mapping[str, Any], settings: Settings
    ) -> Configuration:
        method, source = methods.get(entry.method), data.get(dataset)
        hyperparameters = settings.hyperparameters.model_dump(mode="json")
        template = Run(
            method=entry.method,
            hyperparameters=_with_absolute_paths(hyperparameters, _path_options(hyperparameters)),
            dataset=dataset,
            data=_with_absolute_paths(settings.options.model_dump(mode="json"), source.paths),
            fingerprint=self._fingerprint(sweep, dataset, settings.options),
            encoders={
                m: _with_absolute_paths(encoder, _path_options(encoder)) for m, encoder in settings.encoders.items()
            },
            train=settings.train,
            epochs=settings.epochs,
            metric=sweep.metric,
            patience=sweep.patience,
            test_peak=source.test_peak if sweep.test_peak is None else sweep.test_peak,
            seed=0,
            source=code_digests(method, source, settings.options),
            workers=sweep.resources.workers,
            numerics=NUMERICS,
        )
        idle = idle_names(settings.hyperparameters)
        shown = {name: value for name, value in values.items() if not _sets(name, idle)}
        # Of media the fingerprint covers how they are split, which is no part of a configuration.
        unsplit = settings.options.model_copy(update=default_split(source.Options)) if sweep.splits else None
        content = self._fingerprint(sweep, dataset, unsplit) if unsplit else ""
        return Configuration(entry.label, shown, template, content=content)

    def _fingerprint(self, sweep: Sweep, dataset: str, options: DatasetOptions) -> str:
        options = options.clean()
        key = f"{dataset}/{canonical(options.model_dump(mode='json'))}"
        if key not in self._fingerprints:
            try:
                self._fingerprints[key] = data.get(dataset).fingerprint(options)
            except DataError as error:
                raise ConfigError([data_problem(sweep, dataset, error)]) from error
        return self._fingerprints[key]


def _with_absolute_paths(options: Mapping[str, Any], paths: Collection[str]) -> dict[str, Any]:
    """Make those of ``options`` that are in ``paths`` absolute: a worker starts in another folder than the driver."""
    return {
        name: str(Path(value).expanduser().absolute()) if name in paths and value is not None else value
        for name, value in options.items()
    }


def _path_options(network: Mapping[str, Any]) -> tuple[str, ...]:
    """Name the option of an encoder or a method that is a path, where it is one and not the name of a weight set."""
    pretrained = network.get("pretrained")
    return ("pretrained",) if isinstance(pretrained, str) and Path(pretrained).expanduser().exists() else ()


def _sets(name: str, hyperparameters: list[str]) -> bool:
    """Tell whether a varied name sets one of ``hyperparameters``."""
    return target(name).hyperparameter in hyperparameters
