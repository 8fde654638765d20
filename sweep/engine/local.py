"""The local executor: runs one after another in this process, without Ray. First result in seconds; for debugging."""

from __future__ import annotations

import math
import time

from sweep.engine.agenda import Agenda
from sweep.engine.progress import Progress, end_task
from sweep.engine.tasks import Task
from sweep.engine.watchdog import GRACE, Watchdog, forced_end, interrupted_at_forced_end
from sweep.runs.failures import OvertimeError
from sweep.runs.records import FinalRecord
from sweep.runs.train import commit_failure, commit_pruned, train
from sweep.search.proposals import Nothing

OTHER_DRIVER_POLL = 0.5
"""Seconds between two looks at runs that another driver trains."""


def run_local(agenda: Agenda, progress: Progress) -> None:
    """Train everything on the agenda, here. Raises StoreError where nothing can be written; KeyboardInterrupt leaves
    resumable runs.

    A run that hangs past its timeout is interrupted and the next one goes on, as long as it hangs in Python. Where it
    never returns to Python, its failure is recorded and this process ended, with exit code 1."""
    while (task := agenda.next()) is not Nothing.LEFT:
        if isinstance(task, Nothing):
            time.sleep(OTHER_DRIVER_POLL)
            continue
        progress.started(task)
        end_task(agenda, progress, task, _train(task, agenda, progress))


def _train(task: Task, agenda: Agenda, progress: Progress) -> FinalRecord:
    sweep, folder = agenda.plan.sweep, agenda.store.run(task.hash)
    timeout = sweep.timeout
    watchdog = Watchdog(folder, timeout, forced_end(timeout) + GRACE, progress.stuck) if timeout is not None else None
    try:
        with interrupted_at_forced_end(timeout):
            for record in train(task.run, folder, timeout=timeout, checkpoint_every=sweep.checkpoint_every):
                value = record.metrics.get(f"validation_{task.run.metric}", math.nan)
                progress.epoch(task.hash, record.epoch, record.epochs, value)
                agenda.store.check_held()
                if record.selectable is not None and agenda.should_stop(task.hash, record.selectable, value):
                    return commit_pruned(folder)
    except (SystemExit, OvertimeError) as error:
        return commit_failure(folder, error)
    finally:
        if watchdog is not None:
            watchdog.cancel()
    final = folder.final()
    assert final is not None
    return final
