"""Results on object storage, tried on a memory file system of fsspec and on file:// URIs."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from pathlib import Path

import fsspec
import pytest
import torch
from samples import make_epoch, make_run

from sweep import leases
from sweep.environment import record_environment
from sweep.files import LockedError, StoreError
from sweep.leases import Holder, Lease, Leases
from sweep.mirror import MirroredStore
from sweep.records import FinalRecord, TestRecord
from sweep.storage import Storage, mirror_of
from sweep.store import Store

ENVIRONMENT = record_environment(1)


@pytest.fixture(params=["memory", "file"])
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"memory://{uuid.uuid4().hex}/results" if request.param == "memory" else (tmp_path / "remote").as_uri()


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
        store = Store.open(uri)
        assert isinstance(store, MirroredStore)
        return store


# Storage -----------------------------------------------------------------------------------------------------------


def test_a_file_is_given_back_replaced_listed_and_removed(uri: str, tmp_path: Path) -> None:
    storage = Storage.at(uri)
    assert storage.read("runs/a/final.json") is None
    assert storage.names("runs") == []
    for content in (b"old", b"new!"):
        storage.write("runs/a/final.json", content)
        assert storage.read("runs/a/final.json") == content
    storage.write("runs/b/log.txt", b"")
    assert storage.names("runs") == ["a", "b"]
    assert storage.names("runs/a") == ["final.json"]
    assert storage.sizes(["runs/a/final.json", "runs/b/final.json"]) == {"runs/a/final.json": 4}
    assert storage.fetch(["runs/a/final.json", "runs/b/final.json"], tmp_path / "here") == {"runs/a/final.json"}
    assert (tmp_path / "here/runs/a/final.json").read_bytes() == b"new!"
    for _ in range(2):
        storage.remove("runs/a/final.json")
        assert storage.read("runs/a/final.json") is None


@pytest.mark.parametrize("uri", ["foo://bucket/x", "s4://bucket/x"])
def test_an_unknown_scheme_is_refused_with_examples(uri: str) -> None:
    with pytest.raises(StoreError, match=rf"{uri}.*s3://bucket/folder"):
        Store.open(uri)


def test_storage_that_refuses_is_named_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    storage = Storage.at((tmp_path / "file").as_uri())
    with pytest.raises(StoreError, match=r"cannot write file://.*/file/x: .*check the network, the credentials"):
        storage.write("x", b"")


def test_each_uri_has_a_mirror_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWEEP_MIRROR", "/mirror")
    assert mirror_of("s3://bucket/a") == mirror_of("s3://bucket/a/")
    assert len({mirror_of(uri) for uri in ("s3://bucket/a", "gs://bucket/a", "s3://bucket/b")}) == 3


# Leases ------------------------------------------------------------------------------------------------------------


def test_a_lease_excludes_others_until_it_is_released(uri: str) -> None:
    one, other = Leases(Storage.at(uri)), Leases(Storage.at(uri))
    lease = one.acquire("s/.lock")
    assert isinstance(lease, Lease)
    refused = other.acquire("s/.lock")
    assert isinstance(refused, Holder)
    assert refused.process == os.getpid()
    free = other.acquire("t/.lock")
    lease.release()
    again = other.acquire("s/.lock")
    for held in (free, again):
        assert isinstance(held, Lease)
        held.release()
    assert Storage.at(uri).names(".drivers") == []


def test_a_driver_without_a_sign_of_life_is_dead(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = Leases(Storage.at(uri)), Leases(Storage.at(uri))
    assert isinstance(one.acquire("s/.lock"), Lease)
    real, late = leases.time.time, leases.BEAT * leases.MISSED
    monkeypatch.setattr(leases.time, "time", lambda: real() + late - 10)
    assert isinstance(other.acquire("s/.lock"), Holder)
    monkeypatch.setattr(leases.time, "time", lambda: real() + late + 10)
    assert isinstance(other.acquire("s/.lock"), Lease)


def test_two_that_come_at_once_never_both_hold(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = Leases(Storage.at(uri)), Leases(Storage.at(uri))
    storage, outcome = Storage.at(uri), list[object]()
    write = Storage.write

    def both(self: Storage, key: str, content: bytes) -> None:
        write(self, key, content)
        if key.startswith("s/.lock/") and not outcome:
            outcome.append(None)
            outcome[0] = other.acquire("s/.lock")

    monkeypatch.setattr(Storage, "write", both)
    first = one.acquire("s/.lock")
    assert isinstance(outcome[0], Holder)
    assert isinstance(first, Lease)
    assert len(storage.names("s/.lock")) == 1


HOLD = """
import sys
from sweep.store import Store
store = Store.open(sys.argv[1])
held = store.lock("s"), store.claim("abc")
print("held", flush=True)
sys.stdin.read()
"""


def test_leases_of_a_killed_process_end_with_it(tmp_path: Path, elsewhere: Elsewhere) -> None:
    uri = (tmp_path / "remote").as_uri()
    command = [sys.executable, "-c", HOLD, uri]
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    store = elsewhere.open(uri)
    with pytest.raises(LockedError, match=rf"process {holder.pid} .* a dead one is forgotten after 60 s"):
        store.lock("s")
    assert store.claim("abc") is None
    holder.kill()
    holder.wait()
    store.lock("s").release()
    claim = store.claim("abc")
    assert claim is not None
    claim.release()


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
    again = Store.open(uri).run("abc")
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


def test_a_failure_is_taken_back_by_the_driver_and_remembered(uri: str, elsewhere: Elsewhere) -> None:
    worker = elsewhere.open(uri).run("abc")
    worker.open(make_run(), ENVIRONMENT)
    worker.commit(FinalRecord(status="failed", reason="on purpose"))
    driver = elsewhere.open(uri).run("abc")
    driver.reopen()
    again = elsewhere.open(uri).run("abc")
    assert again.final() is None
    assert again.failures() == ["on purpose"]


# Sweeps ------------------------------------------------------------------------------------------------------------


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


def test_fsspec_serves_the_schemes_that_pyarrow_does_not_know() -> None:
    Storage.at("memory://of-fsspec/x").write("a", b"content")
    assert fsspec.filesystem("memory").cat("/of-fsspec/x/a") == b"content"
