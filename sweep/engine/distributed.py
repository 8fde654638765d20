"""The executor for runs with several workers: Ray Train's TorchTrainer inside a Tune trial.

One trial is one configuration: its seeds share one launch, which costs seconds. The trial itself holds no CPU
(its workers hold theirs in a placement group that Tune does not know of), and no more trials run at a time than the
workers of all of them fit into the cluster: else drivers would wait for each other for ever."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from typing import Any

import ray
import ray.train
from ray import tune
from ray.train.torch import TorchConfig, TorchTrainer
from ray.train.v2.api.exceptions import TrainingFailedError
from ray.tune import Callback
from ray.tune.experiment import Trial
from ray.tune.integration.ray_train import TuneReportCallback
from ray.tune.search import Searcher

from sweep.engine.agenda import Agenda, Nothing, Task
from sweep.engine.tuning import Unsaved, concurrency
from sweep.environment import check_packages
from sweep.progress import Progress
from sweep.records import Run
from sweep.store import Store
from sweep.train import commit_failure, train
from sweep.workers import WorkerGroup

DRIVER = [{"memory": 2**20}]
"""What a trial holds itself: something, as Tune wants, but no part of a CPU, which its workers may need whole."""


def train_configuration(config: dict[str, Any]) -> None:
    """The Tune trial: launch the workers on the runs that remain; after a failure, once more on the rest."""
    logging.getLogger("ray.train").setLevel(logging.ERROR)
    check_packages()
    store = Store(Path(config["results"]))
    left = list(config["runs"])
    while left:
        with tempfile.TemporaryDirectory(prefix="sweep-train-") as scratch:
            trainer = TorchTrainer(
                train_runs,
                train_loop_config={**config, "runs": left},
                torch_config=TorchConfig(),
                scaling_config=ray.train.ScalingConfig(
                    num_workers=config["workers"],
                    use_gpu=config["gpus"] > 0,
                    resources_per_worker={"CPU": config["cpus"]} | ({"GPU": config["gpus"]} if config["gpus"] else {}),
                ),
                run_config=ray.train.RunConfig(
                    name=left[0]["hash"],
                    storage_path=scratch,
                    callbacks=[TuneReportCallback()],
                    failure_config=ray.train.FailureConfig(max_failures=0, controller_failure_limit=0),
                ),
            )
            try:
                trainer.fit()
                failure: BaseException = RuntimeError("the workers ended without finishing the run")
            except TrainingFailedError as error:
                failure = error
        unfinished = [entry for entry in left if store.run(entry["hash"]).final() is None]
        if unfinished:
            commit_failure(store.run(unfinished[0]["hash"]), _cause(failure))
        left = unfinished[1:]


def _cause(error: BaseException) -> BaseException:
    """What the first failing worker raised, where Train says so."""
    failures: dict[int, Exception] = getattr(error, "worker_failures", {})
    return failures[min(failures)] if failures else error


def train_runs(config: dict[str, Any]) -> None:
    """One worker of the group: the runs one after another, each over all workers."""
    check_packages()
    workers, store = WorkerGroup(), Store(Path(config["results"]))
    for entry in config["runs"]:
        run = Run.model_validate_json(entry["run"])
        folder, metric = store.run(entry["hash"]), f"validation_{run.metric}"
        for record in train(run, folder, timeout=config["timeout"], workers=workers):
            value = record.metrics[metric]
            ray.train.report({"hash": entry["hash"], "epoch": record.epoch, "epochs": record.epochs, "value": value})


class GroupSearcher(Unsaved, Searcher):
    """Tune's trials are the configurations of the agenda, each with all its ready seeds."""

    def __init__(self, agenda: Agenda) -> None:
        super().__init__(metric=None, mode=None)
        self.agenda = agenda

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        group = self.agenda.next_group()
        if isinstance(group, Nothing):
            return Searcher.FINISHED if group is Nothing.EVER else None
        sweep = self.agenda.plan.sweep
        return {
            "runs": [{"run": task.run.model_dump_json(), "hash": task.hash} for task in group],
            "results": str(self.agenda.store.results.resolve()),
            "timeout": sweep.timeout,
            "workers": sweep.resources.workers,
            "cpus": sweep.resources.cpus,
            "gpus": sweep.resources.gpus,
        }

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """The agenda hears of ends from :class:`GroupCallback`."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing: see :class:`Unsaved`."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: see :class:`Unsaved`."""


class GroupCallback(Unsaved, Callback):
    """Tells agenda and display what happens to the configurations."""

    def __init__(self, agenda: Agenda, progress: Progress) -> None:
        self.agenda, self.progress = agenda, progress

    def _tasks(self, trial: Trial) -> list[Task]:
        found = (self.agenda.task(entry["hash"]) for entry in trial.config["runs"])
        return [task for task in found if task is not None]

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        for task in self._tasks(trial):
            self.progress.started(task)

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        self.progress.epoch(result["hash"], result["epoch"], result["epochs"], result["value"])

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self._finish(trial)

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self._finish(trial)

    def _finish(self, trial: Trial) -> None:
        for task in self._tasks(trial):
            folder = self.agenda.store.run(task.hash)
            final = folder.final() or commit_failure(folder, RuntimeError("the trial's process died"))
            self.agenda.finish(task.hash, final)
            self.progress.finished(task, final)


def run_distributed(agenda: Agenda, progress: Progress) -> None:
    """Train everything on the agenda with N workers a run."""
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    needs = agenda.plan.sweep.resources
    slots = concurrency({"CPU": needs.cpus * needs.workers, "GPU": needs.gpus * needs.workers})
    with tempfile.TemporaryDirectory(prefix="sweep-tune-") as scratch:
        tuner = tune.Tuner(
            tune.with_resources(train_configuration, tune.PlacementGroupFactory(DRIVER)),
            tune_config=tune.TuneConfig(
                search_alg=GroupSearcher(agenda), num_samples=-1, max_concurrent_trials=slots, reuse_actors=False
            ),
            run_config=tune.RunConfig(
                storage_path=scratch, name="sweep", callbacks=[GroupCallback(agenda, progress)], verbose=0
            ),
        )
        tuner.fit()
