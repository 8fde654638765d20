"""Leases exclude others until they are released or their driver is dead."""

from __future__ import annotations

import os

import pytest

from sweep.storage import leases
from sweep.storage.leases import Holder, Lease, Leases
from sweep.storage.remote import Storage

pytest_plugins = ["support.remote_folders"]


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
