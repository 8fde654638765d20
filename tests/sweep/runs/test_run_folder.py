"""The folder of a run: torn files lose nothing but themselves, and the commit is a rename."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from support.prepared_commands import commands
from support.small_runs import make_epoch, make_run

from sweep.runs import run_folder
from sweep.runs.environment import record_environment
from sweep.runs.records import FinalRecord, TestRecord
from sweep.runs.run_folder import PREDICTIONS, RunFolder
from sweep.runs.store import Store
from sweep.training.predictions import SamplePredictions

if TYPE_CHECKING:
    from support.recorded_disk import RecordedDisk

pytest_plugins = ["support.recorded_disk"]


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    folder = Store(tmp_path).run("abc")
    folder.open(make_run(), record_environment(1))
    return folder


def test_a_folder_gives_back_what_was_put_in(folder: RunFolder) -> None:
    assert folder.config() == make_run()
    environment = folder.environment()
    assert environment is not None
    assert environment.packages["torch"] == torch.__version__.split("+")[0]
    folder.append(make_epoch(1))
    assert folder.epochs() == [make_epoch(1)]
    assert folder.final() is None
    folder.commit(FinalRecord(status="done"), TestRecord(metrics={"test_accuracy": 0.5}), {"w": torch.ones(2)})
    assert folder.final() == FinalRecord(status="done")
    # A record is there to be read by people, too.
    assert (folder.path / "test.json").read_text().startswith('{\n  "metrics": {\n    "test_accuracy": 0.5\n  },\n')
    assert {"final.json", "test.json", "weights.safetensors"} <= {p.name for p in folder.path.iterdir()}


def test_a_torn_last_line_is_left_out_and_cut_on_resuming(folder: RunFolder) -> None:
    for epoch in (1, 2):
        folder.append(make_epoch(epoch))
    with (folder.path / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 3, "epo')
    assert [record.epoch for record in folder.epochs()] == [1, 2]
    folder.rewind(1)
    folder.append(make_epoch(2))
    assert [record.epoch for record in folder.epochs()] == [1, 2]


def test_the_checkpoint_goes_with_the_commit_unless_the_run_may_go_on(folder: RunFolder) -> None:
    for status, stays in (("pruned", False), ("failed", True), ("diverged", False), ("done", False)):
        folder.save_checkpoint({"x": torch.ones(1)})
        folder.commit(FinalRecord(status=status))  # type: ignore[arg-type]
        assert (folder.load_checkpoint() is not None) is stays


def log(folder: RunFolder) -> str:
    return (folder.path / "log.txt").read_text()


def test_a_torn_line_never_spoils_the_one_after_it(folder: RunFolder) -> None:
    folder.append(make_epoch(1))
    for name in ("metrics.jsonl", "log.txt"):
        with (folder.path / name).open("a") as file:
            file.write('{"epoch": 2, "epo')
    folder.append(make_epoch(2))
    folder.log("a line of its own")
    assert [record.epoch for record in folder.epochs()] == [1, 2]
    assert log(folder).splitlines()[-1] == "a line of its own"


def test_lost_lines_and_lost_checkpoints_are_said(folder: RunFolder) -> None:
    for epoch in (1, 2, 3):
        folder.append(make_epoch(epoch))
    lines = (folder.path / "metrics.jsonl").read_text().splitlines()
    (folder.path / "metrics.jsonl").write_text("\n".join([lines[0], "\0\0\0", lines[2], ""]))
    folder.rewind(3)
    assert "what it said of epochs 2 is lost" in log(folder)
    assert folder.load_checkpoint() is None
    folder.rewind(0)
    assert "no checkpoint to go on from: training starts again (epoch 3 was reached)" in log(folder)
    assert folder.epochs() == []


@pytest.mark.parametrize("content", [b"not a checkpoint", b""])
def test_an_unreadable_checkpoint_is_set_aside_and_said_so(folder: RunFolder, content: bytes) -> None:
    (folder.path / "checkpoint.pt").write_bytes(content)
    assert folder.load_checkpoint() is None
    assert (folder.path / "checkpoint.unreadable").read_bytes() == content
    assert "checkpoint.pt cannot be read" in log(folder)


def test_a_checkpoint_runs_no_code(folder: RunFolder) -> None:
    torch.save({"x": Path("a path"), "run": "abc", "numerics": run_folder.NUMERICS}, folder.path / "checkpoint.pt")
    assert folder.load_checkpoint() is None
    (line,) = log(folder).splitlines()
    assert line.startswith("checkpoint.pt cannot be read (Weights only load failed")
    assert line.endswith("); kept as checkpoint.unreadable, training starts again")


def test_an_error_that_says_nothing_is_called_by_its_kind(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise KeyError

    folder.save_checkpoint({})
    monkeypatch.setattr(torch, "load", refuse)
    assert folder.load_checkpoint() is None
    assert log(folder) == (
        "checkpoint.pt cannot be read (KeyError); kept as checkpoint.unreadable, training starts again\n"
    )


def test_the_checkpoint_of_another_run_is_set_aside(folder: RunFolder, tmp_path: Path) -> None:
    folder.save_checkpoint({"x": torch.ones(1)})
    copied = tmp_path / "runs" / "def"
    shutil.copytree(folder.path, copied)
    assert RunFolder(copied).load_checkpoint() is None
    assert "belongs to run abc" in (copied / "log.txt").read_text()
    assert folder.load_checkpoint() == {"x": torch.ones(1)}


def test_a_checkpoint_of_other_numerics_is_set_aside(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.save_checkpoint({"x": torch.ones(1)})
    monkeypatch.setattr(run_folder, "NUMERICS", run_folder.NUMERICS + 1)
    assert folder.load_checkpoint() is None
    assert folder.file("checkpoint.pt") is None
    assert "checkpoint.pt was written by a version of the code whose training gives other numbers" in log(folder)


@pytest.mark.parametrize("content", [b"", b'{"status": "do', b"\0" * 40])
def test_a_record_that_a_power_cut_spoilt_is_none(folder: RunFolder, content: bytes) -> None:
    folder.commit(FinalRecord(status="done"))
    for name in ("config.json", "environment.json", "final.json"):
        (folder.path / name).write_bytes(content)
    assert (folder.config(), folder.environment(), folder.final()) == (None, None, None)
    for spoilt in (content, b"[]\n", b'{"started": 5}\n', b'{"started": 5, "failed": "no room"}\n'):
        (folder.path / "attempts.jsonl").write_bytes(spoilt)
        folder.note_start()
        assert folder.attempts() == 1


def test_opening_clears_what_interrupted_writes_left(folder: RunFolder) -> None:
    (folder.path / ".checkpoint.pt.123.partial").write_bytes(b"half")
    folder.open(make_run(), record_environment(1))
    assert {path.name for path in folder.path.iterdir()} == {"config.json", "environment.json"}


FULL = """
import resource, sys, torch
from pathlib import Path
from sweep.runs.open_store import join_store
from sweep.runs.store import Store
from sweep.storage.files import StoreError
folder = Store(Path(sys.argv[1])).run("abc")
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
try:
    folder.save_checkpoint({"x": torch.zeros(100_000)})
except StoreError as error:
    print(error)
"""


def test_a_disk_that_fills_up_in_a_checkpoint_keeps_the_one_before(folder: RunFolder, tmp_path: Path) -> None:
    folder.save_checkpoint({"x": torch.ones(1)})
    code, out, err = commands.run_code(FULL, str(tmp_path))
    assert code == 0, err
    assert "checkpoint.pt: File too large; raise the limit" in out
    assert folder.load_checkpoint() == {"x": torch.ones(1)}
    assert not list(folder.path.glob(".*"))


def test_the_commit_comes_after_all_else_and_alone_waits_for_the_disk(folder: RunFolder, disk: RecordedDisk) -> None:
    folder.open(make_run(), record_environment(1))
    assert disk.renamed() == ["config.json", "environment.json"]
    assert disk.synced() == []
    disk.events.clear()
    folder.commit(FinalRecord(status="done"), TestRecord(metrics={}), {"w": torch.ones(2)})
    assert disk.renamed() == ["test.json", "weights.safetensors", "final.json"]
    whole = (folder.path / "final.json").stat().st_size
    assert [(what, size) for what, _, size in disk.events][-3:] == [
        ("synced", whole),
        ("renamed", whole),
        ("synced", 0),
    ]
    assert len(disk.synced()) == 2


def test_what_a_run_has_left_is_secured_after_all_else_and_before_the_commit(folder: RunFolder) -> None:
    seen = list[set[str]]()

    class Secured(RunFolder):
        def _secure(self) -> None:
            seen.append({path.name for path in self.path.iterdir()})

    Secured(folder.path).commit(FinalRecord(status="done"), TestRecord(metrics={}), {"w": torch.ones(2)})
    (there,) = seen
    assert {"test.json", "weights.safetensors"} <= there
    assert "final.json" not in there


DAMAGE = {
    "missing": None,
    "empty": b"",
    "cut": b'{"metrics": {"test_acc',
    "garbage": b"\0\xff\x00",
    "wrong types": b'{"metrics": 5, "status": "done", "method": 7}',
    "no record": b"[]",
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", ["config.json", "test.json", "final.json"])
def test_a_run_has_not_ended_where_one_of_its_records_is_damaged(folder: RunFolder, name: str, damage: str) -> None:
    folder.commit(FinalRecord(status="done"), TestRecord(metrics={}))
    assert folder.final() is not None
    content = DAMAGE[damage]
    (folder.path / name).unlink()
    if content is not None:
        (folder.path / name).write_bytes(content)
    assert folder.final() is None
    folder.open(make_run(), record_environment(1))
    assert not (folder.path / "final.json").exists()
    if (name, damage) != ("final.json", "missing"):
        assert log(folder) == (
            f"{name} is missing or cannot be read, so the run does not count as ended: trained again\n"
        )


def test_what_a_later_version_has_added_to_a_record_makes_it_no_damaged_one(folder: RunFolder) -> None:
    folder.commit(FinalRecord(status="done", epochs_trained=3), TestRecord(metrics={}))
    # What a later version writes into test.json is as long as its final.json says.
    for name in ("config.json", "final.json"):
        content = (folder.path / name).read_text()
        (folder.path / name).write_text(content.replace("{", '{"a_later_field": 1,', 1))
    assert folder.final() == FinalRecord(status="done", epochs_trained=3)


def test_a_run_that_is_done_has_a_test_and_a_failure_needs_no_record(folder: RunFolder) -> None:
    folder.commit(FinalRecord(status="done"))
    assert (folder.path / "test.json").exists()
    folder.commit(FinalRecord(status="failed"))
    for name in ("test.json", "config.json"):
        (folder.path / name).unlink()
    assert folder.final() == FinalRecord(status="failed")


@pytest.mark.parametrize(("content", "whole"), [(b"", False), (b"1", True), (b"{}", True)])
def test_of_a_run_of_before_sizes_were_noted_the_test_need_not_be_empty(
    folder: RunFolder, content: bytes, whole: bool
) -> None:
    folder.commit(FinalRecord(status="done"))
    (folder.path / "final.json").write_text('{"status": "done"}')
    (folder.path / "test.json").write_bytes(content)
    assert (folder.final() is not None) is whole


def test_a_run_that_was_never_tested_has_ended_all_the_same(folder: RunFolder) -> None:
    folder.commit(FinalRecord(status="pruned"))
    assert folder.file("test.json") is None
    assert folder.final() == FinalRecord(status="pruned")


def test_a_run_taken_back_keeps_why_it_failed_and_one_forgotten_keeps_nothing(folder: RunFolder) -> None:
    folder.note_start()
    folder.save_checkpoint({"x": torch.ones(1)})
    folder.commit(FinalRecord(status="failed", reason="no room"))
    folder.reopen()
    assert (folder.final(), folder.failures(), folder.attempts()) == (None, ["no room"], 1)
    assert folder.load_checkpoint() is not None
    folder.commit(FinalRecord(status="done"))
    folder.reopen()
    assert folder.failures() == ["no room"]
    folder.save_checkpoint({"x": torch.ones(1)})
    folder.forget()
    assert (folder.final(), folder.failures(), folder.attempts(), folder.load_checkpoint()) == (None, [], 0, None)


def test_predictions_of_every_sample_are_kept_with_the_commit(folder: RunFolder) -> None:
    two = np.array([[0, 1]], np.int32)
    predictions = SamplePredictions(("multi",), two, np.log(np.array([[0.5, 0.25]], np.float32)), two[0])
    folder.commit(FinalRecord(status="done"), predictions=predictions)
    path = folder.file(PREDICTIONS)
    assert path is not None
    assert path.read_bytes() == predictions.to_bytes()


def test_weights_are_read_back_as_they_were_however_they_lay_in_memory(folder: RunFolder) -> None:
    from safetensors.torch import load

    square = torch.arange(6.0).reshape(2, 3)
    folder.commit(FinalRecord(status="done"), weights={"turned": square.T, "shared": square, "epochs": 3})
    path = folder.file("weights.safetensors")
    assert path is not None
    found = load(path.read_bytes())
    assert set(found) == {"turned", "shared"}
    assert torch.equal(found["turned"], square.T)
    assert torch.equal(found["shared"], square)
    folder.drop_weights()
    assert folder.file("weights.safetensors") is None


def test_going_on_keeps_every_epoch_up_to_the_checkpoint_and_says_nothing(folder: RunFolder) -> None:
    for epoch in (1, 2, 3):
        folder.append(make_epoch(epoch))
    folder.rewind(2)
    assert [record.epoch for record in folder.epochs()] == [1, 2]
    assert folder.file("log.txt") is None


def test_of_several_workers_that_find_a_spoilt_checkpoint_one_says_so(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder.path / "checkpoint.pt").write_bytes(b"spoilt")
    rename = Path.replace

    def replace(self: Path, target: Path) -> Path:
        if self.name == "checkpoint.pt":  # another worker is faster
            rename(self, target)
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    assert folder.load_checkpoint() is None
    assert folder.file("log.txt") is None
