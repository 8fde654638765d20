"""What a search says of its hyperparameters: partial dependence, effect sizes, the path from defaults to the choice.

A random forest is fitted to the finished trials, and again to trials drawn with replacement: the intervals. All of it
is what the forest predicts, on validation data; only the two ends of the path were trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sweep.analysis.search_results import LEAST_TRIALS, SearchResult
from sweep.plan.objectives import DIRECTIONS

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

REPLICAS = 20
TREES = 20
GRID = 15
INTERVAL = (0.025, 0.975)

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Dependence:
    """How the objective depends on one hyperparameter, averaged over what was tried of the others.

    values: of the hyperparameter, as Optuna holds them; mean, low, high: of the objective in its unit of display, with
    the 95 % interval over refitted forests; effect: largest less smallest mean, effect_low and effect_high its
    interval, of the difference between the same two values; log: whether its range is logarithmic."""

    name: str
    values: tuple[Any, ...]
    mean: Values
    low: Values
    high: Values
    effect: float
    effect_low: float
    effect_high: float
    log: bool = False


@dataclass(frozen=True)
class Step:
    """One step of the path from the first configuration to the best: the hyperparameter that is changed (None at the
    start), its values before and after, and the objective that the forest predicts then."""

    name: str | None
    before: Any
    after: Any
    predicted: float


class _Forests:
    """Forests of a study's finished trials: the first is fitted to all, each other to a resample."""

    def __init__(self, search: SearchResult) -> None:
        from sklearn.ensemble import RandomForestRegressor  # scikit-learn takes long to import

        self.trials, self.names = search.trials("COMPLETE"), search.common
        self._distributions = {name: search.distribution(name) for name in self.names}
        self.encoded = np.array([self.encode(trial.params) for trial in self.trials])
        values = np.array([search.value(trial) for trial in self.trials], float)
        random = np.random.default_rng(0)
        draws = [np.arange(len(values)), *random.integers(len(values), size=(REPLICAS, len(values)))]
        self._forests = []
        for number, rows in enumerate(draws):
            forest = RandomForestRegressor(TREES, min_samples_leaf=2, random_state=number)
            self._forests.append(forest.fit(self.encoded[rows], values[rows]))

    def encode(self, params: dict[str, Any]) -> list[float]:
        """Place parameters on axes: logarithms where a range is logarithmic, 0 and 1 for each choice."""
        found: list[float] = []
        for name in self.names:
            distribution, value = self._distributions[name], params[name]
            choices = getattr(distribution, "choices", None)
            if choices is not None:
                found += [float(value == choice) for choice in choices]
            else:
                found.append(float(np.log(value)) if getattr(distribution, "log", False) else float(value))
        return found

    def is_logarithmic(self, name: str) -> bool:
        return bool(getattr(self._distributions[name], "log", False))

    def grid(self, name: str) -> list[Any]:
        """List values of a hyperparameter to look at: each choice, else quantiles of what was tried."""
        choices = getattr(self._distributions[name], "choices", None)
        if choices is not None:
            return list(choices)
        tried = sorted({trial.params[name] for trial in self.trials})
        places = np.linspace(0, len(tried) - 1, min(GRID, len(tried))).round().astype(int)
        return [tried[place] for place in dict.fromkeys(places.tolist())]

    def predict(self, rows: Values) -> Values:
        """Predict the objective, [forests, rows]."""
        return np.array([forest.predict(rows) for forest in self._forests])


def dependences(search: SearchResult) -> list[Dependence]:
    """Estimate the dependence on each hyperparameter of every trial, the largest effect first; none for fewer trials
    than say anything."""
    if len(search.trials("COMPLETE")) < LEAST_TRIALS or not search.common:
        return []
    forests = _Forests(search)
    found = [_dependence(forests, name) for name in forests.names]
    return sorted(found, key=lambda each: -each.effect)


def _dependence(forests: _Forests, name: str) -> Dependence:
    values = forests.grid(name)
    rows = [[forests.encode({**trial.params, name: value}) for trial in forests.trials] for value in values]
    predicted = forests.predict(np.array(rows).reshape(-1, forests.encoded.shape[1]))
    curves = predicted.reshape(len(predicted), len(values), -1).mean(2)
    low, high = np.quantile(curves[1:], INTERVAL, axis=0)
    # Between the same two values in every forest: the largest range of each would be one of noise, too.
    top, bottom = int(curves[0].argmax()), int(curves[0].argmin())
    effect_low, effect_high = np.quantile(curves[1:, top] - curves[1:, bottom], INTERVAL)
    effect = float(curves[0, top] - curves[0, bottom])
    ends = float(effect_low), float(effect_high)
    return Dependence(name, tuple(values), curves[0], low, high, effect, *ends, forests.is_logarithmic(name))


def ablation_path(search: SearchResult) -> list[Step]:
    """Lead from the first configuration (the defaults, where the space holds them) to the best, one hyperparameter at a
    time, the one first whose change the forest expects most of (Fawcett and Hoos, Journal of Heuristics 2016)."""
    trials = search.trials("COMPLETE")
    if len(trials) < LEAST_TRIALS or not search.common:
        return []
    maximal = DIRECTIONS[search.objective] == "maximize"
    first = trials[0]
    best: FrozenTrial = (max if maximal else min)(trials, key=search.value)
    forests = _Forests(search)

    def predicted(params: dict[str, Any]) -> float:
        return float(forests.predict(np.array([forests.encode(params)]))[0, 0])

    here = {name: first.params[name] for name in forests.names}
    left = [name for name in forests.names if here[name] != best.params[name]]
    steps, sign = [Step(None, None, None, predicted(here))], 1.0 if maximal else -1.0
    while left:
        expected = {name: predicted({**here, name: best.params[name]}) for name in left}
        name = max(expected, key=lambda each, of=expected: sign * of[each])  # type: ignore[misc]
        before, here = here[name], {**here, name: best.params[name]}
        steps.append(Step(name, before, best.params[name], expected[name]))
        left.remove(name)
    return steps
