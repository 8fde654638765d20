"""What is overridden of Ray Train, piece by piece, without a Ray: test_worker_group.py trains with it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ray.train import ScalingConfig
from ray.train.torch import TorchTrainer
from ray.train.torch.config import _set_torch_distributed_env_vars, _setup_torch_process_group
from ray.train.v2._internal.callbacks.datasets import DatasetsCallback
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
from ray.train.v2._internal.constants import ENABLE_PREEMPTION_WATCHER_ENV_VAR

from sweep.engine.on_ray import placed_trainer
from sweep.engine.on_ray.placed_trainer import FileTorchConfig, PlacedTrainer


def bare(kind: type) -> Any:
    return object.__new__(kind)


def test_what_minds_placement_groups_and_datasets_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = SimpleNamespace()
    usual = [bare(PlacementGroupCleanerCallback), kept, bare(DatasetsCallback)]
    monkeypatch.setattr(TorchTrainer, "_create_default_callbacks", lambda trainer: usual)
    assert bare(PlacedTrainer)._create_default_callbacks() == [kept]


class Ray:
    """Stands for Ray: notes what is started, awaited and killed."""

    def __init__(self, broken: bool = False) -> None:
        self.broken, self.seen = broken, list[Any]()
        words = {name: SimpleNamespace(remote=lambda name=name: name) for name in ("run", "get_result")}
        self.actor = SimpleNamespace(**words)

    def remote(self, **resources: Any) -> Any:
        def actor(**options: Any) -> Any:
            self.seen.append(options)
            return self.actor

        self.seen.append(resources)
        return lambda kind: SimpleNamespace(remote=actor)

    def get(self, awaited: str) -> str:
        self.seen.append(f"get {awaited}")
        if self.broken:
            raise RuntimeError(awaited)
        return f"result of {awaited}"

    def kill(self, actor: Any) -> None:
        assert actor is self.actor
        self.seen.append("kill")


@pytest.mark.parametrize("broken", [False, True])
def test_the_controller_takes_no_processor_and_goes_with_its_run(monkeypatch: pytest.MonkeyPatch, broken: bool) -> None:
    ray, trainer = Ray(broken), bare(PlacedTrainer)
    monkeypatch.setattr(placed_trainer, "ray", ray)
    trainer.scaling_config = ScalingConfig(num_workers=2)
    assert trainer.controller is None
    if broken:
        with pytest.raises(RuntimeError, match="run"):
            trainer._initialize_and_run_controller(a=1, scaling_policy=None)
    else:
        assert trainer._initialize_and_run_controller(a=1, scaling_policy=None) == "result of get_result"
    resources, options, *then = ray.seen
    assert resources["num_cpus"] == 0
    assert resources["runtime_env"]["env_vars"][ENABLE_PREEMPTION_WATCHER_ENV_VAR] == "0"
    assert options["a"] == 1
    policy = options["scaling_policy"]
    assert policy.scaling_config.num_workers == 2
    # The cluster is asked for nothing.
    assert policy.after_controller_start(None) is policy._maybe_send_resource_request() is None
    assert then == (["get run", "kill"] if broken else ["get run", "get get_result", "kill"])
    assert trainer.controller is ray.actor


def test_workers_meet_over_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    class Group:
        everywhere: list[Any] = []

        def __len__(self) -> int:
            return 2

        def execute(self, work: Any) -> None:
            self.everywhere.append(work)

        def execute_single_async(self, rank: int, work: Any, **given: Any) -> Any:
            return rank, work, given

    awaited = list[Any]()
    monkeypatch.setattr(placed_trainer, "ray", SimpleNamespace(get=awaited.extend))
    config = FileTorchConfig(backend="gloo", timeout_s=7, file="/tmp/meet")
    config.backend_cls().on_start(Group(), config)
    common = {"backend": "gloo", "init_method": "file:///tmp/meet", "world_size": 2, "timeout_s": 7}
    assert Group.everywhere == [_set_torch_distributed_env_vars]
    assert awaited == [(n, _setup_torch_process_group, {"world_rank": n, **common}) for n in (0, 1)]


def test_the_placement_group_of_the_trial_is_lent_and_not_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    group = SimpleNamespace(id="of the trial")
    monkeypatch.setattr(placed_trainer, "get_current_placement_group", lambda: group)
    lent = bare(placed_trainer._Workers)._create_placement_group(None)
    assert lent.placement_group is group
    lent.shutdown()
    assert placed_trainer._Controller.worker_group_cls is placed_trainer._Workers
