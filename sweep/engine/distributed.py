"""The Tune executor for runs with several workers: as for one worker a trial is one run and its actor is reused; the
actor does not train itself but has a group of workers do it, launched once and kept from run to run."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

from ray import tune

from sweep.engine.agenda import Agenda
from sweep.engine.capacity import placement, slots
from sweep.engine.group import Group
from sweep.engine.mailbox import Order
from sweep.engine.tuning import RunActor, run_trials
from sweep.progress import Progress
from sweep.records import EpochRecord, Run
from sweep.store import RunFolder, StoreError
from sweep.train import commit_failure


class GroupActor(RunActor):
    """Has one run after another trained by its workers."""

    _group: Group | None = None

    def _start(self, config: dict[str, Any]) -> None:
        if self._group is None or not self._group.alive:
            logging.getLogger("ray.train").setLevel(logging.ERROR)
            self._group = Group(self.logdir)
        # The time of a run counts from when there is somebody to train it.
        self._group.assemble()
        self._order = Order(config, patient=config["stoppable"])
        super()._start(config)

    def begin(self, run: Run, folder: RunFolder, config: dict[str, Any]) -> Iterator[EpochRecord]:
        """The epochs of a run, as the workers train them; a failure of theirs ends the group and the run."""
        assert self._group is not None
        yield from self._group.train(self._order)
        if isinstance(self._group.failure, StoreError):
            raise self._group.failure
        if self._group.failure is not None:
            commit_failure(folder, self._group.failure)

    def cleanup(self) -> None:
        super().cleanup()
        if self._group is not None:
            self._group.close()


def run_distributed(agenda: Agenda, progress: Progress) -> None:
    """Train everything on the agenda with N workers a run, as many runs at a time as the cluster's nodes hold. Raises
    ConfigError where they never hold one, and what :func:`run_trials` raises."""
    needs = agenda.plan.sweep.resources
    run_trials(tune.with_resources(GroupActor, placement(needs)), slots(needs), agenda, progress)
