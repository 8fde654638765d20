"""Searches whose configurations are ended by hand, for tests of the engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
from samples import make_plan

from sweep.engine.journal import open_storage
from sweep.engine.search import Search
from sweep.engine.sources import Nothing
from sweep.plan import Configuration
from sweep.records import FinalRecord
from sweep.store import Store

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
    assert configuration is Nothing.EVER
    return proposed


def study(folder: Path, label: str = "iprm") -> optuna.Study:
    return optuna.load_study(study_name=f"s/{label}/digits", storage=open_storage(folder / "study.journal"))
