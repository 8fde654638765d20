"""Tables read off run folders: whole, broken off, failed and shared ones."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pandas as pd
import pytest
from support.forked_programs import printed
from support.synthetic_results import Results, alpha_sweep

from sweep.results import tables as reading
from sweep.results.tables import ResultsError, index_entries, load, point_text, write_tables
from sweep.storage.files import StoreError


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


@pytest.mark.parametrize("file", ["config.json", "test.json", "metrics.jsonl"])
@pytest.mark.filterwarnings("ignore")
def test_a_damaged_file_that_is_put_back_is_read_again(results: Results, file: str) -> None:
    folder = results.run("one", "joint", 0)
    first, epochs = load(results.path / "one"), load(results.path / "one", "epoch")
    content = (folder / file).read_bytes()
    (folder / file).write_bytes(b"[]")
    load(results.path / "one")
    load(results.path / "one", "epoch")
    (folder / file).write_bytes(content)
    pd.testing.assert_frame_equal(load(results.path / "one"), first)
    pd.testing.assert_frame_equal(load(results.path / "one", "epoch"), epochs)


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
    assert [entry.method for entry in index_entries(results.path, "one")] == ["joint", "joint"]
    assert index_entries(results.path, "absent") == []


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


def test_tables_that_cannot_be_written_are_told(tmp_path: Path) -> None:
    alpha_sweep(tmp_path, range(1), failing=False)
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"runs\.parquet"):
        write_tables(tmp_path, "iprm-alpha", tmp_path / "file")


def test_severities_have_a_column_and_stand_behind_the_other_values_of_a_point(results: Results) -> None:
    results.run("one", "joint", 0, values={"data.digits.corrupt.profile.noise": 2, "alpha": 0.5})
    results.run("one", "joint", 1, values={"alpha": 0.5})
    frame = load(results.path / "one")
    assert frame["point"].tolist() == ["alpha=0.5, data.digits.corrupt.profile.noise=2", "alpha=0.5"]
    assert frame["severity"][0] == "data.digits.corrupt.profile.noise=2"
    assert pd.isna(frame["severity"][1])


@pytest.mark.parametrize("seed", [2**63, -(2**63), True, 1.0, "1", None])
def test_a_line_whose_seed_is_no_whole_number_of_64_bits_names_no_run(results: Results, seed: object) -> None:
    for number in range(2):
        results.run("one", "joint", number)
    index = results.path / "one" / "index.jsonl"
    first, second = (json.loads(line) for line in index.read_text().splitlines())
    lines = [first | {"seed": 2**63 - 1}, second | {"seed": seed}]
    index.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.warns(UserWarning, match="line 2.*names no run"):
        assert load(results.path / "one")["seed"].tolist() == [2**63 - 1]


def test_reading_an_index_imports_no_pandas() -> None:
    code = "import sys, sweep.results; print('pandas' in sys.modules)"
    assert printed(code) == "False\n"


def test_an_index_without_a_line_gives_tables_without_a_row(results: Results) -> None:
    runs, epochs = load(results.path / "one"), load(results.path / "one", "epoch")
    assert (len(runs), len(epochs)) == (0, 0)
    assert {"hash", "label"} <= {*runs} & {*epochs}


def test_frames_of_the_folder_that_was_read_last_are_kept_of_both_levels(
    results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    results.sweep("two")
    for sweep in ("one", "two"):
        results.run(sweep, "joint", 0)
    first, epochs = load(results.path / "one"), load(results.path / "one", "epoch")
    reads = list[str]()
    monkeypatch.setattr(reading, "read_runs", lambda *given, own=reading.read_runs: reads.append("runs") or own(*given))
    monkeypatch.setattr(
        reading, "read_epochs", lambda *given, own=reading.read_epochs: reads.append("epochs") or own(*given)
    )
    pd.testing.assert_frame_equal(load(results.path / "one"), first)
    pd.testing.assert_frame_equal(load(results.path / "one", "epoch"), epochs)
    assert reads == []
    load(results.path / "two")
    assert reads == ["runs"]
    load(results.path / "one")  # left for the other
    assert reads == ["runs"] * 2


def test_studies_stand_in_one_piece_in_the_order_of_their_first_runs(results: Results) -> None:
    for method, seed in (("iprm", 0), ("joint", 0), ("iprm", 1), ("bss", 0), ("joint", 1)):
        results.run("one", method, seed)
    frame = load(results.path / "one")
    assert frame["method"].tolist() == ["iprm", "iprm", "joint", "joint", "bss"]
    assert frame["seed"].tolist() == [0, 1, 0, 1, 0]


def test_columns_stand_by_what_they_tell(results: Results) -> None:
    results.run("one", "iprm", 0, values={"alpha": 0.5})
    groups = [name.partition(".")[0] if "." in name else "" for name in load(results.path / "one")]
    assert [name for name, _ in itertools.groupby(groups)] == ["", "vary", "hp", "train", "data", "encoder", "", "env"]


def test_a_split_is_what_the_index_says_else_what_the_data_was(results: Results) -> None:
    for seed in range(3):
        folder = results.run("one", "joint", seed)
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | {"data": {"split_seed": 5} if seed else {}}))
    index = results.path / "one" / "index.jsonl"
    lines = [json.loads(line) for line in index.read_text().splitlines()]
    lines[2]["split"] = 7
    index.write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = load(results.path / "one")["split"]
    assert found.isna().tolist() == [True, False, False]
    assert found.tolist()[1:] == [5, 7]


def test_varied_values_are_written_as_they_are_read() -> None:
    values = {"a": 0.1, "b": 1e-7, "c": None, "d": [1, 2], "e": "word", "f": True, "g": 3}
    assert point_text(values) == "a=0.1, b=1e-07, c=null, d=[1, 2], e=word, f=true, g=3"
    assert point_text({}) == ""
