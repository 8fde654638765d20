"""A finished random search: its study in a journal, and its runs as synthetic results."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from support.synthetic_results import Results, noisy


def random_search(path: Path, trials: int, level: float = 0.1) -> Path:
    """Write results/igm-search, whose value grows by ``level`` a decade of rho; every ninth trial was pruned. Returns
    its folder."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    results = Results(path)
    results.sweep("igm-search")
    journal = JournalFileBackend(str(path / "igm-search" / "study.journal"))
    sampler = optuna.samplers.RandomSampler(seed=0)
    study = optuna.create_study(
        storage=JournalStorage(journal), study_name="igm-search/igm/digits", direction="maximize", sampler=sampler
    )
    for number in range(trials):
        trial = study.ask()
        rho = trial.suggest_float("rho", 1e-3, 0.5, log=True)
        scope = trial.suggest_categorical("scope", ["head", "all"])
        trial.suggest_float("tau", 0, 2)
        status = "pruned" if number % 9 == 8 else "done"
        value = 0.8 + level * (np.log10(rho) + 3)
        if status == "done":
            study.tell(trial, value)
        else:
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        found = noisy(0, value, 0.8, 0.5)
        values = {"rho": rho, "scope": scope}
        results.run("igm-search", "igm", 0, found, values=values, status=status, number=number)
    return path / "igm-search"
