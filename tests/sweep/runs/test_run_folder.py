"""The folder of a run: torn files lose nothing but themselves, and the commit is a rename."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from support.small_runs import make_epoch, make_run

from sweep.runs.environment import record_environment
from sweep.runs.records import FinalRecord, TestRecord
from sweep.runs.run_folder import RunFolder
from sweep.runs.store import Store


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


def test_the_checkpoint_of_another_run_is_set_aside(folder: RunFolder, tmp_path: Path) -> None:
    folder.save_checkpoint({"x": torch.ones(1)})
    copied = tmp_path / "runs" / "def"
    shutil.copytree(folder.path, copied)
    assert RunFolder(copied).load_checkpoint() is None
    assert "belongs to run abc" in (copied / "log.txt").read_text()
    assert folder.load_checkpoint() == {"x": torch.ones(1)}


@pytest.mark.parametrize("content", [b"", b'{"status": "do', b"\0" * 40])
def test_a_record_that_a_power_cut_spoilt_is_none(folder: RunFolder, content: bytes) -> None:
    folder.commit(FinalRecord(status="done"))
    for name in ("config.json", "environment.json", "final.json"):
        (folder.path / name).write_bytes(content)
    assert (folder.config(), folder.environment(), folder.final()) == (None, None, None)
    (folder.path / "attempts.jsonl").write_bytes(content)
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
    done = subprocess.run([sys.executable, "-c", FULL, str(tmp_path)], capture_output=True, text=True, check=True)
    assert "checkpoint.pt: File too large; raise the limit" in done.stdout
    assert folder.load_checkpoint() == {"x": torch.ones(1)}
    assert not list(folder.path.glob(".*"))
