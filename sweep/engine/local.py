"""The local executor: runs one after another in this process, without Ray. First result in seconds; for debugging."""

from __future__ import annotations

import time

from sweep.engine.agenda import Agenda, Nothing, Task
from sweep.progress import Progress
from sweep.records import FinalRecord
from sweep.train import commit_pruned, train

OTHER_DRIVER_POLL = 0.5
"""Seconds between two looks at runs that another driver trains."""


def run_local(agenda: Agenda, progress: Progress) -> None:
    """Train everything on the agenda, here. KeyboardInterrupt leaves resumable runs."""
    while (task := agenda.next()) is not Nothing.EVER:
        if isinstance(task, Nothing):
            time.sleep(OTHER_DRIVER_POLL)
            continue
        progress.started(task)
        final = _train(task, agenda, progress)
        agenda.finish(task.hash, final)
        progress.finished(task, final)


def _train(task: Task, agenda: Agenda, progress: Progress) -> FinalRecord:
    folder = agenda.store.run(task.hash)
    for record in train(task.run, folder, timeout=agenda.plan.sweep.timeout):
        value = record.metrics[f"validation_{task.run.metric}"]
        progress.epoch(task.hash, record.epoch, record.epochs, value)
        if agenda.should_stop(task.hash, record.epoch, value):
            return commit_pruned(folder)
    final = folder.final()
    assert final is not None
    return final
