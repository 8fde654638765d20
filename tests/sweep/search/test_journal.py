"""The journal of studies: mended after a kill, begun anew where what they search has changed."""

from __future__ import annotations

import os
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState
from support.hand_driven_search import finish, make_search, study

from sweep.plan.configurations import Configuration
from sweep.search.journal import open_read_only, open_storage
from sweep.storage.files import StoreError


def test_a_changed_space_keeps_the_proposals_inside_it(tmp_path: Path) -> None:
    before = finish(make_search(tmp_path))
    narrow = {"alpha": {"uniform": [0.1, 0.5]}, "train.lr": {"loguniform": [0.001, 0.3]}}
    search = make_search(tmp_path, vary=narrow)
    kept = [c for c in before if c.values["alpha"] <= 0.5]
    assert len(study(tmp_path).trials) == len(kept)
    assert [c.key for c in finish(search)][: len(kept)] == [c.key for c in kept]


def test_more_seeds_propose_the_same_again_and_other_data_begins_anew(tmp_path: Path) -> None:
    before = finish(make_search(tmp_path))
    more_seeds = make_search(tmp_path, seeds=[0, 1, 2])
    again = [c.key for c in [more_seeds.propose() for _ in range(6)] if isinstance(c, Configuration)]
    assert again == [c.key for c in before]
    assert all(t.state == TrialState.RUNNING for t in study(tmp_path).trials)
    make_search(tmp_path, seeds=[0, 1, 2], epochs=9)
    assert study(tmp_path).trials == []


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
    (study,) = optuna.get_all_study_summaries(open_read_only(journal))
    assert study.n_trials == 1
    assert journal.read_bytes() == before
    assert os.path.lexists(f"{journal}.lock")


@pytest.mark.parametrize(
    "line",
    [
        b"[1]\n",
        b'{"op_code": "x"}\n',
        b'{"op_code": 99}\n',
        b'{"op_code": 4}\n',
        b'{"op_code": 4, "user_attrs": null}\n',
        b'{"op_code": 8, "user_attr": 3}\n',
    ],
)
def test_a_journal_of_wrong_operations_is_named(tmp_path: Path, line: bytes) -> None:
    make_search(tmp_path).propose()
    journal = tmp_path / "study.journal"
    journal.write_bytes(line + journal.read_bytes())
    for opened in (open_storage, open_read_only):
        with pytest.raises(StoreError, match=r"study\.journal, .* delete the file: finished runs are kept"):
            opened(journal)


def test_a_journal_that_is_broken_in_the_middle_is_named(tmp_path: Path) -> None:
    make_search(tmp_path).propose()
    journal = tmp_path / "study.journal"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join([*lines[:2], b"{oops\n", *lines[3:]]))
    with pytest.raises(StoreError, match=r"study\.journal, line 3 is broken .* delete the file"):
        open_storage(journal)
