"""What is said while a sweep runs."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console
from support.hand_driven_agenda import Driver
from support.small_runs import make_environment

from sweep.engine.progress import Progress, end_task
from sweep.engine.tasks import Tally, Task
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
