"""Ray Train inside a placement group that Tune made.

Left to itself Train makes a placement group of its own, which Tune knows nothing of: a trial that is killed leaves it
behind, and with it every CPU of the workers (Train's cleaner for that case needs Ray's dashboard, and outlives its use
without it). Here the workers fill the placement group of the trial. Tune alone owns it and removes it however the trial
ends, which ends the workers. What is overridden is internal to Ray: the tests of the engine hold it to this."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import ray
from ray.actor import ActorHandle
from ray.train.torch import TorchConfig, TorchTrainer
from ray.train.torch.config import _set_torch_distributed_env_vars, _setup_torch_process_group, _TorchBackend
from ray.train.v2._internal.callbacks.datasets import DatasetsCallback
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
from ray.train.v2._internal.constants import ENABLE_PREEMPTION_WATCHER_ENV_VAR, get_env_vars_to_propagate
from ray.train.v2._internal.execution.callback import RayTrainCallback
from ray.train.v2._internal.execution.controller import TrainController
from ray.train.v2._internal.execution.scaling_policy import FixedScalingPolicy
from ray.train.v2._internal.execution.worker_group import WorkerGroup
from ray.train.v2._internal.execution.worker_group.placement_group_handle import DefaultPlacementGroupHandle
from ray.util import get_current_placement_group


class PlacedTrainer(TorchTrainer):
    """A TorchTrainer whose workers fill the placement group of the trial that it runs in. A node that is about to go
    ends its workers as any death does."""

    controller: ActorHandle | None = None
    """Owns the workers, once there are any."""

    def _create_default_callbacks(self) -> list[RayTrainCallback]:
        # The second serves Ray's own datasets, of which there are none, from a process of its own.
        unused = PlacementGroupCleanerCallback | DatasetsCallback
        return [callback for callback in super()._create_default_callbacks() if not isinstance(callback, unused)]

    def _initialize_and_run_controller(self, **options: Any) -> Any:
        variables = {**get_env_vars_to_propagate(), ENABLE_PREEMPTION_WATCHER_ENV_VAR: "0"}
        actor = ray.remote(num_cpus=0, runtime_env={"env_vars": variables})(_Controller)
        self.controller = actor.remote(**{**options, "scaling_policy": _Scaling(self.scaling_config)})
        try:
            ray.get(self.controller.run.remote())
            return ray.get(self.controller.get_result.remote())
        finally:
            # Its workers are gone by now. Left to end by itself, its process sometimes hangs in Ray's own shutdown.
            ray.kill(self.controller)


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
