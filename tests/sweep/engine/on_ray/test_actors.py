"""What an actor trains, and what it tells Tune: driven by hand, without Ray."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from support.small_runs import make_epoch, make_plan

from sweep.engine.on_ray import actors
from sweep.engine.on_ray.actors import GroupActor, RunActor, tune_result
from sweep.runs.code_texts import code_digest
from sweep.runs.environment import CODE_VARIABLE
from sweep.runs.identity import run_hash
from sweep.runs.run_folder import RunFolder
from sweep.runs.store import Store
from sweep.storage.files import StoreError
from sweep.training.epoch_record import EpochRecord


def test_a_result_has_always_the_same_keys_and_is_finite() -> None:
    trained = tune_result(make_epoch(2), "validation_accuracy", done=False)
    assert trained == {
        "epoch": 2, "epochs": 3, "selectable": 2, "validated": True, "value": 0.5, "done": False, "trouble": ""
    }  # fmt: skip
    aside = make_epoch(2).model_copy(update={"selectable": None, "metrics": {}})
    unjudged = tune_result(aside, "validation_accuracy", done=False)
    assert unjudged == {**trained, "selectable": 0, "validated": False, "value": 0.0}
    nothing = tune_result(None, "validation_accuracy", done=True, trouble="disk full")
    assert nothing == {
        "epoch": 0, "epochs": 0, "selectable": 0, "validated": False, "value": 0.0, "done": True, "trouble": "disk full"
    }  # fmt: skip


# Runs, one after another ---------------------------------------------------------------------------------------------

EPOCHS = 3


class Trials:
    """The trials of a sweep over two seeds, as the driver describes them to an actor."""

    def __init__(self, folder: Path) -> None:
        self.store = Store(folder / "results")
        self.store.sweep("s")
        (study,) = make_plan(folder, data={"digits": {"train_samples": 100}}, method="joint", epochs=EPOCHS).studies
        self._runs = study.configurations[0].runs([0, 1])

    def config(self, seed: int = 0, **changes: Any) -> dict[str, Any]:
        told = {
            "sweep": "s",
            "run": self._runs[seed].model_dump_json(),
            "hash": run_hash(self._runs[seed]),
            "code": code_digest(),
            "stoppable": True,
            "results": self.store.address,
            "mark": self.store.mark(),
            "timeout": None,
            "checkpoint_every": 0.0,
            "gpu_share": 0.0,
        }
        return told | changes

    def folder(self, seed: int = 0) -> RunFolder:
        return self.store.run(run_hash(self._runs[seed]))


@pytest.fixture
def trials(tmp_path: Path) -> Trials:
    return Trials(tmp_path)


def made(config: dict[str, Any], kind: type[RunActor] = RunActor) -> RunActor:
    """An actor as Tune sets it up, but in this process."""
    actor = object.__new__(kind)
    actor.setup(config)
    return actor


def steps(actor: RunActor) -> list[tuple[int, bool]]:
    """Epoch and end of each result, to the run's end."""
    found = [actor.step()]
    while not found[-1]["done"]:
        found.append(actor.step())
    assert {result["trouble"] for result in found} == {""}
    return [(result["epoch"], result["done"]) for result in found]


def test_an_actor_trains_one_run_after_another(trials: Trials) -> None:
    actor = made(trials.config(0))
    assert repr(actor) == "sweep s"
    assert steps(actor) == [(1, False), (2, False), (3, False), (0, True)]
    assert actor.reset_config(trials.config(1))
    assert steps(actor) == [(1, False), (2, False), (3, False), (0, True)]
    for seed in (0, 1):
        final = trials.folder(seed).final()
        assert final is not None
        assert (final.status, final.epochs_trained) == ("done", EPOCHS)


def test_an_actor_with_other_code_than_its_driver_does_not_start(
    trials: Trials, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CODE_VARIABLE, "0" * 16)
    with pytest.raises(ImportError, match="is not the driver's"):
        made(trials.config())


def test_where_no_rule_waits_for_epochs_several_make_one_result(
    trials: Trials, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(actors, "RESULT_EVERY", 1e9)
    assert steps(made(trials.config(stoppable=False))) == [(3, True)]
    monkeypatch.setattr(actors, "RESULT_EVERY", -1.0)
    assert steps(made(trials.config(1, stoppable=False))) == [(1, False), (2, False), (3, False), (0, True)]


def test_a_run_that_tune_ends_stays_to_be_gone_on_with(trials: Trials) -> None:
    actor = made(trials.config(0))
    actor.step()
    actor.reset_config(trials.config(1))
    assert (trials.folder(0).final(), len(trials.folder(0).epochs())) == (None, 1)
    actor.cleanup()
    assert trials.folder(1).final() is None
    assert steps(made(trials.config(0))) == [(2, False), (3, False), (0, True)]


def test_an_actor_that_does_not_see_the_results_says_so_and_goes_on_with_the_next_run(trials: Trials) -> None:
    actor = made(trials.config(mark="of another folder"))
    result = actor.step()
    assert result["done"]
    assert "does not see the results folder of the driver" in result["trouble"]
    actor.reset_config(trials.config())
    assert steps(actor)[-1] == (0, True)


def begins(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Make every run end by an error, after its first epoch."""

    def begin(self: RunActor, run: object, folder: RunFolder, config: object) -> Iterator[EpochRecord]:
        folder.path.mkdir(parents=True)
        yield make_epoch(1)
        raise error

    monkeypatch.setattr(RunActor, "begin", begin)


def test_where_nothing_can_be_written_the_result_says_so_and_no_run_has_failed(
    trials: Trials, monkeypatch: pytest.MonkeyPatch
) -> None:
    begins(monkeypatch, StoreError("disk full"))
    actor = made(trials.config())
    assert actor.step()["trouble"] == ""
    result = actor.step()
    assert (result["done"], result["trouble"]) == (True, "disk full")
    assert trials.folder().final() is None


def test_a_run_that_calls_exit_has_failed_unless_ray_ends_the_process(
    trials: Trials, monkeypatch: pytest.MonkeyPatch
) -> None:
    begins(monkeypatch, SystemExit(3))
    actor = made(trials.config())
    actor.step()
    assert actor.step()["done"]
    final = trials.folder().final()
    assert final is not None
    assert (final.status, final.cause) == ("failed", "process")
    ended = SystemExit(0)
    ended.ray_terminate_msg = "terminated"  # type: ignore[attr-defined]
    begins(monkeypatch, ended)
    actor.reset_config(trials.config(1))
    actor.step()
    with pytest.raises(SystemExit):
        actor.step()
    assert trials.folder(1).final() is None


def watchdogs() -> int:
    return sum(isinstance(thread, threading.Timer) and not thread.finished.is_set() for thread in threading.enumerate())


def test_a_run_with_a_timeout_is_watched_until_it_ends(trials: Trials) -> None:
    before = watchdogs()
    actor = made(trials.config(timeout=3600.0))
    assert watchdogs() == before + 1
    steps(actor)
    assert watchdogs() == before
    actor.reset_config(trials.config(1, timeout=3600.0))
    assert watchdogs() == before + 1
    actor.cleanup()
    assert watchdogs() == before


class Workers:
    """A group that trains as it is told to."""

    def __init__(self, failure: Exception | None) -> None:
        self.failure, self.alive, self.calls = failure, True, list[str]()

    def assemble(self) -> None:
        self.calls.append("assembled")

    def train(self, request: Any) -> Iterator[EpochRecord]:
        self.calls.append(f"trains {request.config['hash']}, patient: {request.patient}")
        yield make_epoch(1)

    def close(self) -> None:
        self.calls.append("closed")


@pytest.mark.parametrize(
    ("failure", "trouble", "status"),
    [(None, "", None), (StoreError("disk full"), "disk full", None), (ValueError("lost"), "", "failed")],
)
def test_an_actor_with_workers_has_them_train_and_ends_the_run_as_they_did(
    trials: Trials, failure: Exception | None, trouble: str, status: str | None
) -> None:
    actor, workers = object.__new__(GroupActor), Workers(failure)
    actor._workers = workers
    trials.folder().path.mkdir(parents=True)
    actor.setup(trials.config(stoppable=False))
    result = actor.step()
    assert (result["done"], result["trouble"]) == (True, trouble)
    final = trials.folder().final()
    assert (final and final.status) == status
    actor.cleanup()
    assert workers.calls == ["assembled", f"trains {trials.config()['hash']}, patient: False", "closed"]


@pytest.mark.parametrize(("alive", "made_anew"), [(True, 0), (False, 1), (None, 1)])
def test_workers_are_kept_from_run_to_run_and_replaced_where_they_are_gone(
    trials: Trials, monkeypatch: pytest.MonkeyPatch, alive: bool | None, made_anew: int
) -> None:
    groups = list[Workers]()
    module = ModuleType("sweep.engine.on_ray.worker_group")
    module.TrialWorkers = lambda folder: groups.append(Workers(None)) or groups[-1]  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    actor = object.__new__(GroupActor)
    actor._logdir = "nowhere"
    if alive is not None:
        actor._workers = Workers(None)
        actor._workers.alive = alive
    actor.setup(trials.config())
    actor.reset_config(trials.config(1))
    assert len(groups) == made_anew
    assert actor._workers.calls == ["assembled", "assembled"]
