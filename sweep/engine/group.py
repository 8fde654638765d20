"""A group of N workers of Ray Train that is launched once and trains one run after another.

Three parties: the trial (a Tune actor, which takes no resources), its workers (launched by a TorchTrainer, whose
``fit`` waits in a thread of the trial), and a mailbox between them. Nothing goes through ``ray.train.report``: its
controller takes one report of a worker each time it polls, so that a short epoch would wait for it."""

from __future__ import annotations

import threading
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

from sweep.engine.mailbox import Mailbox, Order
from sweep.engine.placed import PlacedTrainer
from sweep.environment import check_packages
from sweep.failures import death, oom_kills
from sweep.fit import DivergedError
from sweep.records import EpochRecord, Run
from sweep.store import Store, StoreError
from sweep.train import commit_failure, train
from sweep.workers import WorkerGroup

GRACE = 10.0
"""Seconds that workers get to end by themselves before they are killed."""

# The workers' side -----------------------------------------------------------------------------------------------


def work(config: dict[str, Any]) -> None:
    """One worker of the group: the ordered runs one after another, each over all workers."""
    check_packages()
    workers, mailbox = WorkerGroup(), config["mailbox"]
    members = ray.get(mailbox.join.remote(ray.get_runtime_context().current_actor))
    number = 0
    while (order := ray.get(mailbox.order.remote(number))) is not None:
        _train(order, workers, members, mailbox)
        number += 1


def _train(order: Order, workers: WorkerGroup, members: list[ActorHandle], mailbox: ActorHandle) -> None:
    config, first = order.config, workers.rank == 0
    folder = Store.join(config["results"], config["mark"]).run(config["hash"])
    epochs = train(
        Run.model_validate_json(config["run"]),
        folder,
        timeout=config["timeout"],
        checkpoint_every=config["checkpoint_every"],
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
    """The death of one worker shows in the others as a lost connection: raise it in place of that."""
    answers = [member.__ray_ready__.remote() for member in members]
    ray.get(ray.wait(answers, num_returns=len(answers), timeout=GRACE)[0])


# The trial's side ------------------------------------------------------------------------------------------------


class Group:
    """The workers of the trial that this process is, in its placement group. folder: for Train's own bookkeeping."""

    def __init__(self, folder: str) -> None:
        bundles = get_current_placement_group().bundle_specs
        gpus = bundles[0].get("GPU", 0)
        self._mailbox = ray.remote(num_cpus=0)(Mailbox).remote(len(bundles))
        self._trainer = PlacedTrainer(
            work,
            train_loop_config={"mailbox": self._mailbox},
            # Sums of counts lie on the CPU; and NCCL refuses two workers on one GPU.
            torch_config=TorchConfig(backend="cpu:gloo,cuda:nccl" if gpus >= 1 else "gloo"),
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
            self.failure = cause(error, oom_kills() - kills)
        finally:
            self._mailbox.close.remote()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def assemble(self) -> None:
        """Wait until all workers are there, or it is known that they never will be."""
        ray.get(self._mailbox.assembled.remote())

    def train(self, order: Order) -> Iterator[EpochRecord]:
        """The epochs of a run, to its end or that of the workers: then there is a :attr:`failure`. Closing the iterator
        stops the run after the epoch under way."""
        ray.get(self._mailbox.send.remote(order))
        under_way = True
        try:
            while news := ray.get(self._mailbox.take.remote()):
                for record in news:
                    if record is None:
                        under_way = False
                        return
                    yield record
                    if order.patient:
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
        if self._trainer.controller is not None:
            ray.kill(self._trainer.controller)
        self._thread.join()


def cause(error: BaseException, oom_kills: int = 0) -> BaseException:
    """What ended a trainer: the death of a worker, else what the first of them raised. oom_kills: see :func:`death`,
    on this machine."""
    found = [error]
    if isinstance(error, ControllerError):
        found = [error.controller_failure]
    elif isinstance(error, WorkerGroupError):
        found = [_own(failure) for _, failure in sorted(error.worker_failures.items())]
    dead = next((str(failure) for failure in found if isinstance(failure, RayActorError)), None)
    if dead is None:
        return found[0]
    return death(dead, oom_kills if get_node_ip_address() in dead else 0)


def _own(failure: Exception) -> BaseException:
    """A worker's failure without Train's wrapping."""
    if isinstance(failure, WorkerHealthCheckFailedError):
        return failure.health_check_failure
    return failure._base_exc if isinstance(failure, UserExceptionWithTraceback) else failure
