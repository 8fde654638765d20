"""How Ray is started, or joined: quiet, with settings that were measured to matter."""

from __future__ import annotations

import logging
import os
import shlex
import sys
from typing import Any

from data.prepared.folder import VARIABLE as CACHE_VARIABLE
from sweep.engine.cluster import check_address, explained, job_environment, shipped_code
from sweep.environment import CODE_VARIABLE, ROOT
from sweep.identity import code_digest

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
    # How soon the death of a worker is seen (2 s by default).
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
    # What became of a run whose worker died is said by us, in a line.
    "RAY_DEDUP_LOGS_SKIP_REGEX": "A worker died or was killed|killed due to memory pressure|running low on memory",
}

OWN = {
    # Without a word, ray.init writes a token into the user's home; a cluster of one process tree needs none.
    "RAY_AUTH_MODE": "disabled",
    # A process for each CPU at the start; trials, whose processes have an environment of their own, use none of them.
    "RAY_prestart_worker_first_driver": "0",
    # A node that is not up within 30 s counts as dead: too soon on a machine that is busy with other things.
    "RAY_raylet_start_wait_time_s": "120",
}
"""Settings of a cluster that is ours."""

JOINED = {
    # Attempts, of a second each where the cluster refuses; each leaves a line on the terminal.
    "RAY_gcs_server_port_wait_time_s": "1",
}
"""Settings for a cluster that others have started."""


class RaySession:
    """Ray while it is needed: the cluster at ``address`` (or RAY_ADDRESS), else one of this machine that ends with the
    context; ``local`` is always this machine. Nothing is started before :meth:`ensure`."""

    def __init__(self, address: str | None = None) -> None:
        found = address or os.environ.get("RAY_ADDRESS")
        self._address = None if found == "local" else found
        self._running = False

    def __enter__(self) -> RaySession:
        return self

    def __exit__(self, *error: object) -> None:
        if self._running:
            import ray

            ray.shutdown()
            self._running = False

    def ensure(self) -> None:
        """Start or join Ray, where that has not been done. Raises ConfigError where a cluster cannot be joined."""
        if self._running:
            return
        for name, value in {**SETTINGS, **(JOINED if self._address else OWN)}.items():
            os.environ.setdefault(name, value)
        if self._address:
            self._join(self._address)
        else:
            import ray

            path = os.pathsep.join(filter(None, [str(ROOT), _python_path()]))
            options = _options(PYTHONPATH=path)
            # A shell starts the workers, and Ray quotes all of their command but the interpreter: where its path has a
            # space, it would be tried for ever.
            options["runtime_env"]["py_executable"] = shlex.quote(sys.executable)
            ray.init("local", include_dashboard=False, **options)
        self._running = True

    def _join(self, address: str) -> None:
        check_address(address)
        import ray

        with shipped_code() as code:
            # Code that is shipped is the driver's; what a job or an image brings may be another version on some node.
            variables = {} if code else {CODE_VARIABLE: code_digest()}
            if cache := os.environ.get(CACHE_VARIABLE):
                variables[CACHE_VARIABLE] = cache
            # Methods and datasets of other packages may lie on a path that the nodes share.
            options = _options(**variables, PYTHONPATH=_python_path())
            options["runtime_env"].update(code)
            try:
                ray.init(address, **options)
            except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
                raise explained(error, address) from error


def _python_path() -> str:
    return os.environ.get("PYTHONPATH", "")


def _options(**variables: str) -> dict[str, Any]:
    """Arguments of ray.init, with environment variables of the workers. One that the job around this process sets is
    the job's to set: Ray refuses it from both."""
    given = job_environment().get("env_vars", {})
    variables = {"OMP_NUM_THREADS": "1", **variables}
    return {
        "log_to_driver": False,
        "logging_level": logging.ERROR,
        "runtime_env": {"env_vars": {name: value for name, value in variables.items() if name not in given}},
    }
