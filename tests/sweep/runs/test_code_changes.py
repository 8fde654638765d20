"""Runs of earlier code are told with the folders that have changed since."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.small_runs import make_environment, make_run

import data
import methods
from data.base import corrupted
from sweep.runs.code_changes import UNKNOWN, changed_code, changed_folders, changes_text, earlier_runs
from sweep.runs.code_texts import code_digest, folder_digests
from sweep.runs.reached_code import source_digest
from sweep.runs.records import FinalRecord, Run
from sweep.runs.store import Store
from sweep.training.numerics import NUMERICS


def test_the_folders_that_changed_are_named() -> None:
    then = {**folder_digests(), "models": "0", "sweep": "1"}
    environment = make_environment(code="before", folders=then)
    assert changed_folders(environment) == ("models/", "sweep/")
    assert changed_folders(make_environment(code=code_digest())) == ()
    assert changed_folders(make_environment(code="before", folders=folder_digests())) == (), "another method's file"
    assert changed_folders(make_environment(code="before", folders={})) == (UNKNOWN,)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ([("sweep/",)], "sweep/"),
        ([("sweep/",), ("models/", "sweep/")], "models/ and sweep/"),
        ([("data/",), ("models/", "sweep/")], "data/, models/ and sweep/"),
    ],
)
def test_changes_are_told_in_words(changes: list[tuple[str, ...]], text: str) -> None:
    assert changes_text(changes) == text


TODAY = {"method": source_digest(methods.get("iprm")), "dataset": source_digest(data.get("digits"))}


def of_today(**changes: Any) -> Run:
    return make_run(**({"method": "iprm", "dataset": "digits", "source": TODAY, "numerics": NUMERICS} | changes))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, ()),
        ({"source": {"method": "0", "dataset": source_digest(data.get("digits"))}}, ("method iprm",)),
        ({"source": {"method": source_digest(methods.get("iprm")), "dataset": "0"}}, ("dataset digits",)),
        ({"method": "nobody"}, ("method nobody",)),
        ({"source": {**TODAY, "corruption": source_digest(corrupted)}}, ()),
        ({"source": {**TODAY, "corruption": "0"}}, ("how data are corrupted",)),
        ({"numerics": 0}, (f"the numbers of training (version 0, now {NUMERICS})",)),
    ],
)
def test_everything_that_changed_since_a_run_is_told(changes: dict[str, Any], told: tuple[str, ...]) -> None:
    assert changed_code(of_today(**changes), make_environment(code=code_digest())) == told


def test_runs_of_earlier_code_are_those_that_ended_under_it(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for name, run, code in [
        ("a", of_today(), code_digest()),
        ("b", of_today(numerics=0), "before"),
        ("c", of_today(), "x"),
    ]:
        store.run(name).open(run, make_environment(code=code, folders=folder_digests()))
    for name in "ab":
        store.run(name).commit(FinalRecord(status="done"))
    assert [name for name, _ in earlier_runs(store, "abcd")] == ["b"]


def test_of_planned_runs_only_folders_can_have_changed_as_their_hash_covers_the_rest(tmp_path: Path) -> None:
    store, then = Store(tmp_path), {**folder_digests(), "models": "0"}
    store.run("a").open(of_today(numerics=0), make_environment(code="before", folders=then))
    store.run("a").commit(FinalRecord(status="done"))
    (both,) = (changed for _, changed in earlier_runs(store, "ab"))
    assert both[-1] == "models/"
    assert len(both) == 2
    assert list(earlier_runs(store, "ab", planned={"a", "b"})) == [("a", ("models/",))]
