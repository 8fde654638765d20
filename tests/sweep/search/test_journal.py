"""The journal of studies: mended after a kill, begun anew where what they search has changed."""

from __future__ import annotations

import json
import os
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState
from support.hand_driven_search import finish, make_search, study

from sweep.config import ConfigError
from sweep.plan.configurations import Configuration
from sweep.search.journal import _intact_length, _Journal, _ReadOnlyJournal, damage_told, open_read_only, open_storage
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


class Guard:
    """A lock that notes what is done under it."""

    def __init__(self, journal: Path) -> None:
        self._journal, self.seen = journal, list[tuple[str, int]]()

    def _note(self, what: str) -> None:
        self.seen.append((what, len(self._journal.read_bytes())))

    def acquire(self) -> None:
        self._note("acquired")

    def release(self) -> None:
        self._note("released")


def test_lines_are_appended_whole_under_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "study.journal"
    path.write_bytes(b"")
    journal = _Journal(path)
    guard = Guard(path)
    journal._guard = guard  # type: ignore[assignment]
    journal.append_logs([{"a": 1, "b": [2, 3]}, {"c": None}])
    journal.append_logs([{"d": 4}])
    assert path.read_bytes() == b'{"a":1,"b":[2,3]}\n{"c":null}\n{"d":4}\n'
    assert guard.seen == [("acquired", 0), ("released", 29), ("acquired", 29), ("released", 37)]
    path.unlink()
    path.mkdir()
    guard.seen.clear()
    guard._note = lambda what: guard.seen.append((what, 0))  # type: ignore[method-assign]
    with pytest.raises(StoreError, match="cannot write"):
        journal.append_logs([{"e": 5}])
    assert [what for what, _ in guard.seen] == ["acquired", "released"]


def test_a_journal_to_read_refuses_every_line(tmp_path: Path) -> None:
    path = tmp_path / "study.journal"
    path.write_bytes(b"")
    with pytest.raises(StoreError, match=r"study\.journal is open for reading only: the search of its sweep would"):
        _ReadOnlyJournal(path).append_logs([])


def test_what_damage_leads_to_names_the_file_and_our_own_errors_stay(tmp_path: Path) -> None:
    for raised, told in [
        (
            KeyError("x"),
            r"study\.journal, it cannot be read \(KeyError: 'x'\); delete the file: finished runs are kept",
        ),
        (StoreError("s"), "^s$"),
        (ConfigError("c"), "^c$"),
    ]:
        kind = StoreError if isinstance(raised, KeyError) else type(raised)
        with pytest.raises(kind, match=told), damage_told(tmp_path / "study.journal"):
            raise raised


def lines_of(*entries: dict[str, object]) -> list[bytes]:
    return [json.dumps(entry).encode() + b"\n" for entry in entries]


def test_what_is_kept_ends_before_what_is_not_all_there() -> None:
    study, asked = {"op_code": 0}, {"op_code": 4}
    parameter, how = {"op_code": 5}, {"op_code": 8, "user_attr": {"proposal": 1}}
    other, whole = {"op_code": 8, "user_attr": {"batch": 1}}, {"op_code": 4, "user_attrs": {"proposal": 1}}

    def kept(*entries: dict[str, object], torn: bytes = b"") -> int:
        """How many of these lines are kept."""
        lines = lines_of(*entries)
        length = _intact_length(Path("j"), b"".join(lines) + torn)
        return next(n for n in range(len(lines) + 1) if len(b"".join(lines[:n])) == length)

    assert kept(study) == kept(study, torn=b'{"op_co') == kept(study, torn=b'{"op_code": 5}') == 1
    assert kept(study, asked) == kept(study, asked, parameter) == kept(study, asked, parameter, other) == 1
    assert kept(study, asked, parameter, how) == 4
    assert kept(study, asked, how, asked, parameter) == 3
    assert kept(study, whole, parameter) == 3
    assert kept() == 0
