"""One run in its folder: checkpoints, and going on from them."""

from __future__ import annotations

import errno
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import sweep.engine.local
import sweep.runs.train
from data.base import AbsentDataError, DataError, Dataset, Split
from data.digits import Digits
from data.prepared.cache.folder import CacheError
from sweep.config import load
from sweep.engine.execute import Execution, execute
from sweep.engine.on_ray.session import RaySession
from sweep.plan.build import plan
from sweep.runs.records import FinalRecord, Run, TestRecord
from sweep.runs.run_folder import RunFolder
from sweep.runs.store import Store
from sweep.runs.train import commit_failure, commit_pruned, commit_unstarted, load_dataset, train
from sweep.storage.files import StoreError
from sweep.training.loop import Training
from sweep.training.workers import WorkerGroup

EPOCHS = 5


@pytest.fixture
def run(tmp_path: Path) -> Run:
    file = tmp_path / "sweeps.yaml"
    sweep = {"method": "joint", "datasets": ["digits"], "data": {"digits": {"train_samples": 100}}, "epochs": EPOCHS}
    file.write_text(yaml.safe_dump({"sweeps": {"s": sweep | {"seeds": [0], "references": False}}}))
    (study,) = plan(load(file, ["s"], [])[0]).studies
    (configuration,) = study.configurations
    (found,) = configuration.runs([0])
    return found


def folder(tmp_path: Path, name: str) -> RunFolder:
    return Store(tmp_path / "results").run(name)


def interrupted(run: Run, folder: RunFolder, after: int, **options: Any) -> None:
    """Train some epochs, as if the process died after them."""
    epochs = train(run, folder, **options)
    assert [next(epochs).epoch for _ in range(after)] == list(range(1, after + 1))
    epochs.close()


def saved_epoch(folder: RunFolder) -> int | None:
    state = folder.load_checkpoint()
    return state and state["training"]["progress"]["epoch"]


@pytest.mark.parametrize(("checkpoint_every", "saved"), [(0.0, 3), (3600.0, None)])
def test_what_is_trained_again_does_not_show(
    run: Run, tmp_path: Path, checkpoint_every: float, saved: int | None
) -> None:
    whole, killed = folder(tmp_path, "whole"), folder(tmp_path, "killed")
    assert len(list(train(run, whole))) == EPOCHS
    interrupted(run, killed, 3, checkpoint_every=checkpoint_every)
    assert saved_epoch(killed) == saved
    again = [record.epoch for record in train(run, killed)]
    assert again == list(range(1 + (saved or 0), EPOCHS + 1))
    assert [(r.epoch, r.loss, r.metrics) for r in killed.epochs()] == [
        (r.epoch, r.loss, r.metrics) for r in whole.epochs()
    ]
    ends = [f.final() for f in (whole, killed)]
    assert all(end is not None and end.status == "done" for end in ends)
    assert len({end.model_dump_json(include={"metrics", "selected_epoch"}) for end in ends if end}) == 1
    assert (killed.path / "log.txt").exists() == (saved is None)


def test_a_checkpoint_is_saved_once_the_last_one_is_old_enough(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr(sweep.runs.train, "time", SimpleNamespace(monotonic=lambda: now))
    trained, found = folder(tmp_path, "timed"), list[int | None]()
    epochs = train(run, trained, checkpoint_every=1.0)
    for _ in range(EPOCHS):
        found.append(next(epochs) and saved_epoch(trained))
        now += 0.6
    # An epoch takes 0.6 s here, and the clock is read at its end.
    assert found == [None, None, 3, 3, 5]


def test_a_sweep_says_how_old_a_checkpoint_may_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[float] = []

    def noting(run: Run, folder: RunFolder, **options: Any) -> Any:
        asked.append(options["checkpoint_every"])
        return train(run, folder, **options)

    monkeypatch.setattr(sweep.engine.local, "train", noting)
    file = tmp_path / "sweeps.yaml"
    common = {"method": "joint", "datasets": ["digits"], "data": {"digits": {"train_samples": 100}}, "epochs": 1}
    common |= {"seeds": [0], "references": False}
    file.write_text(yaml.safe_dump({"sweeps": {"s": common, "t": common | {"checkpoint_every": "2m", "seeds": [1]}}}))
    for swept in load(file, ["s", "t"], []):
        execute(swept, Store(tmp_path / "results"), Execution(local=True), RaySession(), Console(quiet=True))
    assert asked == [1.0, 120.0]


# Numbers of the record ----------------------------------------------------------------------------------------------


def test_the_end_of_a_run_says_what_its_epochs_say(run: Run, tmp_path: Path) -> None:
    trained = folder(tmp_path, "whole")
    epochs = list(train(run, trained))
    final = trained.final()
    assert final is not None
    assert (final.status, final.cause, final.reason, final.failures, final.attempts) == ("done", None, None, [], 1)
    assert final.epochs_trained == EPOCHS
    selected = epochs[final.selected_epoch - 1] if final.selected_epoch else None
    assert selected is not None
    assert selected.metrics.items() <= final.metrics.items()
    assert selected.metrics["validation_accuracy"] == max(e.metrics["validation_accuracy"] for e in epochs)
    assert final.samples == epochs[-1].samples == 100 * EPOCHS
    assert final.forward_passes == epochs[-1].forward_passes
    # Testing takes time as well.
    assert final.seconds > sum(epoch.seconds for epoch in epochs) > 0
    assert final.seconds_per_epoch == pytest.approx(final.seconds / EPOCHS)
    slowest, fastest = (f(epoch.samples_per_second for epoch in epochs) for f in (min, max))
    assert slowest <= final.samples_per_second <= fastest
    # In MiB: the libraries alone take hundreds of them, and no machine has a million.
    assert 50 < final.peak_memory_mib < 1e6
    assert final.peak_memory_mib == max(epoch.peak_memory_mib for epoch in epochs)


def test_a_run_that_was_stopped_early_says_how_far_it_came_and_what_that_took(run: Run, tmp_path: Path) -> None:
    stopped = folder(tmp_path, "stopped")
    interrupted(run, stopped, 3)
    final, last = commit_pruned(stopped), stopped.epochs()[-1]
    assert final == stopped.final()
    assert final == FinalRecord(
        status="pruned",
        reason=f"stopped early after epoch 3 of {EPOCHS}",
        epochs_trained=3,
        metrics=last.metrics,
        samples=300,
        forward_passes=last.forward_passes,
        samples_per_second=last.samples_per_second,
        peak_memory_mib=last.peak_memory_mib,
        attempts=1,
    )


def test_a_failure_says_how_far_the_run_came_and_how_often_it_was_tried(run: Run, tmp_path: Path) -> None:
    failed = folder(tmp_path, "failed")
    interrupted(run, failed, 2)
    commit_failure(failed, RuntimeError("the first"))
    failed.reopen()
    epochs = train(run, failed)
    assert next(epochs).epoch == 3
    epochs.close()
    final = commit_failure(failed, RuntimeError("the second"))
    assert (final.status, final.cause, final.epochs_trained, final.attempts) == ("failed", "error", 3, 2)
    assert final.reason is not None
    assert "the second" in final.reason
    assert len(final.failures) == 1
    assert "the first" in final.failures[0]
    assert "RuntimeError: the second" in (failed.path / "log.txt").read_text()
    # What has ended stays as it is.
    assert commit_failure(failed, RuntimeError("the third")) == final == failed.final()


def test_of_a_group_the_launcher_records_the_failure_and_one_worker_alone_writes(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(run: Run) -> Dataset:
        raise DataError("row 3 is wrong")

    monkeypatch.setattr(sweep.runs.train, "load_dataset", fail)
    for rank, written in ((0, True), (1, False)):
        workers, own = WorkerGroup(), folder(tmp_path, f"of rank {rank}")
        workers.size, workers.rank = 2, rank
        with pytest.raises(DataError, match="row 3 is wrong"):
            list(train(run, own, workers=workers))
        assert own.final() is None
        assert (own.config() is not None, own.attempts()) == (written, int(written))


def test_a_run_that_was_not_started_ends_by_the_failure_of_another_on_its_own_record(run: Run, tmp_path: Path) -> None:
    broken = FinalRecord(status="failed", cause="data", reason="row 3", repeats="dataset", epochs_trained=4, attempts=7)
    fresh, begun = folder(tmp_path, "fresh"), folder(tmp_path, "begun")
    interrupted(run, begun, 2)
    commit_failure(begun, RuntimeError("the first"))
    begun.reopen()
    for own, epochs, attempts, failures in ((fresh, 0, 0, 0), (begun, 2, 1, 1)):
        final = commit_unstarted(run, own, broken)
        assert final == own.final()
        assert own.config() == run
        assert (final.reason, final.epochs_trained, final.attempts, len(final.failures)) == (
            "row 3", epochs, attempts, failures
        )  # fmt: skip


def test_a_run_past_its_time_fails_after_the_epoch_that_was_under_way(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr(sweep.runs.train, "time", SimpleNamespace(monotonic=lambda: now))
    late, trained = folder(tmp_path, "late"), 0
    for _ in train(run, late, timeout=2.0):
        trained += 1
        now += 1.0
    final = late.final()
    assert final is not None
    assert (trained, final.status, final.cause, final.epochs_trained) == (3, "failed", "timeout", 3)
    assert f"not finished within 2 s, after epoch 3 of {EPOCHS}" in (final.reason or "")
    # The last epoch may take as long as it will: there is nothing left to end.
    now = 0.0
    ready = folder(tmp_path, "ready")
    for record in train(run, ready, timeout=2.0):
        now += 10.0 if record.epoch == EPOCHS else 0.0
    final = ready.final()
    assert final is not None
    assert final.status == "done"


def test_a_full_disk_is_no_failure_of_the_run_and_names_what_cannot_be_written(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, errors = folder(tmp_path, "own"), list[OSError]()

    def fail(run: Run) -> Dataset:
        raise errors[-1]

    monkeypatch.setattr(sweep.runs.train, "load_dataset", fail)
    for error, named in ((OSError(errno.ENOSPC, "No space left", "/a/cache"), "/a/cache"),
                         (OSError(errno.ENOSPC, "No space left"), str(own.path))):  # fmt: skip
        errors.append(error)
        with pytest.raises(StoreError, match=f"{named}.*No space left"):
            list(train(run, own))
        assert own.final() is None
    errors.append(OSError(errno.ECONNRESET, "Connection reset"))
    assert list(train(run, own)) == []
    final = own.final()
    assert final is not None
    assert (final.status, final.cause) == ("failed", "error")


def test_training_has_the_threads_of_the_recipe_and_the_share_of_the_gpu_that_is_the_runs(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = list[object]()

    def build(*parts: object, gpu_share: float, **options: object) -> Training:
        asked.append(gpu_share)
        raise RuntimeError("enough")

    monkeypatch.setattr(sweep.runs.train, "Training", build)
    monkeypatch.setattr(sweep.runs.train, "return_freed_memory", lambda: asked.append("freed"))
    monkeypatch.setattr(torch, "set_num_threads", asked.append)
    run = run.model_copy(update={"train": run.train.model_copy(update={"threads": 3})})
    list(train(run, folder(tmp_path, "whole")))
    list(train(run, folder(tmp_path, "part"), gpu_share=0.25))
    assert asked == ["freed", 3, 1.0, "freed", 3, 0.25]


def shown_epochs(folder: RunFolder) -> list[int]:
    """The epochs whose loss TensorBoard shows."""
    found = EventAccumulator(str(folder.path))
    found.Reload()
    return [event.step for event in found.Scalars("loss")]


def test_tensorboard_shows_every_epoch_of_a_run_that_was_interrupted(run: Run, tmp_path: Path) -> None:
    stopped = folder(tmp_path, "stopped")
    interrupted(run, stopped, 3)
    assert shown_epochs(stopped) == [1, 2, 3]


def test_what_tensorboard_shows_is_there_before_the_commit(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown, commit = list[list[int]](), RunFolder.commit

    def noting(self: RunFolder, *records: Any) -> None:
        shown.append(shown_epochs(self))
        commit(self, *records)

    monkeypatch.setattr(RunFolder, "commit", noting)
    list(train(run, folder(tmp_path, "whole")))
    assert shown == [list(range(1, EPOCHS + 1))]


# The data -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (DataError("row 3 is wrong"), DataError),
        (AbsentDataError("no such file"), AbsentDataError),
        (CacheError("no room"), AbsentDataError),
    ],
)
def test_what_is_wrong_with_data_is_told_from_where_it_lies(
    run: Run, monkeypatch: pytest.MonkeyPatch, error: DataError, kind: type[DataError]
) -> None:
    """By the type itself, as what caused an error does not reach the launcher of a group."""

    def load(options: Any) -> Dataset:
        raise error

    monkeypatch.setattr(sweep.runs.train, "_datasets", OrderedDict())
    monkeypatch.setattr(Digits, "load", load)
    with pytest.raises(DataError, match=r" \(on .*\)$") as caught:
        load_dataset(run)
    assert type(caught.value) is kind


def test_a_process_keeps_the_four_datasets_that_it_used_last(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded, own = list[int](), load_dataset(run)

    def load(options: Any) -> Dataset:
        loaded.append(options.train_samples)
        return own

    monkeypatch.setattr(sweep.runs.train, "_datasets", OrderedDict())
    monkeypatch.setattr(Digits, "load", load)
    for size in (100, 101, 102, 103, 100, 104, 100, 102, 101, 102):
        load_dataset(run.model_copy(update={"data": {**run.data, "train_samples": size}}))
    assert loaded == [100, 101, 102, 103, 104, 101]


def test_a_dataset_with_wrong_labels_is_refused_and_not_kept(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    own = Digits.load

    def load(options: Any) -> Dataset:
        found = own(options)
        return replace(found, validation=Split(found.validation.inputs, found.validation.labels + 1))

    monkeypatch.setattr(sweep.runs.train, "_datasets", OrderedDict())
    monkeypatch.setattr(Digits, "load", load)
    for _ in range(2):
        with pytest.raises(DataError, match=r"digits: the validation split.s labels\[\d+\] is 10; labels go"):
            load_dataset(run)


def test_what_is_to_be_known_of_the_data_is_recorded(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    noted = replace(load_dataset(run), notes=("equal samples: 2",))
    monkeypatch.setattr(sweep.runs.train, "load_dataset", lambda run: noted)
    made = folder(tmp_path, "noted")
    list(train(run.model_copy(update={"epochs": 1}), made))
    assert TestRecord.model_validate_json((made.path / "test.json").read_bytes()).data_notes == ["equal samples: 2"]
    assert "equal samples: 2" in (made.path / "log.txt").read_text()
