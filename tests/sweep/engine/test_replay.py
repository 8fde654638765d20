"""Replay of a run: the record is found, and numbers are compared."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console
from support.small_runs import make_environment, make_plan

import data
from sweep.engine import replay as replay_module
from sweep.engine.execute import Execution
from sweep.engine.replay import (
    Number,
    Replay,
    ReplayError,
    _changes,
    _compare,
    _ReplayAgenda,
    _with_data_at,
    find_run,
    replay,
)
from sweep.engine.tasks import Task
from sweep.runs.code_texts import code_digest
from sweep.runs.identity import run_hash
from sweep.runs.records import FinalRecord, Run, TestRecord
from sweep.runs.store import Store


def test_numbers_are_the_same_within_a_millionth() -> None:
    for far, same in [(9e-7, True), (2e-6, False)]:
        assert Number("a", 0.5, 0.5 + far).same is same
        assert Number("a", 0.5, 0.5 - far).same is same
    assert Number("a", 0.0, 1e-6).same
    assert Number("a", float("nan"), float("nan")).same
    assert not Number("a", float("nan"), 0.5).same
    assert not Number("a", 0.5, float("nan")).same
    assert not Number("a", 0.5, None).same
    assert not Number("a", None, 0.5).same
    assert Number("a", None, None).same


def test_a_replay_is_the_same_where_every_number_is(tmp_path: Path) -> None:
    run = small_run(tmp_path)
    numbers = [Number("a", 0.5, 0.5), Number("b", 0.5, 0.6)]
    assert Replay("h", run, numbers[:1], ["torch was 1, is 2"]).same
    assert not Replay("h", run, numbers, []).same


def test_a_run_is_found_by_the_beginning_of_its_hash(tmp_path: Path) -> None:
    store, names = Store(tmp_path), ["0123456789abcdef", "0123ffffffffffff"]
    for name in names:
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "config.json").write_text("{}")
    assert find_run(store, "012345") == "0123456789abcdef"
    assert find_run(store, names[1]) == names[1]
    for beginning, why in [("0123", "2 runs begin with it"), ("x", f"there are: {', '.join(names)}")]:
        with pytest.raises(ReplayError) as told:
            find_run(store, beginning)
        assert str(told.value) == (
            f"no single run {beginning!r} in {tmp_path}: {why}; python -m sweep show NAME lists runs"
        )
    for number in range(20):
        (tmp_path / "runs" / f"{number:04d}").mkdir()
    with pytest.raises(ReplayError, match="there are 22 runs"):
        find_run(store, "zzzz")


# By hand -------------------------------------------------------------------------------------------------------------


def small_run(folder: Path) -> Run:
    return make_plan(folder).studies[0].configurations[0].runs([3])[0]


def recorded(store: Store, run: Run, final: FinalRecord, test: dict[str, float] | None = None) -> str:
    folder = store.run(run_hash(run))
    folder.open(run, make_environment(code=code_digest()))
    folder.commit(final, None if test is None else TestRecord(metrics=test))
    return run_hash(run)


@pytest.mark.parametrize("status", ["failed", "diverged", None])
def test_what_has_not_ended_well_is_not_trained_again(tmp_path: Path, status: str | None) -> None:
    store, run = Store(tmp_path / "results"), small_run(tmp_path)
    if status is None:
        store.run(run_hash(run)).open(run, make_environment())
    else:
        recorded(store, run, FinalRecord(status=status))  # type: ignore[arg-type]
    said = f"run {run_hash(run)} is {status or 'not ended'}: only a run that is done or was stopped early can be"
    with pytest.raises(ReplayError, match=said):
        replay(store, run_hash(run), tmp_path / "scratch", {}, True, None, None)  # type: ignore[arg-type]


def test_every_recorded_number_is_compared_and_later_ones_are_not(tmp_path: Path) -> None:
    run, then, now = small_run(tmp_path), Store(tmp_path / "then"), Store(tmp_path / "now")
    final = FinalRecord(status="done", epochs_trained=3, selected_epoch=2, metrics={"validation_accuracy": 0.5})
    recorded(then, run, final, {"test_accuracy": 0.4, "test_map": 0.3})
    update = {"selected_epoch": None, "metrics": {"validation_accuracy": 0.5, "validation_new": 1.0}}
    hashed = recorded(now, run, final.model_copy(update=update), {"test_accuracy": 0.45})
    assert list(_compare(then.run(hashed), now.run(hashed))) == [
        Number("epochs_trained", 3.0, 3.0),
        Number("selected_epoch", 2.0, 0.0),
        Number("validation_accuracy", 0.5, 0.5),
        Number("test_accuracy", 0.4, 0.45),
        Number("test_map", 0.3, None),
    ]
    (now.run(hashed).path / "final.json").unlink()
    assert {number.again for number in _compare(then.run(hashed), now.run(hashed))} == {None}
    pruned = recorded(Store(tmp_path / "pruned"), run, FinalRecord(status="pruned", epochs_trained=2))
    folder = Store(tmp_path / "pruned").run(pruned)
    assert list(_compare(folder, folder)) == [Number("epochs_trained", 2.0, 2.0), Number("selected_epoch", 0.0, 0.0)]


def test_a_run_that_was_stopped_early_is_stopped_at_the_same_epoch(tmp_path: Path) -> None:
    run, store = small_run(tmp_path), Store(tmp_path / "results")
    for status, stops in [("pruned", [False, True, False]), ("done", [False, False, False])]:
        agenda = _ReplayAgenda(run, FinalRecord(status=status, epochs_trained=2), store)  # type: ignore[arg-type]
        assert [agenda.should_stop(agenda.hash, epoch, 0.1) for epoch in (1, 2, 3)] == stops
        assert (agenda.plan.sweep.scheduler is not None) is (status == "pruned")
        assert (agenda.plan.sweep.retries, agenda.plan.sweep.seeds, agenda.hash) == (0, [3], run_hash(run))
        agenda.abandon()


def test_the_run_is_trained_again_with_as_many_workers_and_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, run = Store(tmp_path / "results"), small_run(tmp_path).model_copy(update={"workers": 2})
    hashed = recorded(store, run, FinalRecord(status="done", epochs_trained=3), {"test_accuracy": 0.4})
    made, out = list[_ReplayAgenda](), io.StringIO()

    def train(agenda: _ReplayAgenda, progress: object, how: Execution, ray: object) -> None:
        task = agenda.next()
        assert isinstance(task, Task)
        assert (task.run, how) == (run, Execution(local=True))
        recorded(agenda.store, run, FinalRecord(status="done", epochs_trained=3), {"test_accuracy": 0.5})
        agenda.finish(task.hash, FinalRecord(status="done"))
        made.append(agenda)

    monkeypatch.setattr(replay_module, "execute_agenda", train)
    console = Console(file=out, width=200)
    found = replay(store, hashed, tmp_path / "scratch", {}, True, None, console)  # type: ignore[arg-type]
    assert (found.hash, found.run, found.changed) == (hashed, run, list(_changes(store.run(hashed), run)))
    assert found.numbers[-1] == Number("test_accuracy", 0.4, 0.5)
    (agenda,) = made
    assert agenda.stopped
    assert agenda.plan.sweep.resources.workers == 2
    assert out.getvalue().startswith(f"replay of {hashed}: 1 of 1 runs ended, ")


def test_only_where_the_data_lies_can_be_told_otherwise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, digits = small_run(tmp_path), data.get("digits")
    assert _with_data_at(run, {}) == run
    with pytest.raises(ReplayError, match=r"data\.noise is part of what the run is, .* can be told otherwise$"):
        _with_data_at(run, {"noise": 1})
    monkeypatch.setattr(digits, "paths", frozenset({"root", "cache"}))
    with pytest.raises(ReplayError, match=r"can be told otherwise: cache, root$"):
        _with_data_at(run, {"noise": 1})
    monkeypatch.setattr(digits, "fingerprint", classmethod(lambda cls, options: "another"))
    with pytest.raises(ReplayError, match="digits is not the data that the run was trained on"):
        _with_data_at(run, {})


def test_what_differs_from_then_is_told_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, store = small_run(tmp_path), Store(tmp_path / "results")
    folder = store.run(recorded(store, run, FinalRecord(status="done")))
    asked = list[int]()

    def today(workers: int) -> object:
        asked.append(workers)
        return make_environment(packages={"torch": "2", "numpy": "1"}, python="3.12", processor="p")

    monkeypatch.setattr(replay_module, "record_environment", today)
    then = make_environment(packages={"torch": "1", "numpy": "1", "ray": "2"}, code=code_digest(), processor="q")
    (folder.path / "environment.json").write_text(then.model_dump_json())
    other = run.model_copy(update={"numerics": -1, "workers": 2})
    first, *others = _changes(folder, other)
    assert first.startswith("the numbers of training (version -1, now ")
    assert first.endswith(" changed")
    assert others == ["torch was 1, is 2", "ray was 2, is missing", "python was 3.11, is 3.12", "processor was q, is p"]
    assert asked == [2]
    (folder.path / "environment.json").unlink()
    assert list(_changes(folder, run)) == []
