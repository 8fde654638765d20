"""A budget counts what a driver starts, and what it leaves out."""

from __future__ import annotations

from sweep.config.schema import BudgetSpec
from sweep.engine.budget import Budget


def test_without_limits_it_is_never_spent() -> None:
    budget = Budget(None)
    for _ in range(1000):
        budget.charge()
    assert not budget.spent()


def test_it_is_spent_after_so_many_runs() -> None:
    budget = Budget(BudgetSpec(runs=2))
    said = []
    for _ in range(3):
        said.append(budget.spent())
        budget.charge()
    assert said == [False, False, True]


def test_it_is_spent_after_so_many_hours_of_its_clock() -> None:
    now = [100.0]
    budget = Budget(BudgetSpec(hours=0.5), clock=lambda: now[0])
    now[0] += 1800
    assert not budget.spent()
    now[0] += 0.1
    assert budget.spent()


def test_what_is_left_out_adds_up() -> None:
    budget = Budget(BudgetSpec(runs=1))
    budget.leave_out(3)
    budget.leave_out(1)
    assert budget.unstarted == 4
