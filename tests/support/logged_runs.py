"""Runs that end in each way, for tests of what services are told."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from support.small_runs import make_environment, make_epoch, make_plan, make_run

from sweep.config import Sweep
from sweep.engine.execute import Execution, execute
from sweep.engine.on_ray.session import RaySession
from sweep.engine.tally import Tally
from sweep.engine.tasks import Task
from sweep.plan.configurations import Configuration
from sweep.runs.run_folder import RunFolder
from sweep.runs.store import Store
from sweep.training.epoch_record import EpochRecord

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run as Logged

SMALL: dict[str, Any] = {"data": {"digits": {"train_samples": 200}}, "epochs": 2}


def make_task(seed: int = 0) -> Task:
    run = make_run(method="iprm", hyperparameters={"alpha": 0.3}, seed=seed)
    return Task(run, f"{seed:016x}", Configuration("IPRM", {"alpha": 0.3}, run), False, 0)


def epoch(number: int) -> EpochRecord:
    return make_epoch(number).model_copy(update={"loss": 1 / number, "diagnostics": {"omega": float(number)}})


def begin(store: Store, task: Task, epochs: int) -> RunFolder:
    folder = store.run(task.hash)
    folder.open(task.run, make_environment())
    for number in range(1, epochs + 1):
        folder.append(epoch(number))
    return folder


def uri(folder: Path) -> str:
    return f"sqlite:///{folder}/mlflow.db"


def client_of(folder: Path) -> MlflowClient:
    """What asks MLflow."""
    from mlflow import MlflowClient  # takes seconds to import, which only the process spends that runs these tests

    return MlflowClient(uri(folder))


def stored(folder: Path, experiment: str = "s") -> dict[str, Logged]:
    """What MLflow holds of an experiment, by the names of the runs."""
    client = client_of(folder)
    found = client.get_experiment_by_name(experiment)
    assert found is not None
    runs = client.search_runs([found.experiment_id])
    by_name = {run.info.run_name: run for run in runs}
    assert len(by_name) == len(runs)
    return by_name


def written(folder: Path, **keys: Any) -> Sweep:
    return make_plan(folder, **keys).sweep


def trained(folder: Path, **keys: Any) -> tuple[Tally, str]:
    """Train a small sweep in this process; how it went, and what was said."""
    said = io.StringIO()
    sweep = written(folder, **SMALL, **keys)
    tally = execute(sweep, folder / "results", Execution(local=True), RaySession(), Console(file=said, width=300))
    return tally, said.getvalue()
