"""A task, its line of the index, and the counts of how runs ended."""

from __future__ import annotations

import pytest
from support.small_runs import make_run

from sweep.engine.tally import Tally
from sweep.engine.tasks import Task, index_entry, is_candidate, study_of
from sweep.plan.configurations import Configuration, Role
from sweep.runs.identity import configuration_hash


def test_the_line_of_the_index_says_how_a_run_belongs_to_its_sweep() -> None:
    run = make_run(method="iprm", hyperparameters={"alpha": 0.3}, seed=7)
    entry = index_entry(Task(run, "0123", Configuration("label", {"alpha": 0.3}, run, "reference", 4), True, 2))
    assert entry.model_dump() == {
        "hash": "0123",
        "method": "iprm",
        "label": "label",
        "dataset": "digits",
        "role": "reference",
        "values": {"alpha": 0.3},
        "configuration": configuration_hash(run),
        "seed": 7,
        "split": None,
        "number": 4,
    }


def test_ends_are_counted_by_their_status_and_kept_ones_again() -> None:
    tally = Tally()
    for status, kept in (("done", True), ("done", False), ("pruned", True), ("diverged", False), ("failed", False)):
        tally.add(status, kept)
    assert tally == Tally(done=2, kept=2, pruned=1, diverged=1, failed=1)
    assert tally.total == 5


@pytest.mark.parametrize(
    ("role", "number", "candidate"),
    [
        ("sweep", None, True),
        ("sweep", 3, True),
        ("reference", None, False),
        ("reference", 3, True),
        ("report", 3, False),
    ],
)
def test_points_and_searched_references_are_chosen_from(role: Role, number: int | None, candidate: bool) -> None:
    configuration = Configuration("label", {}, make_run(), role, number)
    assert is_candidate(configuration) is candidate
    assert study_of(configuration) == ("label", "digits", None, "{}")


def test_a_reference_that_the_sweep_varies_is_chosen_from() -> None:
    assert is_candidate(Configuration("joint", {"train.lr": 0.1}, make_run(), "reference"))
