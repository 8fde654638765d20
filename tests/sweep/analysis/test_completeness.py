"""Completeness: the request of a sweep, its race, and the state of each configuration."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pandas as pd
import pytest
from support.small_runs import make_plan
from support.synthetic_results import Results, pareto_search

from sweep.analysis import completeness
from sweep.analysis.completeness import (
    COMPLETE,
    SweepRequest,
    completeness_table,
    left_out_configurations,
    plan_outline,
    raced_out_seeds,
    read_request,
)
from sweep.commands.outlines import outline
from sweep.config import freeze
from sweep.results.outline import keep_outline
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


def test_what_an_outline_says_of_the_frozen_sweep_is_not_planned_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = make_plan(tmp_path, method="unimodal", vary={"modality": {"grid": ["left", "x"]}}, not_applicable="skip")
    folder, text = tmp_path / "s", freeze(planned.sweep)
    folder.mkdir()
    (folder / "sweep.yaml").write_text(text)
    counted, left_out = read_request(folder).expected_runs, left_out_configurations(folder)
    assert (counted, left_out) == (2, planned.not_applicable)
    keep_outline(folder, outline(planned))
    monkeypatch.setattr(completeness, "plan", None)
    monkeypatch.setattr(completeness, "load_frozen", None)
    assert (read_request(folder).expected_runs, left_out_configurations(folder)) == (counted, left_out)
    (folder / "sweep.yaml").write_text(text.replace("epochs: 3", "epochs: 4") + "\n")
    assert plan_outline(folder) is None


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


def rows_of(**columns: object) -> pd.DataFrame:
    """Rows of one study, one a run; configuration a, where nothing else is said."""
    count = max(len(value) for value in columns.values() if isinstance(value, list))
    plain = {"label": "l", "dataset": "d", "role": "sweep", "configuration": "a", "status": "done"}
    return pd.DataFrame({"hash": [f"{number}" for number in range(count)], **plain, **columns})


def test_what_is_not_ranked_says_the_first_reason() -> None:
    table = completeness_table(
        rows_of(
            configuration=[*"aabbbcdeeff"],
            status=[
                *("done", "done"), *("done", "failed", "pruned"), "pruned", "missing",
                *("failed", "diverged"), *("diverged", "failed"),
            ],
            epochs_trained=[5, 5, 5, 2, 3, 4.0, None, 1, 2, 1, 1],
        ),
        out={("l", "d", -1, "c"): 1},
    )  # fmt: skip
    assert table.to_dict("list") == {
        "label": ["l"] * 6, "dataset": ["d"] * 6, "role": ["sweep"] * 6, "configuration": [*"abcdef"],
        "n": [2, 1, 0, 0, 0, 0], "epochs": pytest.approx([5, 5, 4, math.nan, 2, 1], nan_ok=True),
        "state": [
            COMPLETE, "pruned after 5 epochs", "out of the race after 0 seeds", "0 seeds so far",
            "1 failed, 1 diverged", "1 failed, 1 diverged",
        ],
        "ranked": [True, False, False, False, False, False],
    }  # fmt: skip


def test_as_many_seeds_as_the_sweep_asks_for_are_wanted_but_under_report_seeds() -> None:
    rows = rows_of(configuration=[*"aabab"], role=["sweep"] * 3 + ["report"] * 2)
    assert completeness_table(rows, seeds=2)["ranked"].tolist() == [True, False, True, True]
    assert completeness_table(rows, seeds=3)["ranked"].tolist() == [False, False, True, True]
    assert completeness_table(rows, seeds=1)["ranked"].tolist() == [True] * 4
    assert completeness_table(rows)["ranked"].tolist() == [True, False, True, True]
    nothing = completeness_table(rows.assign(status="missing"))
    assert not nothing["ranked"].any()
    assert nothing["epochs"].tolist() == [0] * 4


def test_seeds_are_counted_a_split_and_a_run_once() -> None:
    rows = rows_of(configuration=[*"aaaabb"], split=[0, 0, 1, 1, 0, 0])
    assert completeness_table(rows, seeds=2)["ranked"].tolist() == [True, True]
    assert completeness_table(rows)["n"].tolist() == [4, 2]
    again = pd.concat([rows, rows])
    assert completeness_table(again)["n"].tolist() == [4, 2]
    assert completeness_table(rows.iloc[1:], seeds=2)["ranked"].tolist() == [False, True]
    # A race on one split is no race on the other.
    out = {("l", "d", 1, "b"): 1}
    fewer = completeness_table(rows.iloc[:5], seeds=2, out=out)
    assert fewer["state"].tolist() == [COMPLETE, "1 seed so far"]
    assert completeness_table(rows.iloc[:5], seeds=2, out={("l", "d", 0, "b"): 1})["state"].tolist() == [
        COMPLETE,
        "out of the race after 1 seed",
    ]
