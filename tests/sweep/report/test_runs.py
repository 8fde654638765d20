"""Parts of the report about runs: budgets side by side, and runs that are lacking."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from support.kept_texts import assert_reads_as_before
from support.synthetic_results import Results, references

from sweep.analysis.completeness import SweepRequest
from sweep.report import runs as runs_module
from sweep.report.runs import (
    _mean_text,
    budget_blocks,
    configuration_blocks,
    environment_blocks,
    failure_blocks,
    shortfall,
)
from sweep.results.tables import load
from sweep.runs.records import TestRecord


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
    assert "a budget of 2 runs a driver, early stopping, a race that 1 configuration left" in said
    more = shortfall(runs, SweepRequest(None, None, (), 2, "", 3), 2)
    assert more is not None
    assert "early stopping, a race that 2 configurations left" in more
    assert shortfall(runs, SweepRequest(None, None, (), 2, "2 runs", 2), 0) is None
    assert shortfall(runs, SweepRequest(None, None, (), 2, "", None), 0) is None


def test_what_is_to_be_known_of_the_data_stands_with_them_once_and_no_more_among_the_logs(tmp_path: Path) -> None:
    results = Results(tmp_path)
    results.sweep("one")
    known = ["classes that look alike: happy, Happy", "equal samples: 2"]
    for seed, notes in enumerate((known, known, known[:1])):
        folder = results.run("one", "iprm", seed)
        (folder / "test.json").write_text(TestRecord(metrics={}, data_notes=notes).model_dump_json())
        (folder / "log.txt").write_text("\n".join([*notes, "a learning rate of 0 trains nothing"]) + "\n")
    earlier = results.run("one", "iprm", 3)
    (earlier / "log.txt").write_text("equal samples: 2\n")
    results.run("one", "iprm", 4, status="failed")
    found = {block.heading: block.table for block in configuration_blocks(tmp_path, load(tmp_path / "one"), "")}
    of_data, logs = found["Notes on the data"], found["Notes from the logs of finished runs"]
    assert of_data is not None
    assert of_data.rows == [["digits", note] for note in known]
    assert logs is not None
    assert logs.rows == [["a learning rate of 0 trains nothing", "3"], ["equal samples: 2", "1"]]


def test_what_was_not_recorded_counts_as_nothing(tmp_path: Path) -> None:
    results = Results(tmp_path)
    results.sweep("one")
    results.run("one", "iprm", 0)
    runs = load(tmp_path / "one").drop(columns=["epochs_trained", "samples", "seconds"])
    table = budget_blocks(runs, SweepRequest(None, None, (), 1, "", None), 0)[0].table
    assert table is not None
    assert table.rows == [["iprm", "digits", "1", "1", "1", "1", "–", "0", "0", "1,800", "0 s"]]
    assert [runs_module._count_text(value) for value in (None, float("nan"), 2.0)] == ["–", "–", "2"]


def test_of_many_logs_some_are_read_evenly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = Results(tmp_path)
    results.sweep("one")
    for seed in range(5):
        (results.run("one", "iprm", seed) / "log.txt").write_text(f"note {seed}\n")
    runs = load(tmp_path / "one")
    for most, read, said in (
        (2, "03", "Of 2 logs, spread evenly over those of 5 finished runs."),
        (4, "024", "Of 4 logs, spread evenly over those of 5 finished runs."),
        (5, "01234", ""),
    ):
        monkeypatch.setattr(runs_module, "NOTED", most)
        table = configuration_blocks(tmp_path, runs, "")[-1].table
        assert table is not None
        assert table.rows == [[f"note {seed}", "1"] for seed in read]
        assert table.note == said


def test_what_earlier_attempts_ended_with_is_counted_a_run(tmp_path: Path) -> None:
    results = Results(tmp_path)
    results.sweep("one")
    results.run("one", "iprm", 0)
    results.run("one", "iprm", 1, attempts=3, failures=["no room", "no room"])
    results.run("one", "iprm", 2, attempts=2, failures=["no room", "too late"])
    results.run("one", "iprm", 3, attempts=2, status="failed", reason="lost")
    begun_again = results.run("one", "iprm", 4, attempts=2, failures=["unread"])
    runs = load(tmp_path / "one")
    (begun_again / "final.json").unlink()
    block = failure_blocks(tmp_path, runs)[-1]
    assert block.text == "4 runs were started more than once (3 done, 1 failed in the end)."
    assert block.table is not None
    assert sorted(block.table.rows) == [
        ["interrupted: went on from its last checkpoint", "1"],
        ["no room", "2"],
        ["too late", "1"],
    ]
    assert failure_blocks(tmp_path, runs[runs["seed"].eq(0)]) == []
    assert failure_blocks(tmp_path, runs[runs["seed"].eq(0)].drop(columns="attempts")) == []


def test_parts_about_runs_read_as_before(tmp_path: Path) -> None:
    results = Results(tmp_path)
    results.sweep("one")
    for seed, status in enumerate(("done", "done", "failed", "diverged", "pruned", "running", "missing")):
        ended = {"reason": f"{status} on purpose", "attempts": 2} if status in ("failed", "diverged") else {}
        results.run("one", "iprm", seed, values={"alpha": 0.1 * (seed % 2)}, status=status, **ended)
        results.run("one", "bss", seed, role="reference", seconds=100.0 * seed)
    runs = load(tmp_path / "one")
    assert_reads_as_before("budgets", budget_blocks(runs, SweepRequest(None, None, (), 2, "2 runs", 20), 1))
    assert_reads_as_before("failures", failure_blocks(tmp_path, runs))
    assert_reads_as_before("environment", environment_blocks(runs))
    assert_reads_as_before("configuration", configuration_blocks(tmp_path, runs, "method: iprm\n"))


def test_no_interval_of_a_time_begins_below_zero() -> None:
    assert _mean_text(pd.Series([0.01, 0.09]), "{:.3f} s") == "0.050 s (0.000 to 0.558)"
    assert _mean_text(pd.Series([1.0, 1.1]), "{:.3f} s") == "1.050 s ± 0.635"
    assert _mean_text(pd.Series([2.0]), "{:.3f} s") == "2.000 s"
