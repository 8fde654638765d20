"""The runs of a plan with what the store holds of each."""

from __future__ import annotations

from sweep.commands.planned_runs import planned_runs
from sweep.config import load_frozen
from sweep.plan.build import plan
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
