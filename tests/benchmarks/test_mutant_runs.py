"""Tests that are run against changes of one module, in processes that share what was imported."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from benchmarks import mutant_runs
from benchmarks.mutant_runs import all_pass, in_own_process, unnoticed
from benchmarks.mutations import mutations

MODULE = """
LIMIT = 10
WAIT = 1


def doubled(x):
    return x + x


HELD = doubled(LIMIT)


def capped(x):
    if x > LIMIT:
        return LIMIT
    return x


class Counter:
    step = 1

    @property
    def following(self):
        return self.step + 1
"""

TESTS = """
import pytest
from counted import HELD, LIMIT, Counter, capped


@pytest.fixture(autouse=True)
def order(request):
    with open("order", "a") as order:
        print(request.node.name, file=order)


@pytest.fixture(scope="module")
def at_limit():
    return capped(LIMIT)


def test_held():
    assert HELD == 20


def test_limit(at_limit):
    assert at_limit == LIMIT


def test_following():
    assert Counter().following == 2


def test_limit_again(at_limit):
    assert at_limit == LIMIT


def test_beyond():
    assert capped(LIMIT + 1) == LIMIT
"""


FILES = {"counted.py": ["test_counted.py"]}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout of a module and its tests, which write down their order."""
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    (checkout / "counted.py").write_text(MODULE)
    (checkout / "test_counted.py").write_text(TESTS)
    return checkout


def test_what_no_test_notices_is_found_in_functions_and_in_what_runs_on_import(checkout: Path) -> None:
    changes = mutations(MODULE, "counted.py")
    assert {each.line for each in changes} == {2, 3, 7, 14, 15, 16, 20, 24}
    left = {(each.before, each.after) for each in unnoticed(checkout, FILES, changes)}
    assert left == {("WAIT = 1", "WAIT = 2"), ("if x > LIMIT:", "if x >= LIMIT:")}
    assert (checkout / "counted.py").read_text() == MODULE


def test_those_that_reach_a_change_come_first_and_the_others_follow(checkout: Path) -> None:
    changes = [each for each in mutations(MODULE, "counted.py") if each.after == "if x >= LIMIT:"]
    assert list(unnoticed(checkout, FILES, changes)) == changes
    order = (checkout / "order").read_text().split()
    unchanged, changed = order[:5], order[5:]
    assert unchanged == ["test_held", "test_limit", "test_following", "test_limit_again", "test_beyond"]
    assert set(changed[:3]) == {"test_limit", "test_limit_again", "test_beyond"}
    assert set(changed[3:]) == {"test_held", "test_following"}


def test_a_module_is_tried_by_its_own_tests_alone(checkout: Path) -> None:
    (checkout / "other.py").write_text("def value():\n    return 1\n")
    (checkout / "test_other.py").write_text("def test_other():\n    pass\n")
    tests = FILES | {"other.py": ["test_other.py"]}
    noticed = [each for each in mutations(MODULE, "counted.py") if each.line == 15]
    left = mutations("def value():\n    return 1\n", "other.py")
    assert noticed
    assert left
    assert list(unnoticed(checkout, tests, [*noticed, *left])) == left


def test_a_change_is_seen_in_a_process_that_a_test_starts(checkout: Path) -> None:
    (checkout / "test_counted.py").write_text("""
import subprocess, sys


def test_beyond():
    code = "from counted import capped; print(capped(11))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "10"
""")
    changes = [each for each in mutations(MODULE, "counted.py") if each.line == 15]
    assert changes
    assert not list(unnoticed(checkout, FILES, changes))


def test_a_change_that_never_ends_is_noticed(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = "def left(x):\n    while x > 3:\n        x -= 3\n    return x\n"
    (checkout / "counted.py").write_text(source)
    (checkout / "test_counted.py").write_text(
        "from counted import left\n\n\ndef test_left():\n    assert left(5) == 2\n"
    )
    endless = [each for each in mutations(source, "counted.py") if each.after == "pass"]
    assert len(endless) == 1
    monkeypatch.setattr(mutant_runs, "GRACE", 0.2)
    assert not list(unnoticed(checkout, FILES, endless))


@pytest.mark.parametrize(
    ("tests", "said"),
    [
        (
            "def test_it():\n    assert 1 == 2",
            r"tests fail without any change:\n(.|\n)*assert 1 == 2",
        ),
        ("import nowhere", r"tests fail without any change:\n(.|\n)*nowhere"),
        ("", r"counted\.py has no test that runs without Ray"),
    ],
)
def test_tests_that_tell_nothing_are_refused(checkout: Path, tests: str, said: str) -> None:
    (checkout / "test_counted.py").write_text(tests)
    with pytest.raises(SystemExit, match=said):
        list(unnoticed(checkout, FILES, mutations(MODULE, "counted.py")))


def test_a_process_of_its_own_ends_with_what_its_work_returns_or_at_its_limit() -> None:
    assert in_own_process(lambda: 3) == 3
    assert in_own_process(lambda: 0, limit=600) == 0
    assert in_own_process(lambda: time.sleep(600) or 0, limit=0.1) is None
    assert in_own_process(lambda: os.getpid() // 0) == 1


def test_the_alarm_is_left_to_what_is_tested() -> None:
    assert in_own_process(lambda: int(signal.getitimer(signal.ITIMER_REAL) != (0.0, 0.0)), limit=600) == 0


@pytest.mark.parametrize(
    ("body", "limit", "passed"),
    [("assert value() == 1", 60, True), ("assert value() == 2", 60, False), ("while value(): pass", 0.2, False)],
)
def test_tests_run_on_the_code_of_their_checkout_and_a_loop_counts_as_a_failure(
    tmp_path: Path, body: str, limit: float, passed: bool
) -> None:
    (tmp_path / "changed_code.py").write_text("def value():\n    return 1\n")
    (tmp_path / "test_it.py").write_text(f"from changed_code import value\n\n\ndef test_it():\n    {body}\n")
    assert all_pass(tmp_path, ["test_it.py"], limit) is passed
