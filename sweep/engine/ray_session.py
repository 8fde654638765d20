"""How Ray is started, or joined: quiet, with settings that were measured to matter."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

SETTINGS = {
    # Tune's own loggers write five files a trial; our run folders hold more.
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    # Tune's snapshots are not relied on: resuming is planning again.
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000",
    "TUNE_FORCE_TRIAL_CLEANUP_S": "10",
    # A relative data path must mean the same in a worker as in the driver.
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    # Train's reports are throttled to this interval (2 s by default).
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.1",
}


class RaySession:
    """Ray while it is needed: the cluster at ``address`` (or RAY_ADDRESS), else one of this machine that ends with the
    context. Nothing is started before :meth:`ensure`."""

    def __init__(self, address: str | None = None) -> None:
        self._address = address or os.environ.get("RAY_ADDRESS")
        self._with_dashboard: bool | None = None

    def __enter__(self) -> RaySession:
        return self

    def __exit__(self, *error: object) -> None:
        self._stop()

    def ensure(self, nested: bool) -> None:
        """Start or join Ray. nested: trainers run inside trials, and after one that was killed Ray frees its resources
        only while its dashboard runs."""
        if self._with_dashboard is not None and (self._with_dashboard or self._address or not nested):
            return
        self._stop()
        for name, value in SETTINGS.items():
            os.environ.setdefault(name, value)
        if not self._address:
            # Without a word, ray.init writes a token into the user's home; a cluster of one process tree needs none.
            os.environ.setdefault("RAY_AUTH_MODE", "disabled")
        import ray

        options: dict[str, Any] = {
            "log_to_driver": False,
            "logging_level": logging.ERROR,
            "runtime_env": {"env_vars": {"PYTHONPATH": _python_path(), "OMP_NUM_THREADS": "1"}},
        }
        if self._address:
            ray.init(self._address, **options)
        else:
            ray.init(include_dashboard=nested, **options)
        self._with_dashboard = nested

    def _stop(self) -> None:
        if self._with_dashboard is None:
            return
        import ray

        ray.shutdown()
        self._with_dashboard = None


def _python_path() -> str:
    """The driver's Python path with the root of the four packages first: workers import the same code."""
    root = str(Path(__file__).resolve().parents[2])
    return os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
