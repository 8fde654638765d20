"""Tables read off run folders: whole, broken off, failed and shared ones."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from helpers_results import Results, alpha_sweep

from sweep import reading
from sweep.results import ResultsError, indexed, load, write_tables


@pytest.fixture
def results(tmp_path: Path) -> Results:
    made = Results(tmp_path)
    made.sweep("one")
    return made


def test_a_run_is_a_row(results: Results) -> None:
    results.run(
        "one",
        "iprm",
        7,
        {"multi": 0.9, "left": 0.8, "profile": 0.3},
        values={"alpha": 0.5, "train.lr": 0.01},
        hyperparameters={"kind": "geodesic"},
        peak=0.02,
        number=4,
    )
    row = load(results.path / "one").iloc[0].to_dict()
    expected = {
        "sweep": "one",
        "method": "iprm",
        "label": "iprm",
        "dataset": "digits",
        "seed": 7,
        "status": "done",
        "role": "sweep",
        "number": 4,
        "point": "alpha=0.5, train.lr=0.01",
        "vary.alpha": 0.5,
        "vary.train.lr": 0.01,
        "hp.alpha": 0.5,
        "hp.kind": "geodesic",
        "train.lr": 0.01,
        "train.betas": "[0.9, 0.999]",
        "data.train_samples": 600,
        "encoder.left": '{"name": "mlp", "width": 64}',
        "fingerprint": "f00d",
        "metric": "accuracy",
        "epoch": 3,
        "epochs": 3,
        "validation_accuracy": 0.91,
        "test_accuracy": 0.9,
        "test_map_left": 0.82,
        "test_macro_f1_profile": 0.29,
        "test_peak_accuracy": 0.92,
        "validation_imbalance": 0.4,
        "test_shapley_left": 0.5,
        "samples": 1800,
        "seconds": 3.0,
        "peak_memory_mib": 100.0,
        "workers": 1,
        "env.git": "abc1234",
        "env.packages.torch": "2.11.0",
        "env.command": "python -m sweep",
    }
    assert {key: row[key] for key in expected} == pytest.approx(expected)
    assert row["hash"] == "000000000001"


def test_every_status_is_told_apart(results: Results) -> None:
    for seed, status in enumerate(["done", "pruned", "diverged", "failed", "running", "missing"]):
        results.run("one", "joint", seed, status=status, reason="why" if status == "failed" else None)
    frame = load(results.path / "one").set_index("seed")
    assert frame["status"].tolist() == ["done", "pruned", "diverged", "failed", "running", "missing"]
    assert frame["reason"][3] == "why"
    assert frame["test_accuracy"].notna().tolist() == [True] + 5 * [False]


def test_a_folder_without_an_epoch_is_missing(results: Results) -> None:
    folder = results.run("one", "joint", 0, status="running")
    (folder / "metrics.jsonl").write_text('{"epoch": 1, "lo')
    assert load(results.path / "one")["status"].tolist() == ["missing"]
    assert load(results.path / "one", "epoch").empty


def test_epochs_leave_out_the_torn_line_and_keep_the_last_of_two(results: Results) -> None:
    folder = results.run("one", "iprm", 0, values={"alpha": 0.1}, diagnostics=lambda epoch: {"lambda": 0.1 * epoch})
    again = json.loads((folder / "metrics.jsonl").read_text().splitlines()[1]) | {"loss": None}
    with (folder / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(again) + '\n{"epoch": 4, "los')
    frame = load(results.path / "one", "epoch")
    assert frame["epoch"].tolist() == [1, 2, 3]
    assert frame["diag.lambda"].tolist() == pytest.approx([0.1, 0.2, 0.3])
    assert frame["loss"].tolist() == pytest.approx([1.0, math.nan, 1 / 3], nan_ok=True)
    assert set(frame["vary.alpha"]) == {0.1}
    assert {"validation_accuracy_left", "learning_rate", "hp.alpha", "status", "seconds"} <= set(frame)


@pytest.mark.parametrize("content", ['{"status": "do', "", "\0\0"])
def test_a_commit_that_cannot_be_read_is_none_and_said_so(results: Results, content: str) -> None:
    folder = results.run("one", "joint", 0)
    results.run("one", "joint", 1)
    (folder / "final.json").write_text(content)
    with pytest.warns(UserWarning, match=r"final\.json cannot be read .* run the sweep again"):
        assert load(results.path / "one")["status"].tolist() == ["running", "done"]


@pytest.mark.parametrize("name", ["config.json", "environment.json", "test.json"])
def test_another_record_that_cannot_be_read_costs_its_columns_alone(results: Results, name: str) -> None:
    folder = results.run("one", "joint", 0)
    (folder / name).write_bytes(b"")
    with pytest.warns(UserWarning, match=name):
        row = load(results.path / "one").iloc[0]
    assert (row["status"], row["validation_accuracy"]) == ("done", pytest.approx(0.51))


def test_a_line_that_cannot_be_read_is_left_out_and_named(results: Results) -> None:
    folder = results.run("one", "joint", 0)
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    (folder / "metrics.jsonl").write_text("\n".join([lines[0], "{", lines[2]]))
    with pytest.warns(UserWarning, match=r"metrics\.jsonl, line 2 cannot be read"):
        assert load(results.path / "one", "epoch")["epoch"].tolist() == [1, 3]


def test_two_records_on_one_line_are_none(results: Results) -> None:
    folder = results.run("one", "joint", 0)
    first, second, third = (folder / "metrics.jsonl").read_text().splitlines()
    (folder / "metrics.jsonl").write_text(f"{first}{second}\n{third}\n")
    with pytest.warns(UserWarning, match=r"metrics\.jsonl, line 1 cannot be read"):
        assert load(results.path / "one", "epoch")["epoch"].tolist() == [3]


def test_epochs_keep_numbers_that_are_none(results: Results) -> None:
    values = {1: math.nan, 2: math.inf, 3: 1e-17}
    results.run("one", "joint", 0, diagnostics=lambda epoch: {"lambda": values[epoch], "a.b": 1.0})
    frame = load(results.path / "one", "epoch")
    assert frame["diag.lambda"].tolist() == pytest.approx(list(values.values()), nan_ok=True)
    assert frame["diag.a.b"].tolist() == [1.0] * 3


def test_tables_on_disk_are_never_read(results: Results) -> None:
    folder = results.run("one", "joint", 0)
    write_tables(results.path, "one")
    final = json.loads((folder / "final.json").read_text()) | {"status": "diverged"}
    (folder / "final.json").write_text(json.dumps(final))
    assert load(results.path / "one")["status"].tolist() == ["diverged"]
    stored = write_tables(results.path, "one")[0]
    assert pd.read_parquet(stored)["status"].tolist() == ["diverged"]


def test_what_was_read_is_read_again_when_it_has_changed(results: Results) -> None:
    folder = results.run("one", "joint", 0)
    first = load(results.path / "one")
    first.loc[0, "test_accuracy"] = -1.0
    assert load(results.path / "one")["test_accuracy"].tolist() == [0.5]
    final = json.loads((folder / "final.json").read_text()) | {"status": "failed", "reason": "another machine"}
    (folder / "final.json").write_text(json.dumps(final))
    assert load(results.path / "one")["status"].tolist() == ["failed"]
    results.run("one", "joint", 1)
    assert len(load(results.path / "one")) == 2
    assert len(load(results.path / "one", "epoch")) == 6


def test_many_runs_keep_their_order_and_their_missing_values(results: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "AT_ONCE", 8)
    for seed in range(50):
        results.run(
            "one", "joint", seed, epochs=1, diagnostics=(lambda e: {"late": 1.0}) if seed == 49 else lambda e: {}
        )
    frame = load(results.path / "one", "epoch")
    assert frame["seed"].tolist() == list(range(50))
    assert frame["diag.late"].notna().tolist() == [False] * 49 + [True]


def test_all_sweeps_share_their_runs(results: Results) -> None:
    results.sweep("two")
    results.run("one", "joint", 0)
    (results.path / "two" / "index.jsonl").write_text((results.path / "one" / "index.jsonl").read_text())
    frame = load(results.path)
    assert frame["sweep"].tolist() == ["one", "two"]
    assert frame["hash"].nunique() == 1
    assert frame["test_accuracy"].notna().all()


def test_a_null_is_a_value_and_an_unvaried_name_is_not(results: Results) -> None:
    results.run("one", "lfa", 0, values={"clip": None})
    results.run("one", "lfa", 0, values={"tau": 1})
    frame = load(results.path / "one")
    assert frame["vary.clip"][0] == "null"
    assert pd.isna(frame["vary.clip"][1])
    assert pd.isna(frame["vary.tau"][0])


def test_index_lines_that_repeat_count_once(results: Results) -> None:
    results.run("one", "joint", 0)
    index = results.path / "one" / "index.jsonl"
    index.write_text(2 * index.read_text() + '{"hash": "0000')
    assert len(load(results.path / "one")) == 1
    assert [entry.method for entry in indexed(results.path, "one")] == ["joint", "joint"]
    assert indexed(results.path, "absent") == []


def test_a_folder_without_results_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match="no results in"):
        load(tmp_path)


def test_an_unknown_level_is_refused(results: Results) -> None:
    with pytest.raises(ResultsError, match="'run' or 'epoch'"):
        load(results.path / "one", "seed")  # type: ignore[arg-type]


def test_an_empty_sweep_has_the_columns_of_the_contract(results: Results) -> None:
    frame = load(results.path / "one")
    assert frame.empty
    assert {"sweep", "status", "epoch", "test_peak_macro_f1", "validation_map"} <= set(frame)


def test_tables_on_disk_equal_those_in_memory(tmp_path: Path) -> None:
    results = alpha_sweep(tmp_path, range(2), failing=False)
    results.run("iprm-alpha", "iprm", 0, values={"alpha": "auto"})
    paths = write_tables(tmp_path, "iprm-alpha")
    assert [path.name for path in paths] == ["runs.parquet", "runs.csv", "epochs.parquet"]
    runs, epochs = load(tmp_path / "iprm-alpha"), load(tmp_path / "iprm-alpha", "epoch")
    stored = pd.read_parquet(paths[0])
    assert stored["test_accuracy"].tolist() == runs["test_accuracy"].tolist()
    assert stored["vary.alpha"].dropna().tolist() == [str(v) for v in runs["vary.alpha"].dropna()]
    assert len(pd.read_csv(paths[1])) == len(runs)
    assert len(pd.read_parquet(paths[2])) == len(epochs)
    assert not list((tmp_path / "iprm-alpha").glob(".*"))


def test_reading_an_index_imports_no_pandas() -> None:
    code = "import sys, sweep.results; print('pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
