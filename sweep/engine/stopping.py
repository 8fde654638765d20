"""Early stopping at equal epochs: Optuna's pruners, asked by every executor alike."""

from __future__ import annotations

import optuna
from optuna.pruners import BasePruner, MedianPruner, SuccessiveHalvingPruner

from sweep.config import SchedulerSpec

MEDIAN_STARTUP = 4
"""Finished first seeds before the median rule stops anything."""


class StoppingRule:
    """Compares runs by their validation values at equal epochs; higher is better.

    asha: asynchronous successive halving, of the runs that reach a rung (grace, grace * reduction, ... epochs) the best
    1 / reduction go on. median: a run whose best value is below the median of the others' at the same epoch ends."""

    def __init__(self, spec: SchedulerSpec) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._study = optuna.create_study(direction="maximize", pruner=_pruner(spec))
        self._trials: dict[str, optuna.Trial] = {}

    def report(self, run_hash: str, epoch: int, value: float) -> bool:
        """The validation value of a run after ``epoch``; True where the run should end."""
        if run_hash not in self._trials:
            self._trials[run_hash] = self._study.ask()
        trial = self._trials[run_hash]
        trial.report(value, epoch)
        return trial.should_prune()

    def close(self, run_hash: str) -> None:
        """The run has ended, however: its values stay to compare others with."""
        trial = self._trials.pop(run_hash, None)
        if trial is None:
            return
        values = self._study.get_trials(deepcopy=False)[trial.number].intermediate_values
        self._study.tell(trial, values[max(values)])


def _pruner(spec: SchedulerSpec) -> BasePruner:
    if spec.name == "asha":
        return SuccessiveHalvingPruner(min_resource=spec.grace, reduction_factor=spec.reduction)
    return MedianPruner(n_startup_trials=MEDIAN_STARTUP, n_warmup_steps=spec.grace)
