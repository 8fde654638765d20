"""A run is claimed by one driver at a time, and only where its end does not stand already."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
from support.small_runs import make_environment, make_run

from sweep.engine.claims import Claim, Claims, Ended
from sweep.engine.tasks import Task
from sweep.plan.configurations import Configuration
from sweep.runs import mirror
from sweep.runs.open_store import open_store
from sweep.runs.records import FinalRecord
from sweep.runs.run_folder import DamagedEnd, RunFolder
from sweep.runs.store import Store
from sweep.storage import leases
from sweep.storage.files import LockedError

pytest_plugins = ["support.remote_folders"]

Status = Literal["done", "pruned", "diverged", "failed"]
RUN = make_run()
TASK = Task(RUN, "0123", Configuration("joint", {}, RUN), stoppable=False, opening=0)
TWIN = replace(TASK, opening=1)
STOPPABLE = replace(TASK, stoppable=True)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def commit(store: Store, status: Status, reason: str | None = None) -> FinalRecord:
    folder, final = store.run(TASK.hash), FinalRecord(status=status, reason=reason)
    folder.open(TASK.run, make_environment())
    folder.commit(final)
    return final


def test_a_run_that_nobody_has_trained_is_granted(store: Store) -> None:
    claims = Claims(store, retries=0)
    assert claims.claim(TASK) is Claim.GRANTED
    assert claims.under_way(TASK.hash) is TASK
    assert (len(claims), claims.attempts(TASK.hash)) == (1, 1)


def test_another_driver_gets_it_only_after_it_is_released(store: Store) -> None:
    first, second = Claims(store, retries=0), Claims(store, retries=0)
    assert first.claim(TASK) is Claim.GRANTED
    assert second.claim(TASK) is Claim.ELSEWHERE
    first.release_all()
    assert (len(first), second.claim(TASK)) == (0, Claim.GRANTED)


def test_the_same_run_for_another_configuration_waits_for_the_end(store: Store) -> None:
    claims = Claims(store, retries=0)
    claims.claim(TASK)
    assert claims.claim(TWIN) is Claim.TWIN
    assert claims.release(TASK.hash, commit(store, "done")) == (TASK, False)
    assert claims.twins(TASK.hash) == [TWIN]
    assert claims.twins(TASK.hash) == []
    found = claims.claim(TWIN)
    assert isinstance(found, Ended)
    assert (found.trained_here, found.first) == (True, False)


@pytest.mark.parametrize("status", ["done", "diverged"])
def test_an_end_in_the_store_counts_and_is_first_seen_once(store: Store, status: Status) -> None:
    final, claims = commit(store, status), Claims(store, retries=0)
    assert claims.claim(TASK) == Ended(final, trained_here=False, first=True)
    assert claims.claim(TWIN) == Ended(final, trained_here=False, first=False)
    assert len(claims) == 0
    assert Claims(store, retries=0).claim(TASK) == Ended(final, trained_here=False, first=True)


def test_the_store_is_looked_at_again_after_the_claim(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    final, looks = commit(store, "done"), list[bool]()
    read = RunFolder.end

    def late(folder: RunFolder) -> FinalRecord | DamagedEnd | None:
        looks.append(True)
        return None if len(looks) == 1 else read(folder)  # another driver ends it between look and claim

    monkeypatch.setattr(RunFolder, "end", late)
    claims = Claims(store, retries=0)
    assert claims.claim(TASK) == Ended(final, trained_here=False, first=True)
    assert len(looks) == 2
    # The claim was given back, and not only because nobody keeps it.
    hold = store.claim(TASK.hash)
    assert hold is not None


def test_a_pruned_run_stands_only_where_a_rule_may_stop_it(store: Store) -> None:
    commit(store, "pruned")
    assert isinstance(Claims(store, retries=0).claim(STOPPABLE), Ended)
    assert Claims(store, retries=0).claim(TASK) is Claim.GRANTED
    assert store.run(TASK.hash).final() is None


def test_the_end_of_before_does_not_count_for_a_run_that_is_trained_on(store: Store) -> None:
    commit(store, "pruned")
    claims = Claims(store, retries=0)
    assert isinstance(claims.claim(STOPPABLE), Ended)
    assert claims.claim(TASK) is Claim.GRANTED
    assert claims.claim(STOPPABLE) is Claim.TWIN


def test_a_failure_is_tried_again_as_often_as_retries_allow_and_then_by_the_next_driver(store: Store) -> None:
    claims = Claims(store, retries=1)
    assert claims.claim(TASK) is Claim.GRANTED
    assert claims.release(TASK.hash, commit(store, "failed", "first")) == (TASK, True)
    assert store.run(TASK.hash).failures() == ["first"]
    assert claims.claim(TASK) is Claim.GRANTED
    assert claims.release(TASK.hash, commit(store, "failed", "second")) == (TASK, False)
    assert claims.attempts(TASK.hash) == 2
    assert isinstance(claims.claim(TASK), Ended)
    assert Claims(store, retries=1).claim(TASK) is Claim.GRANTED


def test_where_it_may_not_be_trained_the_claim_is_only_made_to_look(store: Store) -> None:
    claims = Claims(store, retries=0)
    assert claims.claim(TASK, allowed=False) is Claim.DECLINED
    assert (len(claims), claims.attempts(TASK.hash)) == (0, 0)
    assert Claims(store, retries=0).claim(TASK) is Claim.GRANTED
    other = replace(TASK, hash="4567")
    store.run(other.hash).open(other.run, make_environment())
    store.run(other.hash).commit(FinalRecord(status="done"))
    assert isinstance(claims.claim(other, allowed=False), Ended)


def test_force_forgets_what_the_store_holds_once(store: Store) -> None:
    commit(store, "done")
    claims = Claims(store, retries=1, force=True)
    assert claims.claim(TASK) is Claim.GRANTED
    assert claims.starts_anew(TASK.hash)
    assert store.run(TASK.hash).final() is None
    claims.release(TASK.hash, commit(store, "failed"))
    assert claims.claim(TASK) is Claim.GRANTED
    assert not claims.starts_anew(TASK.hash)  # it goes on from its own checkpoint
    claims.release(TASK.hash, commit(store, "done"))
    assert isinstance(claims.claim(TWIN), Ended)


@pytest.mark.parametrize("status", ["done", "pruned", "diverged", "failed"])
def test_a_claim_is_given_back_with_the_end_of_the_run(store: Store, status: Status) -> None:
    claims = Claims(store, retries=0)
    assert claims.claim(TASK) is Claim.GRANTED
    assert store.claim(TASK.hash) is None
    claims.release(TASK.hash, commit(store, status))
    assert (len(claims), claims.under_way(TASK.hash)) == (0, None)
    hold = store.claim(TASK.hash)
    assert hold is not None
    hold.release()


def test_a_claim_that_was_only_made_to_look_is_given_back(store: Store) -> None:
    claims = Claims(store, retries=0)
    assert claims.claim(TASK, allowed=False) is Claim.DECLINED
    hold = store.claim(TASK.hash)
    assert hold is not None
    hold.release()


def test_what_this_driver_trained_and_what_it_found_are_told_apart(store: Store) -> None:
    claims = Claims(store, retries=0)
    claims.claim(TASK)
    claims.release(TASK.hash, commit(store, "done"))
    trained = claims.claim(TWIN)
    assert isinstance(trained, Ended)
    assert (trained.trained_here, trained.first) == (True, False)
    later = Claims(store, retries=0)
    for first in (True, False):
        found = later.claim(TASK)
        assert isinstance(found, Ended)
        assert (found.trained_here, found.first) == (False, first)


# Drivers that share results by URI --------------------------------------------------------------------------------


@pytest.fixture
def mirrors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWEEP_MIRROR", str(tmp_path / "mirrors"))


@pytest.mark.usefixtures("mirrors")
def test_a_run_that_another_driver_ended_after_the_store_was_listed_is_found_when_it_is_claimed(uri: str) -> None:
    one, other = open_store(uri), open_store(uri)
    for each in (one, other):
        each.pull()
    first = Claims(one, retries=0)
    assert first.claim(TASK) is Claim.GRANTED
    first.release(TASK.hash, commit(one, "done"))
    found = Claims(other, retries=0).claim(TASK)
    assert found == Ended(FinalRecord(status="done"), trained_here=False, first=True)


@pytest.mark.usefixtures("mirrors")
@pytest.mark.parametrize("drivers", [2, 3])
def test_drivers_that_share_runs_start_each_of_them_once(
    uri: str, drivers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A process trains one run at a time; here each thread stands for a process.
    monkeypatch.setattr(mirror, "_process_name", lambda: f"machine.{threading.get_native_id()}")
    monkeypatch.setattr(mirror, "is_running", lambda process: True)
    tasks = [replace(TASK, hash=f"{number:04}") for number in range(5)]
    starts, together, failed = list[str](), threading.Barrier(drivers), threading.Event()

    def drive() -> None:
        try:
            work()
        except BaseException:
            failed.set()
            raise

    def work() -> None:
        store = open_store(uri)
        store.pull()
        claims, ahead = Claims(store, retries=0), list(tasks)
        together.wait()
        while ahead and not failed.is_set():
            task = ahead.pop(0)
            found = claims.claim(task)
            if found is Claim.ELSEWHERE:
                ahead.append(task)
            elif found is Claim.GRANTED:
                starts.append(task.hash)
                folder = store.run(task.hash)
                folder.open(task.run, make_environment())
                folder.commit(FinalRecord(status="done"))
                claims.release(task.hash, FinalRecord(status="done"))

    with ThreadPoolExecutor(drivers) as pool:
        for driver in [pool.submit(drive) for _ in range(drivers)]:
            driver.result()
    assert sorted(starts) == [task.hash for task in tasks]


@pytest.mark.usefixtures("mirrors")
def test_a_driver_that_was_stopped_beyond_its_lease_neither_claims_nor_ends_a_run(
    uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, now = open_store(uri), [100.0]
    monkeypatch.setattr(leases, "seconds_since_boot", lambda: now[0])
    claims = Claims(store, retries=1)
    assert claims.claim(TASK) is Claim.GRANTED
    failed = commit(store, "failed")
    now[0] += leases.LEASE + 1
    with pytest.raises(LockedError, match="no sign of life"):
        claims.claim(replace(TASK, hash="4567"))
    with pytest.raises(LockedError):
        claims.release(TASK.hash, failed)
    assert store.run(TASK.hash).final() == failed  # which may be another's by now
    with pytest.raises(LockedError):
        store.push("s")
    claims.release_all()


@pytest.mark.usefixtures("mirrors")
def test_a_failure_is_taken_back_before_another_driver_can_take_the_run_up(
    uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(uri)
    claims = Claims(store, retries=1)
    claims.claim(TASK)
    reopened, reopen = list[bool](), RunFolder.reopen

    def look(folder: RunFolder) -> None:
        reopened.append(open_store(uri).claim(TASK.hash) is None)
        reopen(folder)

    monkeypatch.setattr(RunFolder, "reopen", look)
    claims.release(TASK.hash, commit(store, "failed"))
    assert reopened == [True]
