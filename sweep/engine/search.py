"""A thin searcher around Optuna's ask and tell, with its study in a journal file that optuna-dashboard opens.

One Optuna trial is one configuration; it is told once, the mean over the sweep's seeds. A proposal that repeats an
earlier configuration costs nothing: it is answered from that one. The study only remembers proposals: what they led to
is read from the run folders, so a study and a store can never disagree."""

from __future__ import annotations

import json
import warnings
from collections import deque
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, NSGAIISampler, QMCSampler, RandomSampler, TPESampler
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState, create_trial

from methods.hyperparameters import Choice, Integer, LogUniform, SearchRange, Uniform
from sweep import seeds
from sweep.config import ConfigError, SearchSpec
from sweep.engine.agenda import Nothing, mean_metric
from sweep.plan import Configuration, Study
from sweep.records import FinalRecord

REPEATS = 100
"""Proposals in a row that repeat earlier ones, after which a space counts as exhausted."""


class Search:
    """The configurations of one study, proposed by Optuna: see ``sweep.engine.agenda.Source``."""

    def __init__(self, study: Study, spec: SearchSpec, metric: str, num_seeds: int, storage: BaseStorage) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._study, self._spec, self._num_seeds = study, spec, num_seeds
        self._metric = f"validation_{metric}"
        self._space = {name: distribution(found) for name, found in study.space.items()}
        self._optuna = _open_study(storage, study.name, self._space)
        self._recorded = deque(self._optuna.get_trials(deepcopy=False))
        self._open: dict[str, list[int]] = {}
        self._told: dict[str, tuple[TrialState, float | None]] = {}
        if not self._recorded and (first := study.default_values()) is not None:
            self._optuna.enqueue_trial({name: _label(value) for name, value in first.items()})

    # Proposals -------------------------------------------------------------------------------------------------

    def propose(self) -> Configuration | Nothing:
        while self._recorded:
            trial = self._recorded.popleft()
            if trial.state == TrialState.WAITING:
                continue
            if set(trial.params) != set(self._space):
                # The process died between asking and suggesting; nothing was trained under this number.
                self._tell(trial.number, TrialState.FAIL, None)
                continue
            if (configuration := self._configuration(trial.number, trial.params)) is not None:
                return configuration
        for _ in range(REPEATS):
            if len(self._open) + len(self._told) >= self._spec.configurations:
                return Nothing.EVER
            asked = self._ask()
            if (configuration := self._configuration(asked.number, asked.params)) is not None:
                return configuration
        return Nothing.YET if self._open else Nothing.EVER

    def _ask(self) -> optuna.Trial:
        # A sampler seeded by the trial's number proposes alike in an interrupted and in an uninterrupted search.
        number = len(self._optuna.get_trials(deepcopy=False))
        self._optuna.sampler = sampler(self._spec, number)
        return self._optuna.ask(self._space)

    def _configuration(self, number: int, params: dict[str, Any]) -> Configuration | None:
        """The configuration of a proposal; None where it repeats one, which then answers for both."""
        try:
            configuration = self._study.configuration({name: self._decode(name, params[name]) for name in params})
        except ConfigError:  # values that each are legal but do not go together: nothing can be trained there
            self._tell(number, TrialState.FAIL, None)
            return None
        key = configuration.key
        if key in self._told:
            self._tell(number, *self._told[key])
            return None
        if key in self._open:
            self._open[key].append(number)
            return None
        self._open[key] = [number]
        return replace(configuration, number=number)

    def _decode(self, name: str, value: Any) -> Any:
        found = self._study.space[name]
        return dict(zip(_labels(found), found.values, strict=True))[value] if isinstance(found, Choice) else value

    # Answers ---------------------------------------------------------------------------------------------------

    def tell(self, configuration: Configuration, outcomes: dict[int, FinalRecord]) -> None:
        state, value = self._verdict(outcomes)
        self._told[configuration.key] = (state, value)
        for number in self._open.pop(configuration.key):
            self._tell(number, state, value)

    def _verdict(self, outcomes: dict[int, FinalRecord]) -> tuple[TrialState, float | None]:
        if any(final.status == "pruned" for final in outcomes.values()):
            return TrialState.PRUNED, None
        value = mean_metric(outcomes.values(), self._metric, self._num_seeds)
        return (TrialState.FAIL, None) if value is None else (TrialState.COMPLETE, value)

    def _tell(self, number: int, state: TrialState, value: float | None) -> None:
        known = self._optuna.get_trials(deepcopy=False)[number]
        if not known.state.is_finished():
            self._optuna.tell(number, value, state=state)


def distribution(space: SearchRange) -> BaseDistribution:
    """Optuna's distribution for a search range; a choice that Optuna cannot hold is named by its JSON."""
    if isinstance(space, Uniform):
        return FloatDistribution(space.low, space.high)
    if isinstance(space, LogUniform):
        return FloatDistribution(space.low, space.high, log=True)
    if isinstance(space, Integer):
        return IntDistribution(space.low, space.high, log=space.log)
    return CategoricalDistribution(_labels(space))


def _labels(space: Choice) -> tuple[Any, ...]:
    return tuple(_label(value) for value in space.values)


def _label(value: Any) -> Any:
    return value if value is None or isinstance(value, bool | int | float | str) else json.dumps(value, sort_keys=True)


def sampler(spec: SearchSpec, number: int) -> BaseSampler:
    """Optuna's sampler for proposal ``number`` of a search."""
    seed = seeds.derive(spec.seed, "search", number) % 2**32
    if spec.algorithm == "random":
        return RandomSampler(seed=seed)
    if spec.algorithm == "tpe":
        return TPESampler(seed=seed)
    if spec.algorithm == "gp":
        return GPSampler(seed=seed)
    if spec.algorithm == "cmaes":
        return CmaEsSampler(seed=seed)
    if spec.algorithm == "nsga2":
        return NSGAIISampler(seed=seed, population_size=max(2, min(50, spec.configurations // 2)))
    if spec.algorithm == "qmc":
        # One scrambled sequence for the whole search: the study itself counts the points taken.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            return QMCSampler(seed=seeds.derive(spec.seed, "search") % 2**32, warn_asynchronous_seeding=False)
    raise ValueError(f"no sampler for {spec.algorithm!r}")


def open_storage(journal: Path) -> BaseStorage:
    """The storage of a sweep's studies: one journal file, which optuna-dashboard opens."""
    return JournalStorage(JournalFileBackend(str(journal)))


def _open_study(storage: BaseStorage, name: str, space: dict[str, BaseDistribution]) -> optuna.Study:
    """The study, made where it is missing. Where its space has changed, it starts anew with those finished proposals
    that lie in the new space."""
    study = optuna.create_study(storage=storage, study_name=name, direction="maximize", load_if_exists=True)
    trials = study.get_trials(deepcopy=True)
    if all(not trial.distributions or trial.distributions == space for trial in trials):
        return study
    optuna.delete_study(study_name=name, storage=storage)
    study = optuna.create_study(storage=storage, study_name=name, direction="maximize")
    study.add_trials([moved for trial in trials if (moved := _moved(trial, space)) is not None])
    return study


def _moved(trial: FrozenTrial, space: dict[str, BaseDistribution]) -> FrozenTrial | None:
    if trial.state != TrialState.COMPLETE or set(trial.params) != set(space):
        return None
    try:
        return create_trial(params=trial.params, distributions=space, value=trial.value)
    except ValueError:  # Optuna's word for a parameter outside its distribution
        return None
