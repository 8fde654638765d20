"""Records of runs as columns: whatever cannot be read is left out, and named."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from support.synthetic_results import Results

from sweep.results import columns as reading
from sweep.results.columns import Columns, as_columns, run_stamps, table_value
from sweep.results.tables import load
from sweep.storage.files import StoreError


@pytest.fixture
def results(tmp_path: Path) -> Results:
    made = Results(tmp_path)
    made.sweep("one")
    return made


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


@pytest.mark.parametrize("content", ["", '{"packages": 5}', "[1]", '{"command": [1]}'])
def test_an_environment_that_cannot_be_read_costs_its_columns_alone(results: Results, content: str) -> None:
    folder = results.run("one", "joint", 0)
    (folder / "environment.json").write_text(content)
    with pytest.warns(UserWarning, match=r"environment\.json cannot be read"):
        row = load(results.path / "one").iloc[0]
    assert (row["status"], row["validation_accuracy"]) == ("done", pytest.approx(0.51))


@pytest.mark.parametrize("content", [None, "", '{"hyper', "[1]", '{"metrics": {"test_accuracy": "x"}, "train": 3}'])
@pytest.mark.parametrize("name", ["config.json", "test.json"])
def test_without_its_configuration_or_its_test_a_run_has_not_ended(
    results: Results, name: str, content: str | None
) -> None:
    folder = results.run("one", "joint", 0)
    results.run("one", "joint", 1)
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_text(content)
    with pytest.warns(UserWarning, match=rf"{name} cannot be read \(.*\): run the sweep again"):
        frame = load(results.path / "one")
    assert frame["status"].tolist() == ["running", "done"]
    assert frame["test_accuracy"].notna().tolist() == [False, True]


@pytest.mark.parametrize("line", ['{"hash": "../../x"}', "[1]", "7", '{"a": 1}', '{"hash": null}'])
def test_a_line_of_an_index_that_names_no_run_is_left_out_and_named(results: Results, line: str) -> None:
    results.run("one", "joint", 0)
    index = results.path / "one" / "index.jsonl"
    index.write_text(f"{line}\n{index.read_text()}")
    with pytest.warns(UserWarning, match=r"index\.jsonl, line 1 cannot be read"):
        assert load(results.path / "one")["status"].tolist() == ["done"]


@pytest.mark.parametrize("line", ["[1]", '{"epoch": "two"}', '{"epoch": 2, "metrics": 1, "diagnostics": {}}'])
def test_a_line_that_is_no_epoch_is_left_out_and_named(results: Results, line: str) -> None:
    folder = results.run("one", "joint", 0)
    first, _, third = (folder / "metrics.jsonl").read_text().splitlines()
    (folder / "metrics.jsonl").write_text(f"{first}\n{line}\n{third}\n")
    with pytest.warns(UserWarning, match=r"metrics\.jsonl, line 2 cannot be read"):
        assert load(results.path / "one", "epoch")["epoch"].tolist() == [1, 3]


def test_a_folder_in_the_place_of_a_record_is_told(results: Results) -> None:
    folder = results.run("one", "joint", 0)
    (folder / "test.json").unlink()
    (folder / "test.json").mkdir()
    with pytest.raises(StoreError, match=r"test\.json is a folder, where a file is needed"):
        load(results.path / "one")


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


def test_many_runs_keep_their_order_and_their_missing_values(results: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "AT_ONCE", 8)
    for seed in range(50):
        results.run(
            "one", "joint", seed, epochs=1, diagnostics=(lambda e: {"late": 1.0}) if seed == 49 else lambda e: {}
        )
    frame = load(results.path / "one", "epoch")
    assert frame["seed"].tolist() == list(range(50))
    assert frame["diag.late"].notna().tolist() == [False] * 49 + [True]


def test_rows_of_different_keys_become_columns() -> None:
    assert as_columns([{"a": 1}, {"b": 2}]) == {"a": [1, None], "b": [None, 2]}
    columns = Columns("always")
    columns.extend({"a": [1, 2]}, 2)
    columns.extend({"b": [3]}, 1)
    assert columns.columns() == {"always": [None] * 3, "a": [1, 2, None], "b": [None, None, 3]}


def test_lists_and_mappings_become_json_in_a_cell() -> None:
    assert [table_value(value) for value in (1, "a", None, [1, 2], {"b": 1})] == [1, "a", None, "[1, 2]", '{"b": 1}']


def test_a_stamp_changes_with_each_file_of_a_run(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    seen = {run_stamps(tmp_path, ["a"])}
    assert seen == {run_stamps(tmp_path, ["absent"])}
    for number, name in enumerate(["metrics.jsonl", "config.json", "environment.json", "final.json", "test.json"]):
        (tmp_path / "a" / name).write_text("{}")
        seen.add(run_stamps(tmp_path, ["a"]))
        assert len(seen) == number + 2
