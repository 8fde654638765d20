"""A search proposes the same whatever trains beside what, through kills, and asked again from its journal."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState
from samples import make_plan
from searching import ALGORITHMS, SPACE, make_search, outcomes, study

from sweep.engine.journal import PROPOSAL, look_at, open_storage
from sweep.engine.replay import replay_search
from sweep.engine.search import Search
from sweep.engine.sources import Nothing
from sweep.files import StoreError
from sweep.plan import Configuration

MIXED = {
    "neumann_eta": {"loguniform": [1e-4, 0.05]},
    "strategy": {"choice": ["constant", "learned"]},
    "inverse": {"choice": ["neumann", "identity"]},
    "alpha": {"uniform": [0.1, 0.9]},
    "train.lr": {"loguniform": [0.001, 0.3]},
}
"""A step that exists for one inverse, which exists for one strategy."""


def value(configuration: Configuration) -> float:
    """A quality that depends on every number, and a state that some of them have."""
    return sum(v for v in configuration.values.values() if isinstance(v, float))


def told(configuration: Configuration) -> dict[int, Any]:
    status = {0: "failed", 1: "pruned"}.get(int(1e6 * value(configuration)) % 5, "done")
    return outcomes(value(configuration), status)


def simulate(search: Search, slots: int, order: str, stop: int = 10**9) -> list[str]:
    """Keys of what is proposed, with ``slots`` configurations at a time that end first in, first out, or the other way
    round; after ``stop`` ends the process dies."""
    proposed, under_way = list[str](), list[Configuration]()
    while stop:
        found = search.propose() if len(under_way) < slots else Nothing.YET
        if isinstance(found, Configuration):
            proposed.append(found.key)
            under_way.append(found)
        elif under_way:
            ended = under_way.pop(0 if order == "first" else -1)
            search.tell(ended, told(ended))
            stop -= 1
        else:
            assert found is Nothing.EVER
            return proposed
    return proposed


COUNT = {"random": 8, "qmc": 8, "tpe": 16, "nsga2": 16, "gp": 12, "cmaes": 16}
"""Enough for each sampler to have left its random beginnings."""


@pytest.mark.parametrize(
    ("algorithm", "batch"), [("random", None), ("qmc", None), ("tpe", 4), ("nsga2", 3), ("gp", 5), ("cmaes", 4)]
)
def test_the_same_proposals_at_any_concurrency(tmp_path: Path, algorithm: str, batch: int | None) -> None:
    seen = {
        name: simulate(make_search(tmp_path / name, algorithm, COUNT[algorithm], batch=batch), slots, order)
        for name, slots, order in [
            ("one", 1, "first"),
            ("four", 4, "first"),
            ("turned", 4, "last"),
            ("many", 9, "last"),
        ]
    }
    assert len(set(seen["one"])) == COUNT[algorithm]
    assert seen["one"] == seen["four"] == seen["turned"] == seen["many"]


def test_without_a_batch_the_proposals_of_tpe_depend_on_what_has_ended(tmp_path: Path) -> None:
    one = simulate(make_search(tmp_path / "one", "tpe", 16), 1, "first")
    assert one != simulate(make_search(tmp_path / "four", "tpe", 16), 4, "first")


@pytest.mark.parametrize("died", [1, 4, 6, 9])
def test_a_batch_survives_an_interruption(tmp_path: Path, died: int) -> None:
    whole = simulate(make_search(tmp_path / "whole", "tpe", 13, batch=4), 1, "first")
    parts = tmp_path / "parts"
    simulate(make_search(parts, "tpe", 13, batch=4), 3, "last", stop=died)
    assert simulate(make_search(parts, "tpe", 13, batch=4), 2, "first") == whole


@pytest.mark.parametrize("batch", [None, 4])
def test_a_kill_in_the_midst_of_a_proposal_changes_nothing(tmp_path: Path, batch: int | None) -> None:
    """The journal cut after any of its writes, and within any line, leads to the same proposals."""
    whole = simulate(make_search(tmp_path / "whole", "tpe", 12, batch=batch), 1, "first")
    content = (tmp_path / "whole" / "study.journal").read_bytes()
    lines = content.splitlines(keepends=True)
    asked = [n for n, line in enumerate(lines) if json.loads(line)["op_code"] == 4]
    for number in (5, 11):
        for cut in range(asked[number], min(asked[number] + 8, len(lines))):
            parts = tmp_path / f"cut{cut}"
            parts.mkdir()
            (parts / "study.journal").write_bytes(b"".join(lines[:cut]) + lines[cut][:7])
            assert simulate(make_search(parts, "tpe", 12, batch=batch), 1, "first") == whole, cut
    assert len(set(whole)) == 12


# The journal ------------------------------------------------------------------------------------------------------


def test_a_stale_lock_is_removed_at_once(tmp_path: Path) -> None:
    journal = tmp_path / "study.journal"
    make_search(tmp_path).propose()
    os.symlink(journal, f"{journal}.lock")
    assert isinstance(make_search(tmp_path).propose(), Configuration)
    assert [path.name for path in tmp_path.iterdir() if "lock" in path.name] == []


def test_a_look_at_a_study_disturbs_nobody_who_writes_to_it(tmp_path: Path) -> None:
    make_search(tmp_path).propose()
    journal = tmp_path / "study.journal"
    journal.write_bytes(journal.read_bytes() + b'{"op_code"')  # a line that is just being written
    os.symlink(journal, f"{journal}.lock")
    before = journal.read_bytes()
    (study,) = optuna.get_all_study_summaries(look_at(journal))
    assert study.n_trials == 1
    assert journal.read_bytes() == before
    assert os.path.lexists(f"{journal}.lock")


def test_a_journal_that_is_broken_in_the_middle_is_named(tmp_path: Path) -> None:
    make_search(tmp_path).propose()
    journal = tmp_path / "study.journal"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join([*lines[:2], b"{oops\n", *lines[3:]]))
    with pytest.raises(StoreError, match=r"study\.journal, line 3 is broken .* delete the file"):
        open_storage(journal)


# Replay -----------------------------------------------------------------------------------------------------------


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


def test_each_trial_says_how_it_was_proposed(tmp_path: Path) -> None:
    simulate(make_search(tmp_path, "tpe", 6), 3, "first")
    trials = list(_plain(study(tmp_path)))
    assert [how["under_way"] for how in trials][:5] == [[], [0], [0, 1], [1, 2], [2, 3]]
    assert {how["sampler"] for how in trials} == {"TPESampler"}
    assert len({how["seed"] for how in trials}) == 6
    assert {how["optuna"] for how in trials} == {optuna.__version__}


def _plain(found: optuna.Study) -> Iterator[dict[str, Any]]:
    for trial in found.get_trials(deepcopy=False):
        assert trial.state != TrialState.RUNNING
        yield trial.user_attrs[PROPOSAL]
