"""Records of runs as columns: whatever cannot be read is left out, and named."""

from __future__ import annotations

import json
import math
import re
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


def test_seeds_share_the_columns_of_their_configuration_and_nothing_else_does(results: Results) -> None:
    for seed, alpha in ((0, 0.1), (11, 0.1), (1, 0.2)):
        results.run("one", "iprm", seed, values={"alpha": alpha}, hyperparameters={"alpha": alpha, "seed": 7})
    frame = load(results.path / "one")
    assert frame[["hp.alpha", "hp.seed", "epochs"]].to_numpy().tolist() == [[0.1, 7, 3], [0.1, 7, 3], [0.2, 7, 3]]


def test_of_two_seeds_in_a_configuration_both_count_wherever_they_stand(results: Results) -> None:
    for own in (7, 8):
        path = results.run("one", "iprm", 0, values={"seed": own}, hyperparameters={"seed": own}) / "config.json"
        config = json.loads(path.read_text())
        path.write_text(json.dumps({"seed": config.pop("seed"), **config}))
    assert load(results.path / "one")["hp.seed"].tolist() == [7, 8]


def test_a_seed_that_cannot_be_read_is_not_taken_for_another(results: Results) -> None:
    results.run("one", "iprm", 0)
    path = results.run("one", "iprm", 1) / "config.json"
    path.write_text(re.sub('("seed": ?)1', r"\1 ", path.read_text()))
    with pytest.warns(UserWarning, match=r"config\.json cannot be read"):
        load(results.path / "one")


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
    columns.extend({"a": [4]}, 1)
    assert columns.columns() == {"always": [None] * 4, "a": [1, 2, None, 4], "b": [None, None, 3, None]}


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


ENTRY = {"hash": "0" * 12, "method": "joint", "label": "joint", "dataset": "d", "role": "sweep", "configuration": "c"}


@pytest.mark.parametrize(
    "wrong",
    [
        {"seed": "0"}, {"seed": None}, {"seed": 1.5}, {"seed": True}, {"seed": 2**63}, {"split": "x"}, {"number": "x"},
        {"label": 3}, {"configuration": None}, {"role": "other"}, {"values": []}, {"hash": "../x"},
    ],
)  # fmt: skip
def test_an_entry_whose_numbers_or_words_are_none_is_left_out(results: Results, wrong: dict[str, object]) -> None:
    whole = ENTRY | {"seed": 0, "values": {}}
    entries = [whole, whole | {"hash": "1" * 12, **wrong}, whole | {"hash": "2" * 12, "split": 3, "number": 2**62}]
    (results.path / "one" / "index.jsonl").write_text("".join(json.dumps(each) + "\n" for each in entries))
    with pytest.warns(UserWarning, match=r"index\.jsonl, line 2 cannot be read \(it names no run\): it is left out"):
        frame = load(results.path / "one")
    assert frame["hash"].tolist() == ["0" * 12, "2" * 12]
    assert frame["status"].tolist() == ["missing"] * 2
    assert frame["split"].tolist()[1] == 3


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("config.json", {"train": []}, "train is no mapping"),
        ("config.json", {"encoders": 1}, "encoders is no mapping"),
        ("environment.json", {"packages": []}, "packages is no mapping"),
        ("environment.json", {"folders": "x"}, "folders is no mapping"),
        ("environment.json", {"command": ["a", 1]}, "command is no list of words"),
        ("environment.json", {"gpus": [1, 2]}, "gpus is no list of words"),
        ("test.json", {"metrics": {"test_accuracy": 0.5, "test_map": "x"}}, "a metric is no number"),
        ("test.json", {"metrics": {}, "samples": "x"}, "samples is no number"),
        ("final.json", {"metrics": {}}, "it has no status"),
        ("final.json", {"status": "ended"}, "it has no status"),
        ("final.json", [], "it is no record"),
    ],
)
def test_a_record_of_other_types_is_named_with_the_reason(
    results: Results, name: str, content: object, why: str
) -> None:
    folder = results.run("one", "joint", 0)
    (folder / name).write_text(json.dumps(content))
    with pytest.warns(UserWarning, match=re.escape(f"{folder / name} cannot be read ({why}): run the sweep again")):
        load(results.path / "one")


def test_numbers_that_are_none_are_records(results: Results, recwarn: pytest.WarningsRecorder) -> None:
    folder = results.run("one", "joint", 0)
    (folder / "test.json").write_text('{"metrics": {"test_accuracy": null, "test_map": 1}, "samples": null}')
    (folder / "environment.json").write_text('{"command": [], "gpus": ["A", "B"]}')
    row = load(results.path / "one").iloc[0]
    assert (row["status"], row["test_map"], row["env.gpus"], row["env.command"]) == ("done", 1.0, "A, B", "")
    assert math.isnan(row["test_accuracy"])
    assert list(recwarn) == []


def test_environments_that_differ_in_their_start_alone_are_read_alike(results: Results) -> None:
    for seed in range(3):
        folder = results.run("one", "joint", seed)
        environment = json.loads((folder / "environment.json").read_text())
        environment["started"] = f"2026-01-0{seed + 1}"
        (folder / "environment.json").write_text(json.dumps(environment))
    frame = load(results.path / "one")
    assert frame["env.started"].tolist() == ["2026-01-01", "2026-01-02", "2026-01-03"]
    assert frame["env.git"].tolist() == ["abc1234"] * 3


def test_runs_in_several_parts_keep_what_each_says(results: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "AT_ONCE", 8)
    for seed in range(10):
        own = {"alpha": seed / 10} if seed % 2 else {}
        status = "failed" if seed == 2 else "done"
        results.run("one", "iprm", seed, {"multi": 0.5 + seed / 100}, hyperparameters=own, status=status, epochs=2)
    frame = load(results.path / "one")
    known = [math.nan if seed == 2 else 0.5 + seed / 100 for seed in range(10)]
    assert frame["test_accuracy"].tolist() == pytest.approx(known, nan_ok=True)
    alphas = [seed / 10 if seed % 2 else math.nan for seed in range(10)]
    assert frame["hp.alpha"].tolist() == pytest.approx(alphas, nan_ok=True)
    assert frame["status"].tolist() == ["failed" if seed == 2 else "done" for seed in range(10)]
    assert frame["test_samples"].isna().tolist() == [seed == 2 for seed in range(10)]
    epochs = load(results.path / "one", "epoch")
    assert epochs[["seed", "epoch"]].to_numpy().tolist() == [[seed, epoch] for seed in range(10) for epoch in (1, 2)]


def test_an_end_without_its_test_is_none_but_where_nothing_was_tested(results: Results) -> None:
    for seed, status in enumerate(("done", "pruned", "diverged", "failed")):
        folder = results.run("one", "joint", seed, status=status)
        (folder / "test.json").unlink(missing_ok=True)
        if status == "failed":
            (folder / "config.json").unlink()
    with pytest.warns(UserWarning, match=r"0000000001/test\.json cannot be read \(it is missing\)") as told:
        frame = load(results.path / "one")
    assert frame["status"].tolist() == ["running", "pruned", "diverged", "failed"]
    assert len(told) == 1
