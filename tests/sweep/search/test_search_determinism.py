"""A search proposes the same whatever trains beside what, through kills, and asked again from its journal."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState
from support.hand_driven_search import make_search, simulate, study

from sweep.search.journal import PROPOSAL

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


# Replay -----------------------------------------------------------------------------------------------------------


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
