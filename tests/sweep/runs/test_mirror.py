"""Results on object storage, tried on a memory file system of fsspec and on file:// URIs."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
import torch
from support.forked_programs import Program
from support.small_runs import make_epoch, make_run

from sweep.runs.environment import record_environment
from sweep.runs.mirror import MirroredStore
from sweep.runs.open_store import open_store
from sweep.runs.records import FinalRecord, TestRecord
from sweep.runs.run_folder import RunFolder
from sweep.storage.files import LockedError, StoreError
from sweep.storage.leases import Lease, Leases
from sweep.storage.remote import Storage

pytest_plugins = ["support.remote_folders"]

ENVIRONMENT = record_environment(1)


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Elsewhere:
    return Elsewhere(tmp_path, monkeypatch)


class Elsewhere:
    """Opens stores as from different machines: each has a mirror of its own."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._folder, self._monkeypatch, self._count = folder, monkeypatch, 0

    def open(self, uri: str) -> MirroredStore:
        self._count += 1
        self._monkeypatch.setenv("SWEEP_MIRROR", str(self._folder / f"machine{self._count}"))
        store = open_store(uri)
        assert isinstance(store, MirroredStore)
        return store


# Leases ------------------------------------------------------------------------------------------------------------


HOLD = """
import signal, sys
from sweep.runs.open_store import open_store
from sweep.runs.store import Store
store = open_store(sys.argv[1])
held = store.lock("s"), store.claim("abc")
print("held", flush=True)
signal.pause()
"""


def test_leases_of_a_killed_process_end_with_it(tmp_path: Path, elsewhere: Elsewhere) -> None:
    uri = (tmp_path / "remote").as_uri()
    holder = Program(HOLD, uri)
    assert holder.stdout.readline() == "held\n"
    store = elsewhere.open(uri)
    with pytest.raises(LockedError, match=rf"process {holder.pid} .* a dead one is forgotten after 60 s"):
        store.lock("s")
    assert store.claim("abc") is None
    holder.kill()
    store.lock("s").release()
    claim = store.claim("abc")
    assert claim is not None
    claim.release()


def test_a_sweep_is_asked_for_several_times_and_a_run_once(
    uri: str, elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = list[tuple[str, int]]()

    def acquire(self: Leases, key: str, attempts: int = 1) -> Lease:
        asked.append((key, attempts))
        return Lease(self, key)

    monkeypatch.setattr(Leases, "acquire", acquire)
    store = elsewhere.open(uri)
    store.lock("s")
    store.claim("abc")
    assert asked == [("s/.lock", 4), ("runs/abc/.claim", 1)]


# Runs --------------------------------------------------------------------------------------------------------------


def test_a_run_goes_on_from_its_checkpoint_on_another_machine(uri: str, elsewhere: Elsewhere) -> None:
    first = elsewhere.open(uri).run("abc")
    first.open(make_run(), ENVIRONMENT)
    first.note_start()
    first.rewind(0)
    first.append(make_epoch(1))
    first.log("a note")
    first.save_checkpoint({"x": torch.ones(1)})
    first.append(make_epoch(2))  # killed before its checkpoint

    store = elsewhere.open(uri)
    second = store.run("abc")
    assert second.final() is None
    second.open(make_run(), ENVIRONMENT)
    second.note_start()
    assert second.load_checkpoint() == {"x": torch.ones(1)}
    second.rewind(1)
    second.append(make_epoch(2))
    second.log("another")
    assert second.attempts() == 2
    second.commit(FinalRecord(status="done"), TestRecord(metrics={}), {"w": torch.ones(2)})

    third = elsewhere.open(uri).run("abc")
    assert third.final() == FinalRecord(status="done")
    assert [record.epoch for record in third.epochs()] == [1, 2]
    assert third.load_checkpoint() is None
    log = third.file("log.txt")
    assert log is not None
    assert log.read_text() == "a note\nanother\n"
    assert third.file("weights.safetensors") is not None
    third.drop_weights()
    assert elsewhere.open(uri).run("abc").file("weights.safetensors") is None
    assert not list((store.results / ".working").iterdir())


def test_a_run_without_its_commit_has_not_ended(
    uri: str, elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, write = elsewhere.open(uri), Storage.write
    folder = store.run("abc")
    folder.open(make_run(), ENVIRONMENT)
    folder.append(make_epoch(1))
    folder.save_checkpoint({"x": torch.ones(1)})

    def cut(self: Storage, key: str, content: bytes) -> None:
        if key.endswith("final.json"):
            raise StoreError("the network is gone")
        write(self, key, content)

    monkeypatch.setattr(Storage, "write", cut)
    with pytest.raises(StoreError, match="the network is gone"):
        folder.commit(FinalRecord(status="done"), TestRecord(metrics={}))
    monkeypatch.undo()
    again = open_store(uri).run("abc")
    assert again.final() is None
    assert again.load_checkpoint() == {"x": torch.ones(1)}


def test_a_checkpoint_that_cannot_be_read_is_set_aside_there(uri: str, elsewhere: Elsewhere) -> None:
    store = elsewhere.open(uri)
    store.storage.write("runs/abc/checkpoint.pt", b"not a checkpoint")
    folder = store.run("abc")
    folder.open(make_run(), ENVIRONMENT)
    assert folder.load_checkpoint() is None
    assert store.storage.read("runs/abc/checkpoint.unreadable") == b"not a checkpoint"
    assert store.storage.read("runs/abc/checkpoint.pt") is None
    log = (folder.path / "log.txt").read_text()
    assert "kept as checkpoint.unreadable" in log
    # Of several workers of a run one is the first to set it aside.
    folder._set_aside("was there")
    assert (folder.path / "log.txt").read_text() == log


def test_a_failure_is_taken_back_by_the_driver_and_remembered(uri: str, elsewhere: Elsewhere) -> None:
    worker = elsewhere.open(uri).run("abc")
    worker.open(make_run(), ENVIRONMENT)
    worker.commit(FinalRecord(status="failed", reason="on purpose"))
    driver = elsewhere.open(uri).run("abc")
    driver.reopen()
    again = elsewhere.open(uri).run("abc")
    assert again.final() is None
    assert again.failures() == ["on purpose"]


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The keys that are read from storage, as they are."""
    keys, original = list[str](), Storage.read

    def recording(self: Storage, key: str) -> bytes | None:
        keys.append(key)
        return original(self, key)

    monkeypatch.setattr(Storage, "read", recording)
    return keys


@pytest.mark.parametrize(
    ("status", "asked"), [("done", False), ("diverged", False), ("pruned", True), ("failed", True)]
)
def test_a_run_that_nobody_takes_up_again_is_read_from_the_mirror(
    uri: str, elsewhere: Elsewhere, read: list[str], status: str, asked: bool
) -> None:
    store = elsewhere.open(uri)
    folder = store.run("abc")
    folder.open(make_run(), ENVIRONMENT)
    final = FinalRecord.model_validate({"status": status})
    folder.commit(final)
    store.storage.write("s/index.jsonl", b'{"hash": "abc"}\n')
    other = elsewhere.open(uri)
    other.pull("s")
    read.clear()
    assert other.run("abc").final() == final
    assert ("runs/abc/final.json" in read) is asked


def test_of_a_run_that_the_storage_does_not_hold_it_is_not_asked(
    uri: str, elsewhere: Elsewhere, read: list[str]
) -> None:
    store = elsewhere.open(uri)
    store.pull()
    read.clear()
    assert store.run("abc").final() is None
    assert read == []
    claim = store.claim("abc")  # another driver may have held it since
    assert claim is not None
    claim.release()
    read.clear()
    assert store.run("abc").final() is None
    assert read == ["runs/abc/final.json"]


def test_working_folders_of_ended_processes_are_cleared_and_no_others(uri: str, elsewhere: Elsewhere) -> None:
    store = elsewhere.open(uri)
    folder = store.run("abc")
    folder.open(make_run(), ENVIRONMENT)
    working = store.results / ".working"
    (mine,) = working.iterdir()
    here = mine.name.split(".")[0]
    ended, alive, far, earlier = f"{here}.{2**22 + 1}.0", f"{here}.1.0", f"elsewhere.{2**22 + 1}.0", mine.name
    for name in (ended, alive, far):
        (working / name).mkdir()
    again = store.run("abc")
    again.open(make_run(), ENVIRONMENT)
    left = {path.name for path in working.iterdir()}
    assert {alive, far} < left
    assert left.isdisjoint({ended, earlier})


def test_each_checkpoint_sends_what_is_new_and_itself_last(
    uri: str, elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent, write = list[str](), Storage.write

    def recording(self: Storage, key: str, content: bytes) -> None:
        sent.append(key.removeprefix("runs/abc/"))
        write(self, key, content)

    monkeypatch.setattr(Storage, "write", recording)
    folder = elsewhere.open(uri).run("abc")
    folder.open(make_run(), ENVIRONMENT)
    assert sent == ["config.json", "environment.json"]
    for number in (1, 2):
        sent.clear()
        folder.append(make_epoch(number))
        folder.save_checkpoint({"x": torch.ones(1)})
        assert sent == ["metrics.jsonl", "checkpoint.pt"]
    sent.clear()
    folder._append("further.jsonl", "{}")
    folder._remove("further.jsonl")
    folder.commit(FinalRecord(status="done"))
    assert sent == ["test.json", "final.json"]


def test_a_run_that_has_ended_here_is_read_from_the_storage(uri: str, elsewhere: Elsewhere) -> None:
    store = elsewhere.open(uri)
    folder = store.run("abc")
    folder.open(make_run(), ENVIRONMENT)
    folder.append(make_epoch(1))
    (folder.path / "events.out.tfevents.1").write_bytes(b"curves")
    folder.commit(FinalRecord(status="done"))
    assert folder.final() == FinalRecord(status="done")
    assert folder.config() == make_run()
    assert [record.epoch for record in folder.epochs()] == [1]
    assert store.storage.read("runs/abc/events.out.tfevents.1") == b"curves"


def test_a_run_that_was_forgotten_is_not_read_from_the_mirror_any_more(uri: str, elsewhere: Elsewhere) -> None:
    store = elsewhere.open(uri)
    store.run("abc").open(make_run(), ENVIRONMENT)
    store.run("abc").commit(FinalRecord(status="done"))
    store.storage.write("s/index.jsonl", b'{"hash": "abc"}\n')
    store.pull("s")
    folder = store.run("abc")
    assert folder.final() is not None
    folder.forget()
    assert not (store.results / "runs/abc/final.json").exists()
    again = make_run(epochs=9)
    elsewhere.open(uri).run("abc").open(again, ENVIRONMENT)
    assert folder.config() == again
    # What is in the way in the mirror is named.
    (store.results / "runs/abc/final.json").mkdir()
    with pytest.raises(StoreError, match=r"cannot remove .*abc/final\.json"):
        folder.forget()


# Sweeps ------------------------------------------------------------------------------------------------------------


def test_a_store_elsewhere_is_called_by_its_uri_and_known_by_a_mark_there(uri: str, elsewhere: Elsewhere) -> None:
    one, other = elsewhere.open(uri), elsewhere.open(uri)
    assert (one.address, str(one)) == (uri, uri)
    assert not other.is_marked("of nobody")
    assert other.is_marked(one.mark())
    assert other.mark() == one.mark()


def test_a_driver_that_holds_nothing_any_more_sends_nothing(
    uri: str, elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(self: MirroredStore) -> None:
        raise LockedError("stopped for too long")

    store = elsewhere.open(uri)
    (store.sweep("s") / "index.jsonl").write_text("{}\n")
    monkeypatch.setattr(MirroredStore, "check_held", lost)
    with pytest.raises(LockedError, match="stopped for too long"):
        store.push("s")
    assert store.storage.names("s") == []


def test_folders_that_are_no_sweeps_are_not_brought(uri: str, elsewhere: Elsewhere) -> None:
    store = elsewhere.open(uri)
    for name in ("s", "runs", ".hidden"):
        store.storage.write(f"{name}/index.jsonl", b"{}\n")
    store.storage.write("other/notes.txt", b"")
    store.pull()
    assert sorted(path.name for path in store.results.iterdir()) == ["s"]


def test_the_storage_decides_but_for_what_has_grown_here(uri: str, elsewhere: Elsewhere) -> None:
    store = elsewhere.open(uri)
    folder = store.sweep("s")
    for name in ("sweep.yaml", "index.jsonl", "race.jsonl"):
        store.storage.write(f"s/{name}", b"one\n")
        (folder / name).write_text("one\ntwo\n")
    (folder / "study.journal").write_text("1\n")
    store.pull("s")
    assert {path.name: path.read_text() for path in folder.iterdir()} == {
        "sweep.yaml": "one\n",
        "index.jsonl": "one\ntwo\n",
        "race.jsonl": "one\ntwo\n",
    }


def test_a_run_that_ended_anew_is_brought_again(uri: str, elsewhere: Elsewhere) -> None:
    store, other = elsewhere.open(uri), elsewhere.open(uri)
    index = '["no entry"]\n{"hash": "../up"}\n{}\n{"hash": "abc"}\n{"hash": "abc"}\n{"hash": "never begun"}\n'
    store.storage.write("s/index.jsonl", f'{{"hash": "to\n{index}'.encode())
    for epochs in (1, 100):
        folder = other.run("abc")
        folder.open(make_run(), ENVIRONMENT)
        folder.commit(FinalRecord(status="done", epochs_trained=epochs))
        store.pull("s")
        final = RunFolder(store.results / "runs/abc").final()
        assert final is not None
        assert final.epochs_trained == epochs
    assert [path.name for path in (store.results / "runs").iterdir()] == ["abc"]


def test_tables_and_report_are_published(uri: str, elsewhere: Elsewhere) -> None:
    store = elsewhere.open(uri)
    folder = store.sweep("s")
    for name in ("runs.parquet", "runs.csv", "epochs.parquet", "notes.txt", "report/figures/a.svg"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    store.publish("s")
    assert sorted(store.storage.names("s")) == ["epochs.parquet", "report", "runs.csv", "runs.parquet"]
    assert store.storage.read("s/report/figures/a.svg") == b"report/figures/a.svg"


def test_a_file_that_cannot_be_read_is_named_where_it_was_to_be_sent(
    uri: str, elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> bytes:
        raise OSError(errno.EIO, "Input/output error")

    store = elsewhere.open(uri)
    (store.sweep("s") / "index.jsonl").write_text("{}\n")
    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(StoreError, match=r"cannot read .*s/index\.jsonl: Input/output error"):
        store.push("s")


def test_what_a_driver_keeps_is_found_by_the_next_one(uri: str, elsewhere: Elsewhere) -> None:
    one = elsewhere.open(uri)
    (one.sweep("s") / "index.jsonl").write_text('{"hash": "abc"}\n')
    (one.sweep("s") / "study.journal").write_text("1\n")
    one.push("s")
    with (one.sweep("s") / "study.journal").open("a") as file:
        file.write("2\n")
    one.pull("s")  # what has not been sent is not lost
    assert (one.results / "s/study.journal").read_text() == "1\n2\n"
    other = elsewhere.open(uri)
    other.pull()
    assert (other.results / "s/study.journal").read_text() == "1\n"
    assert not (other.results / "s/sweep.yaml").exists()
    (other.results / "s/report").mkdir()
    (other.results / "s/report/index.html").write_text("page")
    other.publish("s")
    one.push("s")
    assert other.storage.read("s/report/index.html") == b"page"
    assert other.storage.read("s/study.journal") == b"1\n2\n"


def test_records_that_left_the_storage_leave_the_mirror(uri: str, elsewhere: Elsewhere) -> None:
    store = elsewhere.open(uri)
    store.storage.write("s/index.jsonl", b'{"hash": "abc"}\n{"hash": "d')
    folder = store.run("abc")
    folder.open(make_run(), ENVIRONMENT)
    folder.commit(FinalRecord(status="done"))
    store.pull("s")
    assert (store.results / "runs/abc/final.json").exists()
    store.storage.remove("runs/abc/final.json")
    store.pull("s")
    assert not (store.results / "runs/abc/final.json").exists()
    assert store.run("abc").final() is None


def test_tensorboard_files_are_brought_where_they_are_asked_for(uri: str, elsewhere: Elsewhere) -> None:
    one = elsewhere.open(uri)
    one.storage.write("s/index.jsonl", b'{"hash": "abc"}\n')
    one.storage.write("runs/abc/events.out.tfevents.1", b"curves")
    one.storage.write("runs/abc/weights.safetensors", b"weights")
    other = elsewhere.open(uri)
    other.pull("s")
    events = other.results / "runs/abc/events.out.tfevents.1"
    assert not events.exists()
    other.pull("s", events=True)
    assert events.read_bytes() == b"curves"
    assert not (other.results / "runs/abc/weights.safetensors").exists()


def test_what_has_not_changed_is_sent_once(uri: str, elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch) -> None:
    sent, write = list[str](), Storage.write

    def recording(self: Storage, key: str, content: bytes) -> None:
        sent.append(key)
        write(self, key, content)

    monkeypatch.setattr(Storage, "write", recording)
    store = elsewhere.open(uri)
    (store.sweep("s") / "index.jsonl").write_text('{"hash": "abc"}\n')
    (store.sweep("s") / "study.journal").write_text("1\n")
    store.push("s")
    assert set(sent) == {"s/index.jsonl", "s/study.journal"}
    sent.clear()
    (store.sweep("s") / "study.journal").write_text("1\n2\n")
    store.push("s")
    assert sent == ["s/study.journal"]
