"""MLflow, through its own client. The package, which is optional, is imported where a client is made."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweep.config import MLflowSpec

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Param

REMEDY = "check loggers.mlflow.tracking_uri, as in http://HOST:5000 or sqlite:///mlflow.db"


class MLflowLogger:
    """Logs runs to one experiment, all numbers of an epoch in one request."""

    def __init__(self, client: MlflowClient, experiment: str) -> None:
        self._client = client
        self._experiment_id = _experiment_id(self._client, experiment)
        self._ids: dict[str, str] = {}

    def start(self, key: str, name: str, parameters: Mapping[str, Any]) -> None:
        run = self._client.create_run(self._experiment_id, run_name=name)
        self._ids[key] = run.info.run_id
        self._client.log_batch(run.info.run_id, params=_params(parameters))

    def log(self, key: str, epoch: int, numbers: Mapping[str, float]) -> None:
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        # MLflow refuses all numbers of a request where a name has a plus, as those of subsets of modalities have.
        metrics = [Metric(name.replace("+", " "), float(value), now, epoch) for name, value in numbers.items()]
        self._client.log_batch(self._ids[key], metrics=metrics)

    def end(self, key: str, outcome: Mapping[str, str], failed: bool) -> None:
        run_id = self._ids.pop(key)
        self._client.log_batch(run_id, params=_params(outcome))
        self._client.set_terminated(run_id, "FAILED" if failed else "FINISHED")

    def close(self) -> None:
        """Do nothing: every request has been answered."""


def _experiment_id(client: MlflowClient, name: str) -> str:
    """Return the experiment of this name, made where there is none."""
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(client.create_experiment(name))
        except MlflowException:  # another driver may have been faster
            found = client.get_experiment_by_name(name)
            if found is None:
                raise
    return str(found.experiment_id)


def _params(values: Mapping[str, Any]) -> list[Param]:
    from mlflow.entities import Param

    return [Param(name, str(value)) for name, value in values.items()]


def connect(spec: MLflowSpec, sweep: str, folder: Path) -> MLflowLogger:
    """Connect to the server that the sweep, else the environment, names. Raises what MLflow does where it cannot be
    reached."""
    from mlflow import MlflowClient

    logging.getLogger("mlflow").setLevel(logging.WARNING)  # after the import, which sets it, too
    return MLflowLogger(MlflowClient(spec.tracking_uri), spec.experiment or sweep)
