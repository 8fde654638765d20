"""The actors that train: a class trainable of Tune, reused from run to run, so that a run costs neither a process, nor
an import, nor a dataset that the run before it already loaded. With several workers a run the actor does not train
itself but has a group of workers do it, launched once and kept."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from sweep.engine.first_imports import without_collection

with without_collection():
    from ray import tune

    from sweep.engine.mailbox import RunRequest
    from sweep.engine.watchdog import Watchdog
    from sweep.runs.environment import check_code_of, check_packages
    from sweep.runs.open_store import join_store
    from sweep.runs.records import Run
    from sweep.runs.run_folder import RunFolder
    from sweep.runs.train import commit_failure, train
    from sweep.storage.files import StoreError
    from sweep.training.epoch_record import EpochRecord

if TYPE_CHECKING:
    from sweep.engine.on_ray.worker_group import TrialWorkers

RESULT_EVERY = 1.0
"""Seconds of epochs that an actor trains between two results for Tune, where nothing but the display waits for them."""


class RunActor(tune.Trainable):
    """Trains one run after another; between two of them nothing survives but loaded datasets."""

    _sweep = ""

    def __repr__(self) -> str:
        """Return the actor's name on Ray's dashboard, where it stays the same from run to run."""
        return f"sweep {self._sweep}"

    def setup(self, config: dict[str, Any]) -> None:
        self._sweep = config["sweep"]
        check_packages()
        self._training: Iterator[EpochRecord] = iter(())
        self._watchdog: Watchdog | None = None
        self._start(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._end()
        self._start(new_config)
        return True

    def _start(self, config: dict[str, Any]) -> None:
        run = Run.model_validate_json(config["run"])
        self._metric, self._patient = f"validation_{run.metric}", config["stoppable"]
        self._trouble = ""
        try:
            check_code_of(run, config["code"])
            self._folder = join_store(config["results"], config["mark"]).run(config["hash"])
        except StoreError as error:
            self._trouble = str(error)
            return
        self._training = self.begin(run, self._folder, config)
        if config["timeout"] is not None:
            self._watchdog = Watchdog(self._folder, config["timeout"])

    def begin(self, run: Run, folder: RunFolder, config: dict[str, Any]) -> Iterator[EpochRecord]:
        """Yield the epochs of a run, trained as they are asked for. config: of the trial."""
        return train(
            run,
            folder,
            timeout=config["timeout"],
            checkpoint_every=config["checkpoint_every"],
            gpu_share=config["gpu_share"],
        )

    def _end(self) -> None:
        self._training = iter(())  # the generator before it ends with its last reference
        if self._watchdog is not None:
            self._watchdog.cancel()
            self._watchdog = None

    def step(self) -> dict[str, Any]:
        """Train until the next result for Tune. Where nothing can be written, which is the end of the sweep and not of
        a run, the result says so: of an exception Tune would make an error like any other."""
        record: EpochRecord | None = None
        done = True
        try:
            record, done = self._advance()
        except StoreError as error:
            self._trouble = str(error)
        except SystemExit as error:
            if hasattr(error, "ray_terminate_msg"):  # Ray ends this process; the run goes on another time
                raise
            commit_failure(self._folder, error)
        if done:
            self._end()
        return tune_result(record, self._metric, done, self._trouble)

    def _advance(self) -> tuple[EpochRecord | None, bool]:
        """Train on; return the last epoch and whether it was the run's last."""
        started, record = time.monotonic(), None
        while (found := next(self._training, None)) is not None:
            record = found
            if self._patient or time.monotonic() - started > RESULT_EVERY:
                return record, False
        return record, True

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Save nothing: the run folder holds the checkpoint."""

    def load_checkpoint(self, checkpoint_dir: str) -> None:
        """Load nothing: see :meth:`save_checkpoint`."""

    def cleanup(self) -> None:
        self._end()


class GroupActor(RunActor):
    """Has one run after another trained by its workers."""

    _workers: TrialWorkers | None = None

    def _start(self, config: dict[str, Any]) -> None:
        if self._workers is None or not self._workers.alive:
            from sweep.engine.on_ray.worker_group import TrialWorkers  # Ray Train takes long to import

            logging.getLogger("ray.train").setLevel(logging.ERROR)
            self._workers = TrialWorkers(self.logdir)
        # The time of a run counts from when there is somebody to train it.
        self._workers.assemble()
        self._request = RunRequest(config, patient=config["stoppable"])
        super()._start(config)

    def begin(self, run: Run, folder: RunFolder, config: dict[str, Any]) -> Iterator[EpochRecord]:
        """Yield the epochs of a run, as the workers train them; a failure of theirs ends the group and the run."""
        assert self._workers is not None
        yield from self._workers.train(self._request)
        if isinstance(self._workers.failure, StoreError):
            raise self._workers.failure
        if self._workers.failure is not None:
            commit_failure(folder, self._workers.failure)

    def cleanup(self) -> None:
        super().cleanup()
        if self._workers is not None:
            self._workers.close()


def tune_result(record: EpochRecord | None, metric: str, done: bool, trouble: str = "") -> dict[str, Any]:
    """Return what Tune hears of an epoch: always the same keys, always finite. trouble: why nothing can be written.

    validated: whether ``value`` is one of the epoch. selectable: number of the epoch among those that may be selected;
    0 where it may not, so that no rule judges it."""
    found = {"epoch": 0, "epochs": 0, "selectable": 0, "validated": False, "value": 0.0}
    if record is not None:
        found = {
            "epoch": record.epoch,
            "epochs": record.epochs,
            "selectable": record.selectable or 0,
            "validated": metric in record.metrics,
            "value": record.metrics.get(metric, 0.0),
        }
    return found | {"done": done, "trouble": trouble}
