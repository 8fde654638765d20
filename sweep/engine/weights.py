"""Which weights stay after a run: none, those of the best configuration of each study, or all."""

from __future__ import annotations

from typing import Literal

from sweep.engine.agenda import mean_metric
from sweep.plan import Configuration
from sweep.records import FinalRecord
from sweep.store import Store


class WeightsKeeper:
    """Drops weights as configurations end, so that a long sweep never holds more than it keeps. Weights of runs that
    this sweep did not train itself are left alone: another sweep may hold them."""

    def __init__(self, store: Store, keep: Literal["none", "best", "all"], metric: str, seeds: int) -> None:
        self._store, self._keep, self._metric, self._seeds = store, keep, f"validation_{metric}", seeds
        self._best: dict[tuple[str, str], tuple[float, list[str]]] = {}

    def ended(self, configuration: Configuration, trained: list[str], outcomes: dict[int, FinalRecord]) -> None:
        """A configuration has ended; ``trained`` are the hashes of those of its runs that were trained now."""
        if self._keep == "all" or configuration.role == "report":
            return
        value = mean_metric(outcomes.values(), self._metric, self._seeds)
        study = (configuration.label, configuration.dataset)
        best = self._best.get(study)
        beaten = best is not None and value is not None and value <= best[0]
        if self._keep == "none" or configuration.role != "sweep" or value is None or beaten:
            self._drop(trained)
            return
        if best is not None:
            self._drop(best[1])
        self._best[study] = (value, trained)

    def _drop(self, hashes: list[str]) -> None:
        for run_hash in hashes:
            self._store.run(run_hash).drop_weights()
