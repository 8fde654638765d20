"""Completeness: the request of a sweep, its race, and the state of each configuration."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.synthetic_results import Results, pareto_search

from sweep.analysis.completeness import (
    COMPLETE,
    SweepRequest,
    completeness_table,
    left_out_configurations,
    raced_out_seeds,
    read_request,
)
from sweep.results.tables import load


def test_the_state_says_why_a_configuration_is_not_ranked(tmp_path: Path) -> None:
    results = Results(tmp_path)
    results.sweep("one")
    ends = {0.1: ["done", "done"], 0.2: ["done", "failed"], 0.3: ["diverged", "done"], 0.4: ["done", "running"]}
    for alpha, statuses in ends.items():
        for seed, status in enumerate(statuses):
            results.run("one", "iprm", seed, values={"alpha": alpha}, status=status)
    found = completeness_table(load(tmp_path / "one"))
    assert found["state"].tolist() == [COMPLETE, "1 failed", "1 diverged", "1 seed so far"]
    assert not completeness_table(load(tmp_path / "one"), seeds=3)["ranked"].any()


def test_the_request_is_read_from_the_frozen_sweep(tmp_path: Path) -> None:
    folder = tmp_path / "two"
    folder.mkdir()
    (folder / "sweep.yaml").write_text("title: T\nseeds: [0, 1]\nbudget: {runs: 5, hours: 0.5}\nreproduces: Figure 1\n")
    assert read_request(folder) == SweepRequest("T", "Figure 1", (), 2, "5 runs or 0.5 hours", None)


def test_a_sweep_without_its_file_asks_for_nothing(tmp_path: Path) -> None:
    assert read_request(tmp_path) == SweepRequest(None, None, (), 0, "", None)


def test_runs_are_counted_where_the_sweep_can_be_planned(tmp_path: Path) -> None:
    text = "sweeps: {one: {method: iprm, datasets: [digits], seeds: [0, 1], epochs: 1, references: false}}\n"
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "sweep.yaml").write_text(text)
    assert read_request(tmp_path / "one").expected_runs == 2
    (tmp_path / "one" / "sweep.yaml").write_text(text.replace("digits", "no_such_dataset"))
    assert read_request(tmp_path / "one").expected_runs is None


def test_the_race_tells_after_how_many_seeds_a_configuration_was_out(tmp_path: Path) -> None:
    folder = pareto_search(tmp_path).path / "two"
    assert raced_out_seeds(folder) == {("iprm", "digits", -1, 'digits-iprm-{"alpha": 0.4}'): 1}
    assert raced_out_seeds(tmp_path / "nowhere") == {}


def test_a_line_of_the_race_that_is_no_decision_is_passed_over(tmp_path: Path) -> None:
    line = {"label": "l", "dataset": "d", "configuration": "c", "number": 1, "objective": "accuracy", "seeds": [0, 1]}
    lines = [{"label": "l"}, line | {"stays": False}, line | {"configuration": "e", "stays": True}, {"stays": False}]
    (tmp_path / "race.jsonl").write_text("".join(json.dumps(each) + "\n" for each in lines))
    assert raced_out_seeds(tmp_path) == {("l", "d", -1, "c"): 2}


@pytest.mark.parametrize(
    "written",
    [
        b"\x80\xff",
        b"",
        b"a: [",
        b"[]",
        b"sweeps: 3",
        b"sweeps: {two: []}",
        b"sweeps: {two: {budget: {runs: x}, search: 1}}",
    ],
)
def test_a_frozen_sweep_that_is_damaged_is_told_of_and_asks_for_nothing(
    tmp_path: Path, written: bytes, recwarn: pytest.WarningsRecorder
) -> None:
    folder = tmp_path / "two"
    folder.mkdir()
    (folder / "sweep.yaml").write_bytes(written)
    assert read_request(folder) == SweepRequest(None, None, (), 0, "", None)
    assert left_out_configurations(folder) == []
    told = [str(warning.message) for warning in recwarn]
    assert all(str(folder / "sweep.yaml") in each for each in told)
    assert len(told) == (not written.startswith(b"sweeps"))
