"""A group of N workers of Ray Train that is launched once and trains one run after another.

Three parties: the trial (a Tune actor, which takes no resources), its workers (launched by a TorchTrainer, whose
``fit`` waits in a thread of the trial), and a mailbox between them. Nothing goes through ``ray.train.report``: its
controller takes one report of a worker each time it polls, so that a short epoch would wait for it."""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Iterator
from typing import Any

import ray
import torch
from ray.actor import ActorHandle
from ray.exceptions import GetTimeoutError, RayActorError, RayError
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig
from ray.train.v2._internal.exceptions import UserExceptionWithTraceback, WorkerHealthCheckFailedError
from ray.train.v2.api.exceptions import ControllerError, TrainingFailedError, WorkerGroupError
from ray.util import get_current_placement_group, get_node_ip_address

from methods.base import DivergedError
from sweep.engine import cluster_guard
from sweep.engine.mailbox import Mailbox, RunRequest
from sweep.engine.on_ray.placed_trainer import FileTorchConfig, PlacedTrainer
from sweep.runs.environment import check_code_of, check_packages
from sweep.runs.failures import error_of_lost_process, oom_kills
from sweep.runs.open_store import join_store
from sweep.runs.records import Run
from sweep.runs.train import commit_failure, train
from sweep.storage.files import StoreError
from sweep.training.epoch_record import EpochRecord
from sweep.training.workers import WorkerGroup

GRACE = 10.0
"""Seconds that workers get to end by themselves before they are killed."""

# The workers' side -----------------------------------------------------------------------------------------------


def work(config: dict[str, Any]) -> None:
    """Be one worker of the group: train the requested runs one after another, each over all workers."""
    check_packages()
    workers, mailbox = WorkerGroup(), config["mailbox"]
    members = ray.get(mailbox.join.remote(ray.get_runtime_context().current_actor))
    number = 0
    while (request := ray.get(mailbox.request.remote(number))) is not None:
        _train(request, workers, members, mailbox)
        number += 1


def _train(request: RunRequest, workers: WorkerGroup, members: list[ActorHandle], mailbox: ActorHandle) -> None:
    config, first = request.config, workers.rank == 0
    run = Run.model_validate_json(config["run"])
    check_code_of(run, config["code"])
    folder = join_store(config["results"], config["mark"]).run(config["hash"])
    epochs = train(
        run,
        folder,
        timeout=config["timeout"],
        checkpoint_every=config["checkpoint_every"],
        gpu_share=config["gpu_share"],
        workers=workers,
    )
    try:
        for record in epochs:
            stop = first and ray.get(mailbox.post.remote(record))
            if workers.broadcast(torch.tensor(int(stop))):
                break
    except DivergedError as error:
        # The loss is one over all workers, so all of them are here, and the group is as good as before.
        if first:
            commit_failure(folder, error)
    except Exception as error:
        _raise_death(members)
        if not isinstance(error, StoreError | RayError):
            commit_failure(folder, error)
        raise
    finally:
        epochs.close()
    if first:
        ray.get(mailbox.post.remote(None))


def _raise_death(members: list[ActorHandle]) -> None:
    """Raise the death of another worker, which shows in this one as a lost connection, in place of that."""
    answers = [member.__ray_ready__.remote() for member in members]
    ray.get(ray.wait(answers, num_returns=len(answers), timeout=GRACE)[0])


# The trial's side ------------------------------------------------------------------------------------------------


class TrialWorkers:
    """The workers of the trial that this process is, in its placement group. folder: for Train's own bookkeeping."""

    def __init__(self, folder: str) -> None:
        bundles = get_current_placement_group().bundle_specs
        gpus = bundles[0].get("GPU", 0)
        # Sums of counts lie on the CPU; and NCCL refuses two workers on one GPU.
        backend = "cpu:gloo,cuda:nccl" if gpus >= 1 else "gloo"
        config = TorchConfig(backend=backend)
        if cluster_guard.VARIABLE in os.environ:  # a cluster of this machine alone
            config = FileTorchConfig(backend=backend, file=f"{folder}/meeting-{uuid.uuid4().hex}")
        self._mailbox = ray.remote(num_cpus=0)(Mailbox).remote(len(bundles))
        self._trainer = PlacedTrainer(
            work,
            train_loop_config={"mailbox": self._mailbox},
            torch_config=config,
            scaling_config=ScalingConfig(
                num_workers=len(bundles), use_gpu=gpus > 0, resources_per_worker=dict(bundles[0])
            ),
            run_config=RunConfig(
                name="group",
                storage_path=folder,
                failure_config=FailureConfig(max_failures=0, controller_failure_limit=0, max_preemption_failures=0),
            ),
        )
        self.failure: BaseException | None = None
        """Why the workers ended, where it was not in order."""
        self._thread = threading.Thread(target=self._fit, daemon=True)
        self._thread.start()

    def _fit(self) -> None:
        kills = oom_kills()
        try:
            self._trainer.fit()
        except (TrainingFailedError, RayError) as error:
            self.failure = first_cause(error, oom_kills() - kills)
        finally:
            self._mailbox.close.remote()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def assemble(self) -> None:
        """Wait until all workers are there, or it is known that they never will be."""
        ray.get(self._mailbox.assembled.remote())

    def train(self, request: RunRequest) -> Iterator[EpochRecord]:
        """Yield the epochs of a run, to its end or that of the workers: then there is a :attr:`failure`. Closing the
        iterator stops the run after the epoch under way."""
        ray.get(self._mailbox.send.remote(request))
        under_way = True
        try:
            while news := ray.get(self._mailbox.take.remote()):
                for record in news:
                    if record is None:
                        under_way = False
                        return
                    yield record
                    if request.patient:
                        self._mailbox.go_on.remote()
            under_way = False
            self._thread.join()
            self.failure = self.failure or RuntimeError("the workers ended before the run did")
        finally:
            if under_way:
                self._stop()

    def _stop(self) -> None:
        try:
            ray.get(self._mailbox.stop.remote(), timeout=GRACE)
        except GetTimeoutError:
            self._kill()

    def close(self) -> None:
        """Let the workers end, and see to it that they do."""
        self._mailbox.close.remote()
        self._thread.join(GRACE)
        if self.alive:
            self._kill()

    def _kill(self) -> None:
        self._trainer.kill_workers()
        self._thread.join()


def first_cause(error: BaseException, oom_kills: int = 0) -> BaseException:
    """Return what ended a trainer: the death of a worker, else what the first of them raised. oom_kills: see
    :func:`error_of_lost_process`, on this machine."""
    found = [error]
    if isinstance(error, ControllerError):
        found = [error.controller_failure]
    elif isinstance(error, WorkerGroupError):
        found = [_unwrapped(failure) for _, failure in sorted(error.worker_failures.items())]
    dead = next((str(failure) for failure in found if isinstance(failure, RayActorError)), None)
    if dead is None:
        return found[0]
    return error_of_lost_process(dead, oom_kills if get_node_ip_address() in dead else 0)


def _unwrapped(failure: Exception) -> BaseException:
    """Return a worker's failure without Train's wrapping."""
    if isinstance(failure, WorkerHealthCheckFailedError):
        return failure.health_check_failure
    return failure._base_exc if isinstance(failure, UserExceptionWithTraceback) else failure
