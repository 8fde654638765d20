"""A sweep whose executor ends before it does is planned again, while that leads anywhere."""

from __future__ import annotations

from collections.abc import Callable
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console
from support.hand_driven_agenda import Driver
from support.small_runs import make_environment

from sweep.engine.process_watch import LostClusterError
from sweep.engine.progress import Progress
from sweep.engine.recovery import FRUITLESS, ExecutorError, executor_error, train_to_the_end
from sweep.runs.records import FinalRecord
from sweep.search.proposals import Nothing
from sweep.storage.files import StoreError

ERROR, LOST = ExecutorError("Ray ended with an error"), LostClusterError("the Ray cluster is gone")


class Cluster:
    """Counts how often it is started and closed."""

    def __init__(self, is_own: bool = True) -> None:
        self.is_own, self.starts, self.closes = is_own, 0, 0

    def ensure(self) -> None:
        self.starts += 1

    def close(self) -> None:
        self.closes += 1


def run(driver: Driver, cluster: Cluster, *attempts: Callable[[], None]) -> str:
    """What is said while the attempts train one after another."""
    out, left = StringIO(), iter(attempts)
    with Progress(Console(file=out, width=200), "s", None, driver.agenda.tally) as progress:
        train_to_the_end(driver.agenda, progress, cluster, lambda: next(left)())
    return out.getvalue()


def trained(driver: Driver, ends: int, error: StoreError) -> Callable[[], None]:
    """An attempt that takes two tasks, ends so many of them, and fails."""

    def attempt() -> None:
        for number, task in enumerate([driver.next(), driver.next()]):
            if number < ends:
                driver.end(task)
        raise error

    return attempt


def test_what_was_under_way_is_handed_out_first_and_costs_no_retry(tmp_path: Path) -> None:
    driver, cluster = Driver(tmp_path, seeds=[0, 1, 2, 3], retries=1), Cluster()
    seeds: list[int] = []

    def rest() -> None:
        while (task := driver.agenda.next()) is not Nothing.LEFT:
            assert not isinstance(task, Nothing)
            seeds.append(task.run.seed)
            driver.end(task, status="failed" if task.run.seed == 1 else "done")

    said = run(driver, cluster, trained(driver, 1, LOST), trained(driver, 0, ERROR), rest)
    # A retry comes after the others.
    assert seeds == [1, 2, 3, 1]
    assert (driver.agenda.tally.done, driver.agenda.tally.failed) == (3, 1)
    assert (cluster.starts, cluster.closes) == (3, 2)
    assert "s: the Ray cluster is gone; a new one goes on from what has been trained" in said


def test_a_run_that_ended_when_nobody_listened_has_ended(tmp_path: Path) -> None:
    driver = Driver(tmp_path, seeds=[0, 1], retries=0)

    def attempt() -> None:
        task, _ = driver.next(), driver.next()
        folder = driver.store.run(task.hash)
        folder.open(task.run, make_environment())
        folder.commit(FinalRecord(status="failed", reason="a test"))
        raise ERROR

    def rest() -> None:
        assert driver.agenda.tally.total == 1
        driver.end(driver.next())
        assert driver.agenda.next() is Nothing.LEFT

    run(driver, Cluster(), attempt, rest)
    assert (driver.agenda.tally.done, driver.agenda.tally.failed) == (1, 1)


def test_it_is_given_up_after_so_many_ends_with_no_run_ended_in_between(tmp_path: Path) -> None:
    driver = Driver(tmp_path, seeds=list(range(9)))
    fruitless = [trained(driver, 0, ERROR)] * (FRUITLESS - 1)
    attempts = [*fruitless, trained(driver, 1, ERROR), *fruitless]
    with pytest.raises(ExecutorError, match=f"an error, {FRUITLESS} times in a row with no run ended"):
        run(driver, Cluster(), *attempts)
    assert driver.agenda.tally.done == 1


def test_a_cluster_of_others_that_is_gone_ends_the_sweep_and_any_other_end_does_not(tmp_path: Path) -> None:
    driver, cluster = Driver(tmp_path, seeds=[0, 1, 2]), Cluster(is_own=False)
    with pytest.raises(LostClusterError):
        run(driver, cluster, trained(driver, 1, ERROR), trained(driver, 0, LOST))
    assert cluster.closes == cluster.starts == 2


def test_what_the_sweep_itself_ends_for_is_raised_at_once(tmp_path: Path) -> None:
    driver = Driver(tmp_path, seeds=[0, 1])
    with pytest.raises(StoreError, match="disk full"):
        run(driver, Cluster(), trained(driver, 0, StoreError("disk full")))


def test_the_error_behind_all_others_is_told() -> None:
    last = RuntimeError("The Ray Tune run failed")
    last.__cause__ = SystemError()
    last.__cause__.__context__ = OSError("\n  the socket is gone\nmore")
    assert str(executor_error(last)) == "Ray ended with OSError: the socket is gone"
    assert str(executor_error(ValueError())) == "Ray ended with ValueError"
