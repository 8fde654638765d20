"""What is said while a sweep runs."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from sweep.engine.tasks import Tally
from sweep.progress import Progress


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
