"""What is said while a sweep runs."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from rich.console import Console
from support.hand_driven_agenda import Driver
from support.small_runs import make_environment

from sweep.engine import progress as progress_module
from sweep.engine.progress import Progress, describe, end_task
from sweep.engine.tally import Tally
from sweep.engine.tasks import Task
from sweep.runs.records import FinalRecord


@pytest.mark.parametrize(
    ("expected", "at_most", "said"),
    [
        (75, False, "s: 47 of 75 runs ended, 2"),
        (75, True, "s: 47 of at most 75 runs ended, 2"),
        (None, False, "s: 47 runs ended, 2"),
    ],
)
def test_the_last_line_says_how_many_runs_ended_and_of_how_many(expected: int | None, at_most: bool, said: str) -> None:
    file, tally = io.StringIO(), Tally(done=40, pruned=5, diverged=2, kept=20)
    with Progress(Console(file=file, width=200), "s", expected, tally, at_most):
        pass
    assert file.getvalue().startswith(f"{said}0 kept from earlier, 5 pruned, 2 diverged, ")


class Heard:
    """A listener that notes what it hears."""

    def __init__(self) -> None:
        self.finals: list[str] = []

    def started(self, task: Task) -> None:
        return

    def epoch(self, task: Task) -> None:
        return

    def finished(self, task: Task, final: FinalRecord) -> None:
        self.finals.append(final.status)


def test_a_failure_that_is_tried_again_is_said_and_is_no_end(tmp_path: Path) -> None:
    driver, file, heard = Driver(tmp_path, seeds=[0], retries=1), io.StringIO(), Heard()
    failed = FinalRecord(status="failed", cause="error", reason="ValueError: no")
    with Progress(Console(file=file, width=200), "s", 1, driver.agenda.tally) as progress:
        progress.listeners.append(heard)
        for final in (failed, failed):
            task = driver.next()
            folder = driver.store.run(task.hash)
            folder.open(task.run, make_environment())
            folder.commit(final)
            end_task(driver.agenda, progress, task, final)
    assert heard.finals == ["failed"]
    lines = file.getvalue().splitlines()
    assert [line.count("trying again (1 of 1)") for line in lines] == [1, 0, 0]
    assert "ValueError: no" in lines[1]
    assert "1 failed (1 error)" in lines[2]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time of the display, to be set."""
    now = [1000.0]
    monkeypatch.setattr(progress_module.time, "monotonic", lambda: now[0])
    return now


def test_a_run_is_described_by_label_values_dataset_and_seed(tmp_path: Path) -> None:
    varied = Driver(tmp_path / "varied", vary={"alpha": {"grid": [0.1]}, "train.lr": {"grid": [0.5]}}, seeds=[4]).next()
    assert describe(varied) == "iprm (alpha=0.1, train.lr=0.5) on digits seed 4"
    assert describe(varied, seed=False) == "iprm (alpha=0.1, train.lr=0.5) on digits"
    assert describe(Driver(tmp_path / "plain", seeds=[4]).next()) == "iprm on digits seed 4"


def test_in_a_log_ends_are_told_now_and_then_and_losses_at_once(tmp_path: Path, clock: list[float]) -> None:
    file, tally, task = io.StringIO(), Tally(), Driver(tmp_path, seeds=[4]).next()
    with Progress(Console(file=file, width=200), "s", 9, tally) as progress:
        for seconds, status in [(19.0, "done"), (2.0, "done"), (10.0, "pruned"), (10.0, "done"), (1.0, "diverged")]:
            clock[0] += seconds
            setattr(tally, status, getattr(tally, status) + 1)
            progress.finished(task, FinalRecord(status=status, reason="a test"))  # type: ignore[arg-type]
        for cause in ("memory", None, "memory"):
            tally.failed += 1
            progress.finished(task, FinalRecord(status="failed", cause=cause, reason="boom"))
        clock[0] += 8.0
    assert file.getvalue().splitlines() == [
        "s: 2 of 9 runs ended",  # after 21 s; 20 s later is not yet more than 20
        "iprm on digits seed 4: diverged: a test",
        "s: 5 of 9 runs ended, 1 pruned, 1 diverged",
        "iprm on digits seed 4: failed (memory): boom",
        "iprm on digits seed 4: failed: boom",
        "iprm on digits seed 4: failed (memory): boom",
        "s: 8 of 9 runs ended, 1 pruned, 1 diverged, 3 failed (2 memory, 1 error), 50 s",
    ]


def shown(progress: Progress) -> list[str]:
    out = io.StringIO()
    Console(file=out, width=120).print(progress._render())
    return [line.strip() for line in out.getvalue().splitlines()]


def test_the_table_has_a_line_a_run_under_way(tmp_path: Path, clock: list[float]) -> None:
    driver = Driver(tmp_path, seeds=[4, 5], vary={"alpha": {"grid": [0.1]}})
    progress = Progress(Console(file=io.StringIO()), "s", None, Tally(done=2))
    clock[0] += 7
    assert shown(progress) == ["s: 2 runs ended, 7 s"]
    first, second = driver.next(), driver.next()
    progress.started(first)
    progress.started(second)
    progress.epoch(first.hash, 2, 5, 0.4567)
    progress.epoch("of a run that has ended", 1, 5, 0.5)
    head, *rows = shown(progress)[1:]
    assert head.split() == ["running", "seed", "epoch", "validation"]
    assert [row.replace("━", "").replace("╸", "").replace("╺", "").split() for row in rows] == [
        ["iprm", "(alpha=0.1)", "on", "digits", "4", "2/5", "45.7", "%"],
        ["iprm", "(alpha=0.1)", "on", "digits", "5", "0/?"],
    ]
    assert [row.count("━") for row in rows] == [8, 0]  # two fifths of twenty
    progress.epoch(second.hash, 1, 1, 0.5)
    assert shown(progress)[-1].count("━") == 20
    progress.finished(first, FinalRecord(status="done"))
    progress.retried(second, FinalRecord(status="failed", reason="boom"), 3)
    assert shown(progress) == ["s: 2 runs ended, 7 s"]


def test_what_is_said_is_neither_wrapped_nor_taken_for_markup() -> None:
    file = io.StringIO()
    said = "of [bold] values, in a line of more than twenty letters"
    Progress(Console(file=file, width=20), "s", None, Tally()).say(said, "red")
    assert file.getvalue() == f"{said}\n"


def test_listeners_hear_of_starts_epochs_and_ends(tmp_path: Path) -> None:
    heard, task = list[str](), Driver(tmp_path, seeds=[4]).next()

    class Listening(Heard):
        def started(self, task: Task) -> None:
            heard.append(f"started {task.hash}")

        def epoch(self, task: Task) -> None:
            heard.append(f"epoch {task.hash}")

    progress = Progress(Console(file=io.StringIO()), "s", None, Tally())
    progress.listeners.append(Listening())
    progress.epoch(task.hash, 1, 3, 0.5)  # nobody has heard of it yet
    progress.started(task)
    progress.epoch(task.hash, 1, 3, 0.5)
    assert heard == [f"started {task.hash}", f"epoch {task.hash}"]


def test_retries_are_counted_a_run(tmp_path: Path) -> None:
    driver, file = Driver(tmp_path, seeds=[4, 5]), io.StringIO()
    progress = Progress(Console(file=file, width=200), "s", None, Tally())
    first, second = driver.next(), driver.next()
    for task in (first, second, first):
        progress.retried(task, FinalRecord(status="failed", cause="process", reason="boom"), 3)
    assert [line.partition("; ")[2] for line in file.getvalue().splitlines()] == [
        f"trying again ({count} of 3)" for count in (1, 1, 2)
    ]


def test_on_a_terminal_the_table_is_live_until_the_end(tmp_path: Path) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=120)
    with Progress(console, "s", None, Tally()) as progress:
        assert progress._live.is_started
        progress.finished(Driver(tmp_path).next(), FinalRecord(status="done"))
        progress.stuck("it hangs")
        assert not progress._live.is_started
    assert not progress._live.is_started
    said = console.file.getvalue()  # type: ignore[attr-defined]
    assert "s: it hangs; run the same command again to go on" in said
    # The table is taken off the terminal, and does not stand above the last line.
    assert re.search(r"s: \d runs ended, \d s\n", said.rpartition("\x1b[2K")[2])
    plain = Progress(Console(file=io.StringIO()), "s", None, Tally())
    with plain:
        assert not plain._live.is_started
