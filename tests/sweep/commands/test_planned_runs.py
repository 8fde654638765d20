"""The runs of a plan with what the store holds of each."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from support.small_runs import make_environment, make_epoch, make_plan

from sweep.commands.planned_runs import planned_runs
from sweep.config import load_frozen
from sweep.plan.build import plan
from sweep.runs.records import FinalRecord
from sweep.runs.store import Store


def test_runs_are_done_begun_or_missing(store: Store) -> None:
    frozen = store.results / "s" / "sweep.yaml"
    found = list(planned_runs(plan(load_frozen(frozen)), store))
    assert [each.status for each in found] == ["done"] * 8
    assert [each.epochs for each in found] == [3] * 8
    begun, missing = (store.run(each.hash).path for each in found[:2])
    (begun / "final.json").unlink()
    (missing / "final.json").unlink()
    (missing / "metrics.jsonl").unlink()
    again = list(planned_runs(plan(load_frozen(frozen)), store))
    assert [each.status for each in again[:3]] == ["begun", "missing", "done"]
    assert [each.hash for each in again] == [each.hash for each in found]


def test_each_run_is_looked_up_once_in_the_order_of_the_plan(tmp_path: Path) -> None:
    planned = make_plan(tmp_path, vary={"alpha": {"grid": [0.1, 0.5]}}, seeds=[3, 1], references=["joint"])
    store = Store(tmp_path / "results")
    found = list(planned_runs(planned, store))
    assert [(each.configuration.label, each.configuration.values, each.run.seed) for each in found] == [
        ("joint", {}, 3), ("joint", {}, 1),
        ("iprm", {"alpha": 0.1}, 3), ("iprm", {"alpha": 0.1}, 1),
        ("iprm", {"alpha": 0.5}, 3), ("iprm", {"alpha": 0.5}, 1),
    ]  # fmt: skip
    assert [(each.status, each.epochs, each.final) for each in found] == [("missing", 0, None)] * 6
    ended, begun = found[:2]
    for each in (ended, begun):
        folder = store.run(each.hash)
        folder.open(each.run, make_environment())
        folder.append(make_epoch(1))
    store.run(ended.hash).commit(FinalRecord(status="pruned", epochs_trained=2))
    again = list(planned_runs(planned, store))
    assert [(each.status, each.epochs) for each in again[:3]] == [("pruned", 2), ("begun", 1), ("missing", 0)]
    # A plan may name a run twice.
    twice = replace(planned, references=[*planned.references, *planned.references])
    assert [each.hash for each in planned_runs(twice, store)] == [each.hash for each in found]
