"""Every proposal of a search can be asked again from its journal."""

from __future__ import annotations

import json
from pathlib import Path

import optuna
import pytest
from support.hand_driven_search import ALGORITHMS, SPACE, make_search, simulate
from support.small_runs import make_plan

from sweep.search.replay import replay_search

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
