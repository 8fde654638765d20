"""Leases exclude others until they are released or their driver is dead."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sweep.storage import leases
from sweep.storage.files import LockedError, StoreError
from sweep.storage.leases import BEAT, DRIVERS, LEASE, Holder, Lease, Leases, is_running, machine_id, start_of
from sweep.storage.remote import Storage

pytest_plugins = ["support.remote_folders"]


class Paused:
    """A storage that does something else before it lists names, or removes a key."""

    def __init__(self, storage: Storage) -> None:
        self.storage, self.written = storage, list[str]()
        self.before_names, self.before_removal = list[Callable[[], object]](), dict[str, Callable[[], object]]()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.storage, name)

    def write(self, key: str, content: bytes) -> None:
        self.storage.write(key, content)
        self.written.append(key)

    def names(self, key: str) -> list[str]:
        while self.before_names:
            self.before_names.pop()()
        return self.storage.names(key)

    def remove(self, key: str) -> None:
        if key in self.before_removal:
            self.before_removal.pop(key)()
        self.storage.remove(key)


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


def test_a_claim_is_not_taken_for_one_that_its_driver_gave_up_before(uri: str) -> None:
    """The slow one of three drivers has seen a claim whose driver is gone, and clears it away as that driver comes
    back; meanwhile it gives way to the third, which lets go."""
    slow, back, third = Paused(Storage.at(uri)), Paused(Storage.at(uri)), Leases(Storage.at(uri))
    elsewhere, other = third.acquire("other"), third.acquire("x")
    driver = Leases(back)  # type: ignore[arg-type]
    assert isinstance(driver.acquire("x"), Holder)
    gave_up = [name for name in back.written if name.startswith("x/")]
    slow.storage.write(gave_up[0], b"")  # as it was when the slow one listed the claims
    found = list[Lease | Holder]()
    coming = threading.Thread(target=lambda: found.append(driver.acquire("x")))

    def come_back() -> None:
        back.before_names.append(lambda: (listing.set(), gave_way.wait(60)))
        coming.start()
        assert listing.wait(60)

    listing, gave_way = threading.Event(), threading.Event()
    slow.before_removal[gave_up[0]] = come_back
    assert isinstance(Leases(slow).acquire("x"), Holder)  # type: ignore[arg-type]
    for lease in (other, elsewhere):
        assert isinstance(lease, Lease)
        lease.release()
    gave_way.set()
    coming.join()
    assert isinstance(found[0], Lease)
    assert isinstance(third.acquire("x"), Holder)
    found[0].release()


def test_a_driver_of_this_machine_lives_as_long_as_its_process_whatever_the_clock_says(
    uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other, real = Leases(Storage.at(uri)), Leases(Storage.at(uri)), leases.time.time
    held = one.acquire("s/.lock")
    assert isinstance(held, Lease)
    monkeypatch.setattr(leases.time, "time", lambda: real() + 5 * 3600)
    assert isinstance(other.acquire("s/.lock"), Holder)
    # Another process may have got the number of one that has ended.
    monkeypatch.setattr(leases, "start_of", lambda process: 1)
    lease = other.acquire("s/.lock")
    assert isinstance(lease, Lease)
    lease.release()
    held.release()


@pytest.mark.parametrize("ahead", [-5 * 3600, 0, 5 * 3600])
def test_a_driver_of_another_machine_is_judged_by_the_clock_of_the_storage(
    uri: str, monkeypatch: pytest.MonkeyPatch, ahead: float
) -> None:
    storage, ages = Storage.at(uri), {"other": 0.0}
    storage.write("s/.lock/other", b"")
    storage.write(f"{DRIVERS}/other", json.dumps(vars(holder(id="other", beat=leases.time.time() - ahead))).encode())

    def stamps(self: Storage, keys: Iterable[str]) -> dict[str, float]:
        return {key: 1000.0 - ages.get(key.rpartition("/")[2], 0.0) for key in keys}

    monkeypatch.setattr(Storage, "stamps", stamps)
    ages["other"] = LEASE - 1
    assert isinstance(Leases(storage).acquire("s/.lock"), Holder)
    ages["other"] = LEASE + 1
    lease = Leases(storage).acquire("s/.lock")
    assert isinstance(lease, Lease)
    lease.release()


def test_a_storage_stamps_what_is_written_or_says_nothing(uri: str) -> None:
    storage = Storage.at(uri)
    storage.write("a", b"")
    found = storage.stamps(["a", "b"])
    assert set(found) == ({"a"} if uri.startswith("file") else set())
    assert all(abs(stamp - leases.time.time()) < 3600 for stamp in found.values())


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"7", b'{"id": "x"}', b"\xff\0", b'{"process": null}'])
def test_a_damaged_sign_of_life_is_none(uri: str, content: bytes) -> None:
    storage = Storage.at(uri)
    storage.write("s/.lock/other", b"")
    storage.write(f"{DRIVERS}/other", content)
    lease = Leases(storage).acquire("s/.lock")
    assert isinstance(lease, Lease)
    assert storage.names("s/.lock") != ["other"]
    lease.release()


def test_who_was_stopped_beyond_its_lease_has_lost_what_it_held(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    storage, now = Storage.at(uri), [100.0]
    monkeypatch.setattr(leases, "seconds_since_boot", lambda: now[0])
    one = Leases(storage)
    lease = one.acquire("s/.lock")
    assert isinstance(lease, Lease)
    now[0] += LEASE - 1
    one.check()
    one._beat()
    now[0] += LEASE - 1
    one.check()
    before = storage.read(f"{DRIVERS}/{one._id}")
    now[0] += 2
    one._beat()  # gives no sign of life any more
    assert storage.read(f"{DRIVERS}/{one._id}") == before
    now[0] -= LEASE
    with pytest.raises(LockedError, match=r"no sign of life for 61 s .* it stops; what was finished is kept"):
        one.check()
    lease.release()
    lease = one.acquire("s/.lock")
    assert isinstance(lease, Lease)
    one.check()
    lease.release()


def test_who_finds_a_claim_of_its_own_gone_has_lost_it(uri: str) -> None:
    storage = Storage.at(uri)
    one = Leases(storage)
    held = [one.acquire(key) for key in ("s/.lock", "runs/a/.claim", "runs/b/.claim")]
    assert isinstance(held[1], Lease)
    held[1].release()
    one._beat()
    one.check()
    storage.remove(f"runs/b/.claim/{one._id}")
    one._beat()
    with pytest.raises(LockedError, match=r"the claim of this process on runs/b/\.claim is gone"):
        one.check()
    for each in held:
        assert isinstance(each, Lease)
        each.release()


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


# Signs of life ----------------------------------------------------------------------------------------------------


def holder(**changes: object) -> Holder:
    return replace(Holder("abc", "another machine", "its-name", 17, 1000.0), **changes)  # type: ignore[arg-type]


def test_a_driver_is_here_where_its_machine_is_and_runs_as_long_as_its_process() -> None:
    me = os.getpid()
    here = holder(machine=machine_id(), process=me, started=start_of(me))
    assert (holder().is_here, here.is_here) == (False, True)
    assert (here.runs_here, replace(here, started=None).runs_here, replace(here, started=1).runs_here) == (
        True,
        True,
        False,
    )
    assert start_of(2**30) is None


def test_a_driver_is_described_by_process_host_and_last_sign(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "time", SimpleNamespace(time=lambda: 1012.3))
    assert holder().describe() == "process 17 on its-name, last seen 12 s ago"
    assert holder(beat=1020.0).describe().endswith("last seen 0 s ago")  # its clock is a little ahead


def test_beats_go_on_through_an_outage_of_the_network(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found, beats, write = Leases(Storage.at(uri)), list[float](), Storage.write

    class Stop:
        """Ends the life of the thread after four waits."""

        waits = list[float]()

        def wait(self, seconds: float) -> bool:
            self.waits.append(seconds)
            return len(self.waits) > 4

    def failing(self: Storage, key: str, content: bytes) -> None:
        beats.append(json.loads(content)["beat"])
        if len(beats) == 2:
            raise StoreError("the network is down")
        write(self, key, content)

    monkeypatch.setattr(found, "_stop", Stop())
    monkeypatch.setattr(Storage, "write", failing)
    found._live()
    assert len(beats) == 4
    assert Stop.waits == [BEAT] * 5


def test_signs_of_life_end_with_the_last_thing_held(uri: str) -> None:
    storage = Storage.at(uri)
    one, other = Leases(Storage.at(uri)), Leases(Storage.at(uri))
    first, second = one.acquire("s/.lock"), one.acquire("t/.lock")
    assert isinstance(first, Lease)
    assert isinstance(second, Lease)
    assert len(storage.names(DRIVERS)) == 1
    first.release()
    first.release()  # of what is not held any more nothing is left to let go
    assert len(storage.names(DRIVERS)) == 1
    # One that got nothing has nothing to live for, and leaves no claim behind.
    assert isinstance(other.acquire("t/.lock"), Holder)
    assert (len(storage.names(DRIVERS)), len(storage.names("t/.lock"))) == (1, 1)
    second.release()
    assert (storage.names(DRIVERS), storage.names("t/.lock")) == ([], [])
    assert one._beating is None


def test_what_a_dead_driver_left_is_cleared_away(uri: str) -> None:
    storage = Storage.at(uri)
    storage.write("s/.lock/dead", b"")
    storage.write("s/.lock/ended", b"")
    storage.write(f"{DRIVERS}/dead", json.dumps(vars(holder(id="dead", machine=machine_id(), process=2**30))).encode())
    lease = Leases(storage).acquire("s/.lock")
    assert isinstance(lease, Lease)
    assert len(storage.names("s/.lock")) == 1
    lease.release()


def test_it_is_tried_again_where_several_come_at_the_same_moment(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other, pauses = Leases(Storage.at(uri)), Leases(Storage.at(uri)), list[float]()
    held = one.acquire("s/.lock")
    assert isinstance(held, Lease)

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 2:
            held.release()

    monkeypatch.setattr(leases.time, "sleep", sleep)
    assert isinstance(other.acquire("s/.lock", attempts=2), Holder)
    assert len(pauses) == 1  # none after the last
    lease = other.acquire("s/.lock", attempts=3)
    assert isinstance(lease, Lease)
    assert len(pauses) == 2
    assert all(0.1 <= pause <= 0.5 for pause in pauses)
    lease.release()


def test_a_process_runs_until_it_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    assert is_running(child)  # nobody has waited for it yet
    os.waitpid(child, 0)
    assert not is_running(child)
    assert is_running(os.getpid())

    def refuse(process: int, number: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", refuse)
    assert is_running(1)  # it is another user's


def test_a_machine_is_told_by_its_boot_and_its_namespace_of_processes() -> None:
    assert Path("/proc/sys/kernel/random/boot_id").read_text().strip() in machine_id()
    assert os.readlink("/proc/self/ns/pid") in machine_id()


def test_signs_of_life_begin_again_with_the_next_thing_held_and_never_hold_up_the_end_of_a_process(uri: str) -> None:
    one = Leases(Storage.at(uri))
    for _ in range(2):
        lease = one.acquire("s/.lock")
        assert isinstance(lease, Lease)
        assert one._beating is not None
        assert one._beating.daemon
        assert not one._stop.is_set()
        lease.release()
    assert one._stop.is_set()
