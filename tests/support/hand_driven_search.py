"""Searches whose configurations are ended by hand, for tests of the engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
from support.small_runs import make_plan

from sweep.plan.configurations import Configuration
from sweep.runs.records import FinalRecord
from sweep.runs.store import Store
from sweep.search.journal import open_storage
from sweep.search.proposals import Nothing
from sweep.search.searcher import Search

SPACE = {"alpha": {"uniform": [0.1, 0.9]}, "train.lr": {"loguniform": [0.001, 0.3]}}
ALGORITHMS = ["random", "tpe", "gp", "cmaes", "qmc", "nsga2"]


def make_search(folder: Path, algorithm: str = "tpe", configurations: int = 6, **keys: Any) -> Search:
    """A search; keys of ``search`` may stand among those of the sweep."""
    own = {key: keys.pop(key) for key in ("batch", "objectives", "racing", "warm_start") if key in keys}
    spec = {"algorithm": algorithm, "configurations": configurations, **own}
    planned = make_plan(folder, **{"vary": SPACE, "search": spec, "report_seeds": [], **keys})
    storage = open_storage(folder / "study.journal")
    return Search(planned.searches[0], storage, Store(folder / "results"))


def outcomes(value: float, status: str = "done") -> dict[int, FinalRecord]:
    final = FinalRecord(status=status, metrics={"validation_accuracy": value})  # type: ignore[arg-type]
    return {0: final, 1: final}


def objective(configuration: Configuration) -> float:
    return 1 - abs(configuration.values["alpha"] - 0.4)


def finish(search: Search) -> list[Configuration]:
    proposed = []
    while isinstance(configuration := search.propose(), Configuration):
        proposed.append(configuration)
        search.tell(configuration, outcomes(objective(configuration)))
    assert configuration is Nothing.LEFT
    return proposed


def study(folder: Path, label: str = "iprm") -> optuna.Study:
    return optuna.load_study(study_name=f"s/{label}/digits", storage=open_storage(folder / "study.journal"))


def quality(configuration: Configuration) -> float:
    """A quality that depends on every number, and a state that some of them have."""
    return sum(v for v in configuration.values.values() if isinstance(v, float))


def outcomes_of(configuration: Configuration) -> dict[int, Any]:
    status = {0: "failed", 1: "pruned"}.get(int(1e6 * quality(configuration)) % 5, "done")
    return outcomes(quality(configuration), status)


def simulate(search: Search, slots: int, order: str, stop: int = 10**9) -> list[str]:
    """Keys of what is proposed, with ``slots`` configurations at a time that end first in, first out, or the other way
    round; after ``stop`` ends the process dies."""
    proposed, under_way = list[str](), list[Configuration]()
    while stop:
        found = search.propose() if len(under_way) < slots else Nothing.NOW
        if isinstance(found, Configuration):
            proposed.append(found.key)
            under_way.append(found)
        elif under_way:
            ended = under_way.pop(0 if order == "first" else -1)
            search.tell(ended, outcomes_of(ended))
            stop -= 1
        else:
            assert found is Nothing.LEFT
            return proposed
    return proposed
