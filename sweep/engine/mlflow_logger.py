"""MLflow, through Ray's callback."""

from __future__ import annotations

import logging
import os
from typing import Any

import mlflow
from ray.air._internal.mlflow import _MLflowLoggerUtil
from ray.air.integrations.mlflow import MLflowLoggerCallback

from sweep.config import MLflowSpec

REMEDY = "check loggers.mlflow.tracking_uri, as in http://HOST:5000 or sqlite:///mlflow.db"

_TRACKING_URI = os.environ.get("MLFLOW_TRACKING_URI")
# Read once: MLflow overwrites it with what it was last told, the callback with nothing where it was told nothing.


class _AtOnce(_MLflowLoggerUtil):
    """Sends all numbers of an epoch, or all parameters of a run, in one request; Ray's takes two for each of them
    (measured into a local file: 0.3 s an epoch)."""

    def log_params(self, params_to_log: dict[str, Any], run_id: str | None = None) -> None:
        mlflow.log_params(params_to_log, run_id=run_id)

    def log_metrics(self, step: int, metrics_to_log: dict[str, Any], run_id: str | None = None) -> None:
        mlflow.log_metrics(self._parse_dict(metrics_to_log), step=step, run_id=run_id)


def callback(spec: MLflowSpec, sweep: str) -> MLflowLoggerCallback:
    """Ray's callback, ready to log. sweep: its name. Raises what MLflow does where the server cannot be reached."""
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    found = MLflowLoggerCallback(spec.tracking_uri or _TRACKING_URI, experiment_name=spec.experiment or sweep)
    found.mlflow_util = _AtOnce()
    found.setup()
    return found
