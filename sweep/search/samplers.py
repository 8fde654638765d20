"""Optuna's samplers, one for each proposal: seeded by its number, so that a proposal depends on its number, on what the
study knew when it was asked for, and on nothing else."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from optuna import Study
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, Trial

from methods.base.hyperparameters import Choice, Integer, LogUniform, SearchRange, Uniform
from sweep.config import SearchSpec
from sweep.plan.space import Space
from sweep.runs.canonical_text import canonical
from sweep.training import seeds


def sampler_seed(spec: SearchSpec, number: int) -> int:
    """Derive the sampler's seed for proposal ``number``; that of a sequence, which one seed scrambles, is that of
    all."""
    keys = () if spec.algorithm == "qmc" else (number,)
    return seeds.derive(spec.seed, "search", *keys) % 2**32


def build_sampler(spec: SearchSpec, space: Space, number: int) -> BaseSampler:
    """Build the sampler for proposal ``number`` of a search."""
    seed = sampler_seed(spec, number)
    if spec.algorithm == "random":
        return RandomSampler(seed=seed)
    if spec.algorithm == "gp":
        return GPSampler(seed=seed, warn_independent_sampling=False)
    if spec.algorithm == "cmaes":
        return CmaEsSampler(seed=seed, warn_independent_sampling=False)
    if spec.algorithm == "nsga2":
        return NSGAIISampler(seed=seed, population_size=max(2, min(50, spec.configurations // 2)))
    if spec.algorithm == "qmc":
        return SobolSampler(distributions(space), number, seed)
    if spec.algorithm == "tpe" and not space.conditional:
        return TPESampler(seed=seed)
    if spec.algorithm == "tpe":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            return TPESampler(seed=seed, multivariate=True, group=True)
    raise ValueError(f"no sampler for {spec.algorithm!r}")


class SobolSampler(BaseSampler):
    """Point ``number`` of a scrambled Sobol sequence over the whole of a space: a name that does not exist for the
    values of the others leaves its coordinate unused. (Optuna's own takes the space from earlier trials that have not
    failed, and counts the points in the study, so that it depends on what ended first.)"""

    def __init__(self, space: dict[str, BaseDistribution], number: int, seed: int) -> None:
        self._space = {name: found for name, found in space.items() if not found.single()}
        self._number, self._seed = number, seed
        self._independent = RandomSampler(seed=seed)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._space

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: Mapping[str, BaseDistribution]
    ) -> dict[str, Any]:
        from scipy.stats.qmc import Sobol  # scipy takes long to import

        if not search_space:
            return {}
        sequence = Sobol(len(search_space), seed=self._seed, scramble=True)
        if self._number:
            sequence.fast_forward(self._number)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # one point alone is never balanced
            (point,) = sequence.random(1)
        return {name: _at(fraction, found) for fraction, (name, found) in zip(point, search_space.items(), strict=True)}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._independent.sample_independent(study, trial, param_name, param_distribution)


def _at(fraction: float, found: BaseDistribution) -> Any:
    """Find the value that lies ``fraction`` in [0, 1) of the way through a distribution."""
    if isinstance(found, CategoricalDistribution):
        return found.choices[int(fraction * len(found.choices))]
    assert isinstance(found, FloatDistribution | IntDistribution)
    # Each whole number gets its share of the way.
    half = 0.5 if isinstance(found, IntDistribution) else 0.0
    low, high = found.low - half, found.high + half
    if found.log:
        value = math.exp(math.log(low) + fraction * (math.log(high) - math.log(low)))
    else:
        value = low + fraction * (high - low)
    kept = min(max(value, found.low), found.high)
    return math.floor(kept + 0.5) if isinstance(found, IntDistribution) else kept


def distributions(space: Mapping[str, SearchRange]) -> dict[str, BaseDistribution]:
    """Make Optuna's distribution of each name."""
    return {name: distribution(found) for name, found in space.items()}


def distribution(space: SearchRange) -> BaseDistribution:
    """Make Optuna's distribution for a search range; a choice that Optuna cannot hold is named by its JSON."""
    if isinstance(space, Uniform):
        return FloatDistribution(space.low, space.high)
    if isinstance(space, LogUniform):
        return FloatDistribution(space.low, space.high, log=True)
    if isinstance(space, Integer):
        return IntDistribution(space.low, space.high, log=space.log)
    return CategoricalDistribution(_optuna_choices(space))


def _optuna_choices(space: Choice) -> Sequence[Any]:
    return tuple(as_optuna(value) for value in space.values)


def as_optuna(value: Any) -> Any:
    """Convert a value of a choice to what Optuna holds for it."""
    return value if value is None or isinstance(value, bool | int | float | str) else json.dumps(value, sort_keys=True)


def from_optuna(space: SearchRange, held: Any) -> Any:
    """Convert what Optuna holds to the value that it stands for. Raises ValueError where a choice has none such."""
    if not isinstance(space, Choice):
        return held
    for value in space.values:
        if canonical(as_optuna(value)) == canonical(held):
            return value
    raise ValueError(f"{held!r} is no choice")


def suggest(trial: Trial, name: str, space: SearchRange) -> Any:
    """Ask Optuna for a value."""
    if isinstance(space, Choice):
        return from_optuna(space, trial.suggest_categorical(name, _optuna_choices(space)))
    if isinstance(space, Integer):
        return trial.suggest_int(name, space.low, space.high, log=space.log)
    return trial.suggest_float(name, space.low, space.high, log=isinstance(space, LogUniform))
