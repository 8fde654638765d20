"""Ray Train inside a placement group that Tune made, with no process beside the workers.

Left to itself Train makes a placement group of its own, which Tune knows nothing of: a trial that is killed leaves it
behind, and with it every CPU of the workers (Train's cleaner for that case needs Ray's dashboard, and outlives its use
without it). Here the workers fill the placement group of the trial. Tune alone owns it and removes it however the trial
ends, which ends the workers. Train would also start two actors a group, each a Python of its own that imports it: a
controller, which here is an object in the trial's process, and one at which workers meet that report to Train, which
ours do not. What is overridden is internal to Ray: the tests of the engine hold it to this."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from typing import Any

import ray
from ray.train.torch import TorchConfig, TorchTrainer
from ray.train.torch.config import _set_torch_distributed_env_vars, _setup_torch_process_group, _TorchBackend
from ray.train.v2._internal.callbacks.datasets import DatasetsCallback
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
from ray.train.v2._internal.constants import (
    ENABLE_CONTROLLER_STRUCTURED_LOGGING_ENV_VAR,
    ENABLE_PREEMPTION_WATCHER_ENV_VAR,
)
from ray.train.v2._internal.execution.callback import RayTrainCallback
from ray.train.v2._internal.execution.controller import TrainController
from ray.train.v2._internal.execution.scaling_policy import FixedScalingPolicy
from ray.train.v2._internal.execution.worker_group import WorkerGroup, state, worker_group
from ray.train.v2._internal.execution.worker_group.placement_group_handle import DefaultPlacementGroupHandle
from ray.util import get_current_placement_group

SETTINGS = {
    ENABLE_PREEMPTION_WATCHER_ENV_VAR: "0",
    # The controller has no process, and so no log, of its own.
    ENABLE_CONTROLLER_STRUCTURED_LOGGING_ENV_VAR: "0",
}


class PlacedTrainer(TorchTrainer):
    """A TorchTrainer whose workers fill the placement group of the trial that it runs in. A node that is about to go
    ends its workers as any death does."""

    controller: TrainController | None = None
    """Owns the workers, once there are any."""

    def _create_default_callbacks(self) -> list[RayTrainCallback]:
        # The second serves Ray's own datasets, of which there are none, from a process of its own.
        unused = PlacementGroupCleanerCallback | DatasetsCallback
        return [callback for callback in super()._create_default_callbacks() if not isinstance(callback, unused)]

    def _initialize_and_run_controller(self, **options: Any) -> Any:
        os.environ.update(SETTINGS)
        self.controller = _Controller(**{**options, "scaling_policy": _Scaling(self.scaling_config)})
        asyncio.run(self.controller.run())
        return self.controller.get_result()

    def kill_workers(self) -> None:
        """End the workers at once, whatever they do."""
        group = self.controller and self.controller.get_worker_group()
        if group is not None and group.has_started():
            for worker in group.get_workers():
                ray.kill(worker.actor)


@dataclass
class FileTorchConfig(TorchConfig):
    """Has workers of one machine meet over a file in place of torch's own store, which listens on all interfaces and
    takes what anybody sends. file: where there is none yet, in a folder of this user's alone."""

    file: str = ""

    @property
    def backend_cls(self) -> type[_TorchBackend]:
        return _FileBackend


class _FileBackend(_TorchBackend):
    def on_start(self, worker_group: Any, backend_config: FileTorchConfig) -> None:
        worker_group.execute(_set_torch_distributed_env_vars)
        size = len(worker_group)
        common = {"backend": backend_config.backend, "init_method": f"file://{backend_config.file}", "world_size": size}
        common["timeout_s"] = backend_config.timeout_s
        ray.get([
            worker_group.execute_single_async(rank, _setup_torch_process_group, world_rank=rank, **common)
            for rank in range(size)
        ])  # fmt: skip


class _Nowhere:
    """Stands for the actor at which workers meet that report to Train."""

    @classmethod
    def options(cls, **options: Any) -> type[_Nowhere]:
        return cls

    @classmethod
    def remote(cls, **settings: Any) -> _Nowhere:
        return cls()


worker_group.SynchronizationActor = _Nowhere
state._shutdown_sync_actor = lambda actor: None


class _Workers(WorkerGroup):
    def _create_placement_group(self, *context: Any) -> DefaultPlacementGroupHandle:
        return _Lent(get_current_placement_group())


class _Lent(DefaultPlacementGroupHandle):
    """A placement group that is Tune's to remove."""

    def shutdown(self) -> None:
        return


class _Controller(TrainController):
    worker_group_cls = _Workers


class _Scaling(FixedScalingPolicy):
    """Asks the cluster for nothing: Tune has."""

    def after_controller_start(self, *context: Any) -> None:
        return

    def _maybe_send_resource_request(self) -> None:
        return
