"""Phases: which of their epochs count for what, and where an epoch of the loop lies."""

from __future__ import annotations

import pytest

from methods.base.phase import (
    Phase,
    checked_phases,
    place_of,
    schedule_epochs,
    selectable_epochs,
    total_epochs,
)

TEACHER = Phase("teacher", 2, selectable="none", budget=False)
FIRST = Phase("first", 3, optimizer="run", selectable="last")
ESTIMATE = Phase("estimate", 1, schedule="run", selectable="none", holds_rate=True)
SECOND = Phase("second", 4, optimizer="own", schedule="run")
PHASES = [TEACHER, FIRST, ESTIMATE, SECOND]


def test_a_phase_by_default_is_a_part_of_the_budget_that_is_validated_and_selected_from() -> None:
    phase = Phase("training", 2)
    assert (phase.budget, phase.validate, phase.holds_rate, phase.passes) == (True, True, False, 1.0)
    assert (phase.groups, phase.optimizer_name, phase.schedule_name) == (None, "training", "training")


def test_a_schedule_is_called_as_the_optimizer_unless_it_has_a_name() -> None:
    assert [(phase.optimizer_name, phase.schedule_name) for phase in PHASES[1:]] == [
        ("run", "run"), ("estimate", "run"), ("own", "run")
    ]  # fmt: skip


def test_which_epochs_may_be_selected() -> None:
    assert [[epoch for epoch in range(1, phase.epochs + 1) if phase.may_select(epoch)] for phase in PHASES] == [
        [], [3], [], [1, 2, 3, 4]
    ]  # fmt: skip
    assert [phase.selectable_epochs for phase in PHASES] == [0, 1, 0, 4]
    assert selectable_epochs(PHASES) == 5
    assert total_epochs(PHASES) == 10


def test_phases_that_hold_a_schedule_do_not_lengthen_it() -> None:
    assert schedule_epochs(PHASES, "run") == 3 + 4
    assert schedule_epochs([ESTIMATE], "run") == 1
    assert schedule_epochs(PHASES, "teacher") == 2


def test_the_place_of_each_epoch() -> None:
    """Phase, its position, and the epoch in it; beside them, epoch and epochs of the budget or of the phase beside."""
    places = [place_of(PHASES, epoch) for epoch in range(1, 11)]
    assert [(p.phase.name, p.position, p.phase_epoch) for p in places] == [
        ("teacher", 0, 1), ("teacher", 0, 2), ("first", 1, 1), ("first", 1, 2), ("first", 1, 3), ("estimate", 2, 1),
        ("second", 3, 1), ("second", 3, 2), ("second", 3, 3), ("second", 3, 4),
    ]  # fmt: skip
    assert [(p.epoch, p.epochs) for p in places] == [(1, 2), (2, 2), *((epoch, 8) for epoch in range(1, 9))]
    with pytest.raises(ValueError, match="epoch 11 lies beyond the last of 10"):
        place_of(PHASES, 11)
    # A phase beside the budget counts nothing there, wherever it stands.
    assert [place_of([FIRST, TEACHER, SECOND], epoch).epoch for epoch in (3, 4, 6)] == [3, 1, 4]


def test_phases_without_epochs_are_left_out() -> None:
    assert checked_phases([Phase("none", 0), *PHASES]) == PHASES


@pytest.mark.parametrize(
    ("phases", "message"),
    [
        ([Phase("b", 1), Phase("a", 1), Phase("a", 1), Phase("b", 1)], "two phases are called 'a'"),
        ([Phase("a", 0), Phase("a", 1)], "two phases are called 'a'"),
        ([Phase("a", 1), Phase("b", -1)], "phase 'b' has -1 epochs"),
        ([TEACHER, ESTIMATE], r"may be selected; its phases: teacher \(2\), estimate \(1\)$"),
        ([Phase("a", 0)], "its phases: none$"),
    ],
)
def test_phases_that_cannot_be_trained_are_refused(phases: list[Phase], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        checked_phases(phases)
