"""What is overridden of Ray Train, piece by piece, without a Ray: test_worker_group.py trains with it."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

import pytest
from ray.train import ScalingConfig
from ray.train.torch import TorchTrainer
from ray.train.torch.config import _set_torch_distributed_env_vars, _setup_torch_process_group
from ray.train.v2._internal.callbacks.datasets import DatasetsCallback
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
from ray.train.v2._internal.constants import (
    ENABLE_CONTROLLER_STRUCTURED_LOGGING_ENV_VAR,
    ENABLE_PREEMPTION_WATCHER_ENV_VAR,
)
from ray.train.v2._internal.execution.worker_group import state, worker_group

from sweep.engine.on_ray import placed_trainer
from sweep.engine.on_ray.placed_trainer import FileTorchConfig, PlacedTrainer


def bare(kind: type) -> Any:
    return object.__new__(kind)


def test_what_minds_placement_groups_and_datasets_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = SimpleNamespace()
    usual = [bare(PlacementGroupCleanerCallback), kept, bare(DatasetsCallback)]
    monkeypatch.setattr(TorchTrainer, "_create_default_callbacks", lambda trainer: usual)
    assert bare(PlacedTrainer)._create_default_callbacks() == [kept]


class Controller:
    """Stands for Train's, which runs to its end or fails."""

    def __init__(self, **options: Any) -> None:
        self.options, self.ran = options, False

    async def run(self) -> None:
        self.ran = True
        if self.options["broken"]:
            raise RuntimeError("run")

    def get_result(self) -> str:
        assert self.ran
        return "the result"


@pytest.mark.parametrize("broken", [False, True])
def test_the_controller_runs_in_this_process(monkeypatch: pytest.MonkeyPatch, broken: bool) -> None:
    environment, trainer = dict[str, str](), bare(PlacedTrainer)
    monkeypatch.setattr(os, "environ", environment)
    monkeypatch.setattr(placed_trainer, "_Controller", Controller)
    trainer.scaling_config = ScalingConfig(num_workers=2)
    assert trainer.controller is None
    if broken:
        with pytest.raises(RuntimeError, match="run"):
            trainer._initialize_and_run_controller(broken=broken, scaling_policy=None)
    else:
        assert trainer._initialize_and_run_controller(broken=broken, scaling_policy=None) == "the result"
    assert environment == dict.fromkeys(
        [ENABLE_PREEMPTION_WATCHER_ENV_VAR, ENABLE_CONTROLLER_STRUCTURED_LOGGING_ENV_VAR], "0"
    )
    policy = trainer.controller.options["scaling_policy"]
    assert policy.scaling_config.num_workers == 2
    # The cluster is asked for nothing.
    assert policy.after_controller_start(None) is policy._maybe_send_resource_request() is None


class Group:
    """Workers that were started, or are yet to be."""

    def __init__(self, started: bool) -> None:
        self._started = started

    def has_started(self) -> bool:
        return self._started

    def get_workers(self) -> list[Any]:
        assert self._started
        return [SimpleNamespace(actor="first"), SimpleNamespace(actor="second")]


@pytest.mark.parametrize(
    ("group", "killed"), [(Group(True), ["first", "second"]), (Group(False), []), (None, []), ("no controller", [])]
)
def test_workers_are_killed_as_far_as_there_are_any(
    monkeypatch: pytest.MonkeyPatch, group: Any, killed: list[str]
) -> None:
    found = list[str]()
    monkeypatch.setattr(placed_trainer, "ray", SimpleNamespace(kill=found.append))
    trainer = bare(PlacedTrainer)
    if group != "no controller":
        trainer.controller = SimpleNamespace(get_worker_group=lambda: group)
    trainer.kill_workers()
    assert found == killed


def test_no_actor_is_started_at_which_workers_would_meet_that_report_to_train() -> None:
    builder = state.WorkerGroupStateBuilder()
    builder.with_sync_actor(worker_group.SynchronizationActor.options(label_selector={}).remote(timeout_s=1.0))
    assert builder.sync_actor is not None
    builder.shutdown()  # which needs a Ray to end an actor
    assert builder.sync_actor is None


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
