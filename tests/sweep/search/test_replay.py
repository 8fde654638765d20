"""Every proposal of a search can be asked again from its journal."""

from __future__ import annotations

import json
from pathlib import Path

import optuna
import pytest
from support.hand_driven_search import ALGORITHMS, SPACE, make_search, simulate, study
from support.small_runs import make_plan

from sweep.search.replay import replay_search
from sweep.storage.files import StoreError

MIXED = {
    "neumann_eta": {"loguniform": [1e-4, 0.05]},
    "strategy": {"choice": ["constant", "learned"]},
    "inverse": {"choice": ["neumann", "identity"]},
    "alpha": {"uniform": [0.1, 0.9]},
    "train.lr": {"loguniform": [0.001, 0.3]},
}
"""A step that exists for one inverse, which exists for one strategy."""


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("space", ["plain", "conditional"])
def test_every_proposal_can_be_asked_again_from_the_journal(tmp_path: Path, algorithm: str, space: str) -> None:
    keys = {"vary": SPACE} if space == "plain" else {"vary": MIXED, "method": "lfa"}
    keys["points"] = [{"train.lr": 0.01}]
    count = 12 if algorithm == "gp" else 18  # ten at random before the first model; a Gaussian process takes seconds
    simulate(make_search(tmp_path, algorithm, count, **keys), 3, "last")
    spec = {"algorithm": algorithm, "configurations": count}
    (replayed,) = replay_search(make_plan(tmp_path, search=spec, **keys), tmp_path / "study.journal")
    assert (replayed.mismatches, replayed.skipped) == ([], 0)
    assert replayed.asked >= count


def test_a_proposal_that_comes_out_otherwise_is_named(tmp_path: Path) -> None:
    simulate(make_search(tmp_path, "random", 5), 1, "first")
    journal, spec = tmp_path / "study.journal", {"algorithm": "random", "configurations": 5}
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    params = [line for line in lines if line["op_code"] == 5 and line["param_name"] == "alpha"]
    params[3]["param_value_internal"] = 0.123
    journal.write_text("".join(json.dumps(line) + "\n" for line in lines))
    (replayed,) = replay_search(make_plan(tmp_path, vary=SPACE, search=spec), journal)
    (mismatch,) = replayed.mismatches
    assert (mismatch.number, mismatch.recorded["alpha"], mismatch.optuna) == (3, 0.123, optuna.__version__)
    assert mismatch.again["alpha"] != 0.123


def test_proposals_that_came_from_another_space_are_skipped_and_a_torn_line_is_none(tmp_path: Path) -> None:
    simulate(make_search(tmp_path, "random", 5), 1, "first")
    narrow = {"alpha": {"uniform": [0.1, 0.9]}, "train.lr": {"loguniform": [0.0005, 0.3]}}
    simulate(make_search(tmp_path, "random", 7, vary=narrow), 1, "first")
    journal, spec = tmp_path / "study.journal", {"algorithm": "random", "configurations": 7}
    planned = make_plan(tmp_path, vary=narrow, search=spec)
    with journal.open("ab") as file:
        file.write(b'{"op_code": 4')
    (replayed,) = replay_search(planned, journal)
    moved = [trial.user_attrs["proposal"] for trial in study(tmp_path).trials]
    assert replayed.study == "s/iprm/digits"
    assert replayed.skipped == sum("moved_from" in how for how in moved) > 0
    assert replayed.asked == len(moved) - replayed.skipped > 0
    assert replayed.mismatches == []
    # A study that is not in the journal has nothing to be asked again.
    other = make_plan(tmp_path / "other", method="aug", vary={"train.lr": {"uniform": [0.1, 1]}}, search=spec)
    assert replay_search(other, journal) == []


def test_a_journal_that_is_missing_or_damaged_is_told(tmp_path: Path) -> None:
    planned = make_plan(tmp_path, vary=SPACE, search={"algorithm": "random", "configurations": 5})
    journal = tmp_path / "study.journal"
    with pytest.raises(FileNotFoundError):
        replay_search(planned, journal)
    journal.write_bytes(b"{oops\n")
    with pytest.raises(StoreError, match=r"study\.journal, it cannot be read"):
        replay_search(planned, journal)
