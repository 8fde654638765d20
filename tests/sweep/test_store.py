"""Run folders: the commit is a rename, torn files lose nothing but themselves, locks end with their process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from samples import make_epoch, make_run

from sweep.environment import record_environment
from sweep.records import FinalRecord, TestRecord
from sweep.store import LockedError, RunFolder, Store, StoreError, write_atomic


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
    for status, stays in (("pruned", True), ("failed", True), ("done", False)):
        folder.save_checkpoint({"x": torch.ones(1)})
        folder.commit(FinalRecord(status=status))  # type: ignore[arg-type]
        assert (folder.load_checkpoint() is not None) is stays


def test_an_unreadable_checkpoint_is_set_aside_and_said_so(folder: RunFolder) -> None:
    (folder.path / "checkpoint.pt").write_bytes(b"not a checkpoint")
    assert folder.load_checkpoint() is None
    assert (folder.path / "checkpoint.unreadable").read_bytes() == b"not a checkpoint"
    assert "cannot be read" in (folder.path / "log.txt").read_text()


def test_an_interrupted_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "final.json"
    write_atomic(path, b"old")

    def fail(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(StoreError, match=r"cannot write .*final.json: No space left on device"):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["final.json"]


HOLD = """
import sys
from pathlib import Path
from sweep.store import Store
held = Store(Path(sys.argv[1])).lock("s"), Store(Path(sys.argv[1])).claim("abc")
print("held", flush=True)
sys.stdin.read()
"""


def test_locks_hold_against_another_process_and_end_with_it(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    store = Store(tmp_path)
    with pytest.raises(LockedError, match="sweep s is being run by another process"):
        store.lock("s")
    assert store.claim("abc") is None
    holder.kill()
    holder.wait()
    store.lock("s").release()
    claim = store.claim("abc")
    assert claim is not None
    claim.release()


def test_a_results_path_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("")
    with pytest.raises(StoreError, match="choose another --results"):
        Store(tmp_path / "results").sweep("s")
