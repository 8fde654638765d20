"""Results of a search, read off its Optuna study: trials by state, the best so far, importances of hyperparameters."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sweep.analysis.fronts import display_factor, objective_label
from sweep.plan.objectives import DIRECTIONS

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial

    from sweep.config.schema import Objective

LEAST_TRIALS = 20
"""Finished trials below which importances say nothing."""
PERMUTATIONS = 60


@dataclass(frozen=True)
class SearchResult:
    """One objective of one study of a sweep, with the label and dataset that it searched for; of several splits the
    dataset names the split ("digits, split 1"). position: of the
    objective among those of the study."""

    label: str
    dataset: str
    objective: Objective
    position: int
    study: Study

    @property
    def title(self) -> str:
        """Name an axis of its values."""
        return objective_label(self.objective)

    @property
    def is_one_of_several(self) -> bool:
        """Say whether the study has other objectives beside this one."""
        return len(self.study.directions) > 1

    def value(self, trial: FrozenTrial) -> float:
        """Give the objective of a trial, in per cent where it is a share."""
        return display_factor(self.objective) * float(trial.values[self.position])

    def best_so_far(self, values: Any) -> Any:
        """Give the best of the values up to each, whichever way is better."""
        maximal = DIRECTIONS[self.objective] == "maximize"
        return np.maximum.accumulate(values) if maximal else np.minimum.accumulate(values)

    def trials(self, *states: str) -> list[FrozenTrial]:
        """List the trials in the given states (COMPLETE, PRUNED, FAIL), by number."""
        return [t for t in self.study.get_trials(deepcopy=False) if t.state.name in states]

    @property
    def parameters(self) -> list[str]:
        """List the parameters of all trials that have ended."""
        return list(dict.fromkeys(name for trial in self.trials("COMPLETE", "PRUNED") for name in trial.params))

    @property
    def common(self) -> list[str]:
        """List the parameters of every finished trial: in a conditional space some exist only for some values."""
        trials = self.trials("COMPLETE")
        return [name for name in self.parameters if all(name in trial.params for trial in trials)]

    def distribution(self, name: str) -> Any:
        """Give the distribution that a parameter was last drawn from."""
        trials = self.trials("COMPLETE", "PRUNED")
        return next(t.distributions[name] for t in reversed(trials) if name in t.distributions)


@dataclass(frozen=True)
class Importance:
    """Share of a hyperparameter in the importance of all, and the 95 % quantile of that share under chance: the same
    trials with their values shuffled."""

    name: str
    share: float
    chance: float


def search_results(sweep: Path, metric: str) -> list[SearchResult]:
    """Read the studies in the journals of the sweep in a folder, one result a label, dataset and objective.

    metric: the objective of a study that does not name its own. Empty where nothing was searched."""
    journals = sorted(sweep.glob("study*.journal"))
    if not journals:
        return []
    import optuna

    from sweep.plan.configurations import ON_SPLIT
    from sweep.search.journal import SEARCHES, open_read_only

    found = []
    for journal in journals:
        storage = open_read_only(journal)
        for full in optuna.get_all_study_names(storage):
            whole, _, split = full.removeprefix(f"{sweep.name}/").partition(ON_SPLIT)
            label, _, dataset = whole.rpartition("/")
            dataset = f"{dataset}, split {split}" if split else dataset
            study = optuna.load_study(study_name=full, storage=storage)
            objectives = study.user_attrs.get(SEARCHES, {}).get("objectives", [metric])
            found += [SearchResult(label or full, dataset, name, at, study) for at, name in enumerate(objectives)]
    return found


def importances(search: SearchResult) -> list[Importance] | str:
    """Weigh each hyperparameter by PED-ANOVA, largest first; or give the reason why none can be weighed."""
    import optuna

    trials, common = search.trials("COMPLETE"), search.common
    values = np.array([search.value(trial) for trial in trials], float)
    if len(trials) < LEAST_TRIALS:
        return f"Importances need {LEAST_TRIALS} finished trials, there are {len(trials)}: fewer show chance alone."
    if np.ptp(values) == 0:
        return "Every trial has the same value: no hyperparameter matters here."
    if len(common) < 2:
        return "Fewer than two hyperparameters exist in every trial: there is nothing to weigh against each other."
    shuffled = np.random.default_rng(0)

    def shares(values: np.ndarray) -> dict[str, float]:
        study = optuna.create_study(direction=DIRECTIONS[search.objective])
        study.add_trials(
            [
                optuna.create_trial(
                    params={name: t.params[name] for name in common},
                    distributions={name: t.distributions[name] for name in common},
                    value=float(v),
                )
                for t, v in zip(trials, values, strict=True)
            ]
        )
        return optuna.importance.get_param_importances(study, evaluator=optuna.importance.PedAnovaImportanceEvaluator())

    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        found = shares(values)
        null = [shares(shuffled.permutation(values)) for _ in range(PERMUTATIONS)]
    finally:
        optuna.logging.set_verbosity(verbosity)
    return [Importance(n, share, float(np.quantile([s.get(n, 0.0) for s in null], 0.95))) for n, share in found.items()]


IMPORTANCE_NOTE = (
    "PED-ANOVA over the finished trials. A search that adapts tries promising regions more often, which biases "
    "importances; a random or quasi-random search does not. The tick marks what shuffled values reach in 5 % of cases: "
    "a bar below it is no signal."
)
