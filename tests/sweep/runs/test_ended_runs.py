"""Ends of runs are kept with stamps of their records, and read again where these have changed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from support.small_runs import make_environment, make_run

from sweep.runs import ended_runs as module
from sweep.runs.code_texts import code_digest
from sweep.runs.ended_runs import FILE, ended_runs
from sweep.runs.records import FinalRecord
from sweep.runs.run_folder import RunFolder
from sweep.runs.store import Store
from sweep.storage import stamps

ENDS = {
    "0": FinalRecord(status="done", epochs_trained=3, metrics={"validation_accuracy": 0.5}),
    "1": FinalRecord(status="failed", reason="b", cause="memory", failures=["a"], attempts=2),
}


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """Runs 0 and 1 have ended, 2 has begun; 3 is not there."""
    monkeypatch.setattr(stamps, "SETTLED", 0.0)
    store = Store(tmp_path)
    store.sweep("s")
    for name in "012":
        store.run(name).open(make_run(), make_environment(code=code_digest()))
    for name, final in ENDS.items():
        store.run(name).commit(final)
    return store


def ends_of(store: Store, planned: str = "0123") -> dict[str, tuple[FinalRecord, tuple[str, ...]]]:
    return {name: (end.final, end.changed) for name, end in ended_runs(store, "s", "0123", set(planned)).items()}


def test_ends_are_without_numbers_and_read_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    found = ends_of(store)
    assert found == {"0": (FinalRecord(status="done"), ()), "1": (ENDS["1"], ())}
    monkeypatch.setattr(RunFolder, "final", lambda folder: read.append(folder.path.name))
    read = list[str]()
    assert ends_of(store) == found
    assert read == ["2", "3"]


@pytest.mark.parametrize(
    ("change", "left"),
    [
        (lambda runs: (runs / "0" / "final.json").unlink(), "1"),
        (lambda runs: (runs / "0" / "test.json").unlink(), "1"),
        (lambda runs: (runs / "0" / "config.json").write_text("{"), "1"),
        (lambda runs: (runs / "1" / "final.json").write_text('{"status": "diverged"}'), "01"),
    ],
)
def test_a_run_whose_records_have_changed_is_read_again(
    store: Store, change: Callable[[Path], object], left: str
) -> None:
    before = ends_of(store)
    change(store.results / "runs")
    found = ends_of(store)
    assert "".join(found) == left
    assert found != before
    assert ends_of(store) == found


def test_what_has_changed_of_the_code_is_kept_with_the_end(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = make_environment(code="before")
    (store.run("0").path / "environment.json").write_text(environment.model_dump_json())
    found = ends_of(store)
    assert [changed for _, changed in found.values()] == [(module.changed_since(store.run("0"), True)), ()]
    assert found["0"][1]
    assert ends_of(store) == found
    assert ends_of(store, planned="23")["0"][1] == found["0"][1]  # kept: it was of the same code


def test_of_other_code_or_where_damaged_all_are_read_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    found, path = ends_of(store), store.results / "s" / FILE
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"memory", b"tomato"))
    assert ends_of(store) == found
    assert path.read_bytes() == whole
    path.write_bytes(whole.partition(b" ")[0] + b" 0\n[]")
    assert ends_of(store) == found
    monkeypatch.setattr(module, "code_digest", lambda: "other")
    assert ends_of(store) == found
    assert path.read_bytes().startswith(b"other ")


def test_nothing_is_kept_of_records_that_just_changed_or_beside_plug_ins(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = store.results / "s" / FILE
    monkeypatch.setattr(module, "has_plug_ins", lambda: True)
    ends_of(store)
    assert not path.exists()
    monkeypatch.undo()
    monkeypatch.setattr(stamps, "SETTLED", 3600.0)
    assert len(ends_of(store)) == 2
    assert not path.exists()


def test_an_end_that_does_not_lie_beside_its_sweep_is_asked_for_each_time(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As of results on object storage, of which no record may have been brought here.
    monkeypatch.setattr(RunFolder, "final", lambda folder: ENDS["1"])
    assert set(ends_of(store)) == set("0123")
    monkeypatch.setattr(RunFolder, "final", lambda folder: None)
    assert "3" not in ends_of(store)
