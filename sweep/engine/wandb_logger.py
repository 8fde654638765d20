"""Weights & Biases, through Ray's callback: a process for each run that is logged, and one for its queue, which
take some seconds to start."""

from __future__ import annotations

import os
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import ray
import wandb
from ray.air.integrations.wandb import WANDB_ENV_VAR, WANDB_MODE_ENV_VAR, WandbLoggerCallback, _WandbLoggingActor
from ray.air.util.node import _force_on_current_node
from ray.exceptions import RayError, RayTaskError

if TYPE_CHECKING:
    from sweep.config import WandbSpec  # which the processes that log have no use for, nor for torch behind it

REMEDY = "log in with: wandb login; or write loggers.wandb.mode=offline and send the runs later with: wandb sync"
UPLOAD_WITHIN = 100
"""Seconds that the last runs have at the end of a sweep."""


class _Actor(_WandbLoggingActor):
    """Ray's ends every run as if it were done."""

    _wandb: Any

    def _handle_result(self, result: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        if result.get("config", {}).get("status") in ("failed", "diverged", "interrupted"):
            finish = partial(self._wandb.finish, exit_code=1)
            self._wandb = SimpleNamespace(config=self._wandb.config, log=self._wandb.log, finish=finish)
        return super()._handle_result(result)


class _Callback(WandbLoggerCallback):
    """Ray's forgets why a logging process failed, and starts one that died anew, for ever."""

    _failure: Exception | None = None

    def setup(self, *args: Any, **info: Any) -> None:
        # Ray looks for a key in a way that wandb warns of, on the terminal.
        if self.kwargs["mode"] not in ("offline", "disabled") and not wandb.login(prompt=False):
            raise ValueError("there is no API key")
        key = {WANDB_ENV_VAR: os.environ[WANDB_ENV_VAR]} if WANDB_ENV_VAR in os.environ else {}
        options = {"num_cpus": 0, "runtime_env": {"env_vars": key}, **_force_on_current_node()}
        self._remote_logger_class = ray.remote(**options)(_Actor)

    def log_trial_result(self, iteration: int, trial: Any, result: dict[str, Any]) -> None:
        super().log_trial_result(iteration, trial, result)
        self._cleanup_logging_actors()
        self._check()

    def log_trial_end(self, trial: Any, failed: bool = False) -> None:
        super().log_trial_end(trial, failed)
        self._check()

    def on_experiment_end(self, trials: list[Any], **info: Any) -> None:
        super().on_experiment_end(trials, **info)
        self._check()

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _cleanup_logging_actor(self, trial: Any) -> None:
        future = self._trial_logging_futures[trial]
        if ray.wait([future], timeout=0)[0]:
            try:
                ray.get(future)
            except RayTaskError as error:
                self._failure = error.cause
            except RayError as error:
                self._failure = error
        else:
            self._failure = TimeoutError(f"not all was sent within {UPLOAD_WITHIN} s")
        super()._cleanup_logging_actor(trial)


def callback(spec: WandbSpec, sweep: str) -> WandbLoggerCallback:
    """Ray's callback, ready to log; Ray must run. sweep: its name. Raises ValueError without a key."""
    found = _Callback(
        project=spec.project,
        group=spec.group or sweep,
        upload_timeout=UPLOAD_WITHIN,
        entity=spec.entity,
        mode=spec.mode or os.environ.get(WANDB_MODE_ENV_VAR, "online"),
    )
    found.setup()
    return found
