"""From a plan to finished runs: what comes next, who may train it, who trains it, and what is shown meanwhile.

In comes a checked Sweep with the store of its results, out come run folders that have ended and a :class:`Tally` of
how. :func:`sweep.engine.execute.execute` runs a sweep, :func:`sweep.engine.replay.replay` one run again, and
:func:`sweep.engine.prepare.prepare` decodes media. The agenda alone decides which run is next, for every executor
alike; executors train what it hands out and tell it how that ended. All of Ray lies in ``on_ray``, of which other rooms
use :class:`RaySession` alone. No other room claims runs, writes the sweep's index, or handles signals."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sweep.engine.agenda import Agenda
    from sweep.engine.execute import Execution
    from sweep.engine.on_ray.session import RaySession
    from sweep.engine.progress import Progress
    from sweep.engine.replay import Replay, ReplayError, find_run
    from sweep.engine.tally import Tally
    from sweep.engine.tasks import Task

__all__ = ["Agenda", "Execution", "Progress", "RaySession", "Replay", "ReplayError", "Tally", "Task", "find_run"]

_MODULES = {
    "Agenda": "agenda",
    "Execution": "execute",
    "Progress": "progress",
    "RaySession": "on_ray.session",
    "Replay": "replay",
    "ReplayError": "replay",
    "Tally": "tally",
    "Task": "tasks",
    "find_run": "replay",
}


def __getattr__(name: str) -> Any:
    # The agenda imports Optuna and the executors torch, which a command that only handles signals does without.
    if name in _MODULES:
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
