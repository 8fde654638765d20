"""Parts of the report about runs: budgets side by side, and runs that are lacking."""

from __future__ import annotations

from pathlib import Path

from support.synthetic_results import Results, references

from sweep.analysis.completeness import SweepRequest
from sweep.report.runs import budget_blocks, shortfall
from sweep.results.tables import load


def test_budgets_stand_side_by_side(tmp_path: Path) -> None:
    results = Results(tmp_path)
    results.sweep("one")
    for alpha in (0.1, 0.2):
        for seed in range(2):
            results.run("one", "iprm", seed, values={"alpha": alpha}, forward_passes=5000.0)
    references(results, "one", range(2))
    block = budget_blocks(load(tmp_path / "one"), SweepRequest(None, None, (), 2, "", 8), 0)[0]
    assert block.table is not None
    assert [row[:10] for row in block.table.rows] == [
        ["iprm", "digits", "2", "2", "1", "4", "3", "12", "7,200", "20,000"],
        ["joint (reference)", "digits", "1", "2", "1", "2", "3", "6", "3,600", "3,600"],
        ["joint + unimodal losses (reference)", "digits", "1", "2", "1", "2", "3", "6", "3,600", "3,600"],
    ]


def test_a_spent_budget_is_said(tmp_path: Path) -> None:
    results = Results(tmp_path)
    results.sweep("one")
    results.run("one", "iprm", 0)
    results.run("one", "iprm", 1, status="pruned")
    runs = load(tmp_path / "one")
    said = shortfall(runs, SweepRequest(None, None, (), 2, "2 runs", 9), 1)
    assert said is not None
    assert said.startswith("2 of at most 9 runs that the sweep asks for have ended.")
    assert "a budget of 2 runs a driver, early stopping, a race that 1 configurations left" in said
    assert shortfall(runs, SweepRequest(None, None, (), 2, "2 runs", 2), 0) is None
    assert shortfall(runs, SweepRequest(None, None, (), 2, "", None), 0) is None
