"""Check the data of sweeps before anything runs: that they are there and sound, as far as lists, headers and first rows
tell, and that the encoders take their samples."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import data
import methods
from data.base import AbsentDataError, DataError, DatasetOptions, Description
from sweep.config import ConfigError, MethodSpec, Problem, Settings, Sweep, refusal
from sweep.config.check_corruption import corruption_problems
from sweep.config.resolve import absent_weights, data_problem, encoder_problems
from sweep.plan.not_applicable import is_left_out
from sweep.plan.points import checked_settings, listed_points, search_examples
from sweep.plan.splits import split_problems
from sweep.runs.canonical_text import canonical


class DataChecks:
    """Looks at the data of each dataset once, under each of its options, and at the weights to start from.

    note: hears of data and weights that are not on this machine, of which nothing more is then checked; None: they are
    refused."""

    def __init__(self, note: Callable[[str], None] | None = None) -> None:
        self._note = note
        self._described: dict[str, Description | DataError] = {}
        self._noted: set[str] = set()

    def data_problems(self, sweep: Sweep, dataset: str, options: DatasetOptions) -> Iterator[Problem]:
        """Find what is wrong with the data itself."""
        found = self._description(dataset, options)
        if not isinstance(found, DataError):
            yield from split_problems(sweep, dataset, options)
            return
        problem = data_problem(sweep, dataset, found)
        if self._note is None or not isinstance(found, AbsentDataError):
            yield problem
        elif str(found) not in self._noted:
            self._noted.add(str(found))
            self._note(f"{problem} (not checked: the data is not here, and run would refuse it)")

    def weight_problems(
        self,
        sweep: Sweep,
        entry: MethodSpec,
        settings: Settings,
        values: Mapping[str, Any],
        *key: str | int,
    ) -> Iterator[Problem]:
        """Find weights to start from that are not on this machine; noted where data that are not here are noted."""
        for problem in absent_weights(sweep, entry, settings, values, lambda name: (*key, name)):
            if self._note is None:
                yield problem
            elif problem.message not in self._noted:
                self._noted.add(problem.message)
                self._note(f"{problem} (the weights are not here, and run would refuse it)")

    def fit_problems(
        self,
        sweep: Sweep,
        entry: MethodSpec,
        dataset: str,
        settings: Settings,
        values: Mapping[str, Any],
        *key: str | int,
    ) -> Iterator[Problem]:
        """Find what does not fit the samples that only the data tells of; none where the data cannot be used. values:
        those of the varied names, written under ``key``."""
        found = self._description(dataset, settings.options)
        if isinstance(found, DataError):
            return
        trained, batch = found.labels.get("train"), "train.batch_size"
        drops = methods.get(entry.method).drop_last
        if drops and trained is not None and len(trained) < settings.train.batch_size:
            what = f"{entry.method} drops incomplete batches, and {dataset} has {len(trained)} training samples"
            yield sweep.problem(
                (*key, batch) if batch in values else tuple(batch.split(".")), what, f"use at most {len(trained)}"
            )
        if found.samples == data.get(dataset).samples(settings.options):
            return
        yield from encoder_problems(sweep, settings.encoders, found.samples, values, lambda name: (*key, name))
        yield from corruption_problems(sweep, settings.options, found.samples, lambda path: ("data", dataset, *path))
        if (reason := refusal(entry, dataset, settings, found.samples)) is not None:
            yield sweep.problem(key, reason)

    def study_problems(self, sweep: Sweep, entry: MethodSpec, dataset: str) -> Iterator[Problem]:
        """Find what is wrong with the points of a study, of a search with examples: first with what is written, then
        with the data."""
        for values, key in listed_points(sweep, entry, dataset):
            try:
                settings = checked_settings(sweep, entry, dataset, values, *key)
            except ConfigError as error:
                yield from [] if is_left_out(sweep, error) else error.problems
            else:
                yield from self.data_problems(sweep, dataset, settings.options)
                yield from self.weight_problems(sweep, entry, settings, values, *key)
                yield from self.fit_problems(sweep, entry, dataset, settings, values, *key)
        yield from self.search_problems(sweep, entry, dataset)

    def search_problems(self, sweep: Sweep, entry: MethodSpec, dataset: str) -> Iterator[Problem]:
        """Find what is wrong with the data of examples of what a search may propose."""
        for values, key in search_examples(sweep, entry, dataset):
            try:
                settings = checked_settings(sweep, entry, dataset, values, *key)
            except ConfigError:  # values that each are legal but do not go together: the search leaves them out
                continue
            yield from self.data_problems(sweep, dataset, settings.options)
            yield from self.weight_problems(sweep, entry, settings, values, *key)
            yield from self.fit_problems(sweep, entry, dataset, settings, values, *key)

    def _description(self, dataset: str, options: DatasetOptions) -> Description | DataError:
        options = options.clean()
        key = f"{dataset}/{canonical(options.model_dump(mode='json'))}"
        if key not in self._described:
            try:
                self._described[key] = data.get(dataset).describe(options)
            except DataError as error:
                self._described[key] = error
        return self._described[key]


def require_data(sweeps: Sequence[Sweep]) -> None:
    """Check the data of several sweeps, before the first of them is trained. Raises ConfigError with every mistake,
    data that are not there among them."""
    checks = DataChecks()
    problems = [
        problem
        for sweep in sweeps
        for entry, dataset in itertools.product(sweep.methods, sweep.datasets)
        for problem in checks.study_problems(sweep, entry, dataset)
    ]
    if problems:
        raise ConfigError(problems)
