"""Early stopping at equal epochs: Optuna's pruners, asked by every executor alike."""

from __future__ import annotations

import math
from binascii import crc32
from collections.abc import Iterable

import optuna
from optuna.pruners import BasePruner, MedianPruner, SuccessiveHalvingPruner

from sweep.config import SchedulerSpec

MEDIAN_STARTUP = 4
"""Finished first seeds before the median rule stops anything."""


class StoppingRule:
    """Compares runs of at most ``epochs`` by their validation values at equal epochs; higher is better. Epochs are
    those that may be selected, counted from 1: a run is never judged by a network of which a part is untrained. A run's
    name is the ``choices_hash`` of :mod:`sweep.runs.identity`, so that no rule depends on what test labels are.

    asha: asynchronous successive halving, of the runs that reach a rung (grace, grace * reduction, ... epochs) the best
    1 / reduction go on (Li et al., MLSys 2020). hyperband: the same in several brackets, each with a later first rung,
    of the sizes of Li et al., JMLR 2018; no run is compared with those of another bracket, and it belongs to the one
    that its name says, whenever and beside whatever it is trained (Optuna's own goes by the name of the study and the
    number of the trial). median: a run whose best value is below the median of the others' at the same epoch ends."""

    def __init__(self, spec: SchedulerSpec, epochs: int) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._brackets = [
            (optuna.create_study(direction="maximize", pruner=pruner), size) for pruner, size in _pruners(spec, epochs)
        ]
        self._trials: dict[str, optuna.Trial] = {}
        self._last: dict[str, tuple[int, float]] = {}
        self._stopped: set[str] = set()

    def bracket(self, name: str) -> int:
        """Number the bracket of a run."""
        place = crc32(name.encode()) % sum(size for _, size in self._brackets)
        for number, (_, size) in enumerate(self._brackets):
            if place < size:
                return number
            place -= size
        raise AssertionError("a place lies within the sum of all sizes")

    def learn(self, name: str, values: Iterable[tuple[int, float]]) -> None:
        """Take epochs and values that an earlier driver trained."""
        for epoch, value in values:
            self.observe(name, epoch, value)

    def observe(self, name: str, epoch: int, value: float) -> bool:
        """Take the validation value of a run after ``epoch``; True where the run should end. An epoch that is trained
        again after an interruption counts once."""
        if name not in self._trials:
            self._trials[name] = self._brackets[self.bracket(name)][0].ask()
        if epoch > self._last.get(name, (0, 0.0))[0]:
            self._last[name] = (epoch, value)
            trial = self._trials[name]
            trial.report(value, epoch)
            if trial.should_prune():
                self._stopped.add(name)
        return name in self._stopped and epoch >= self._last[name][0]

    def close(self, name: str) -> None:
        """Take note that a run has ended, however: its values stay to compare others with."""
        trial = self._trials.pop(name, None)
        if trial is not None:
            self._brackets[self.bracket(name)][0].tell(trial, self._last.pop(name)[1])


def _pruners(spec: SchedulerSpec, epochs: int) -> list[tuple[BasePruner, int]]:
    """Make the rule of each bracket; also return how many runs it gets in proportion."""
    if spec.name == "median":
        return [(MedianPruner(n_startup_trials=MEDIAN_STARTUP, n_warmup_steps=spec.grace), 1)]
    brackets = 1
    while spec.name == "hyperband" and spec.grace * spec.reduction**brackets <= epochs:
        brackets += 1
    return [
        (
            SuccessiveHalvingPruner(
                min_resource=spec.grace, reduction_factor=spec.reduction, min_early_stopping_rate=number
            ),
            math.ceil(brackets * spec.reduction ** (brackets - 1 - number) / (brackets - number)),
        )
        for number in range(brackets)
    ]
