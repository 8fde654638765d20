"""What comes after a sweep, as a user does it: export the winner, predict, replay, clean."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from desk import Desk

import data
import sweep
from sweep.cleaning import remove, waste
from sweep.export import export
from sweep.model import ModelError, load_model
from sweep.predict import predict, read_arrays, read_split
from sweep.records import FinalRecord
from sweep.replay import Number, ReplayError, find_run
from sweep.results import load
from sweep.store import Store

SWEEP: dict[str, Any] = {
    "methods": ["iprm", {"method": "aug", "hyperparameters": {"assign_every": 1, "dead_zone": 0.0}}],
    "datasets": ["digits"],
    "data": {"digits": {"train_samples": 200}},
    "vary": {"train.lr": {"grid": [0.001, 0.05]}},
    "seeds": [0, 1],
    "epochs": 3,
    "references": False,
}


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """A folder in which the sweep ``s`` has run."""
    desk = Desk(tmp_path_factory.mktemp("after"))
    desk.write(s=SWEEP)
    code, _, err = desk.run("run", "s", "--local", "--no-report")
    assert (code, err) == (0, "")
    return desk


@pytest.fixture
def store(desk: Desk, tmp_path: Path) -> Store:
    """A copy of its results, to be changed."""
    shutil.copytree(desk.folder / "results", tmp_path / "results")
    return Store(tmp_path / "results")


def recorded(store: Store, run_hash: str) -> dict[str, float]:
    """Test metrics that the run left."""
    found: Mapping[str, Any] = json.loads((store.run(run_hash).path / "test.json").read_text())
    return dict(found["metrics"])


@pytest.mark.parametrize("label", ["iprm", "aug"])
def test_an_exported_model_predicts_what_the_run_recorded(store: Store, tmp_path: Path, label: str) -> None:
    card = export(store, "s", tmp_path / "model", label=label)
    model = load_model(tmp_path / "model")
    _, scores = predict(model, read_split(model, "test", {}), [])
    expected = recorded(store, card.hash)
    assert card.label == label
    for name, value in scores.items():
        assert value == pytest.approx(expected[f"test_{name}"], abs=1e-6), name
    assert {"accuracy", "map", "macro_f1", "accuracy_left"} <= scores.keys()


def test_the_best_run_is_chosen_on_validation_data_over_all_seeds(store: Store, tmp_path: Path) -> None:
    rows = load(store.results / "s")
    rows = rows[rows["label"].eq("iprm")]
    means = rows.groupby("configuration")["validation_accuracy"].mean()
    best = rows[rows["configuration"].eq(means.idxmax())]
    expected = best.loc[best["validation_accuracy"].idxmax(), "hash"]
    assert export(store, "s", tmp_path / "model", label="iprm").hash == expected


def test_a_named_run_whose_weights_were_dropped_is_refused_with_the_remedy(store: Store, tmp_path: Path) -> None:
    dropped = next(
        h for h in load(store.results / "s")["hash"] if not (store.run(h).path / "weights.safetensors").exists()
    )
    with pytest.raises(ModelError, match="keep: all"):
        export(store, "s", tmp_path / "model", run=dropped[:8])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"run": "zz"}, "no single run 'zz'"),
        ({"label": "iprn"}, "did you mean iprm"),
        ({"dataset": "digit"}, "did you mean digits"),
    ],
)
def test_export_names_what_there_is(store: Store, tmp_path: Path, options: dict[str, str], said: str) -> None:
    with pytest.raises(ModelError, match=said):
        export(store, "s", tmp_path / "model", **options)


def test_a_loaded_model_checks_its_inputs_and_zeroes_absent_modalities(store: Store, tmp_path: Path) -> None:
    export(store, "s", tmp_path / "model", label="iprm")
    model = sweep.load_model(tmp_path / "model")
    digits = data.get("digits")
    split = digits.load(digits.Options(train_samples=200)).test
    left, profile = split.inputs["left"][:5], split.inputs["profile"][:5]
    whole = model.predict({"left": left, "profile": profile})
    assert whole.shape == (5, 10)
    torch.testing.assert_close(whole.sum(1), torch.ones(5))
    alone = model.predict({"left": left})
    torch.testing.assert_close(alone, model.predict({"left": left, "profile": profile}, present=["left"]))
    assert not torch.equal(alone, whole)
    for wrong, said in [
        ({"lefft": left}, "no modality called 'lefft'"),
        ({"left": left, "profile": profile[:3]}, "left 5, profile 3"),
        ({"left": left[:, :3]}, "has shape"),
        ({"left": left * float("nan")}, "not finite"),
        ({}, "no input"),
    ]:
        with pytest.raises(ModelError, match=said):
            model.predict(wrong)


def test_arrays_of_a_file_are_predicted_with_and_without_labels(store: Store, tmp_path: Path) -> None:
    card = export(store, "s", tmp_path / "model", label="iprm")
    model = load_model(tmp_path / "model")
    test = read_split(model, "test", {})
    arrays = {name: np.asarray(values) for name, values in test.inputs.items()}
    np.savez(tmp_path / "known.npz", labels=np.asarray(test.labels), **arrays)
    np.savez(tmp_path / "unknown.npz", **arrays)
    table, scores = predict(model, read_arrays(tmp_path / "known.npz", model), [])
    assert scores["accuracy"] == pytest.approx(recorded(store, card.hash)["test_accuracy"], abs=1e-6)
    assert (table["prediction"] == table["label"]).mean() == pytest.approx(scores["accuracy"], abs=1e-6)
    assert np.allclose(table[[f"p_{c}" for c in model.classes]].sum(axis=1), 1, atol=1e-5)
    table, scores = predict(model, read_arrays(tmp_path / "unknown.npz", model), ["profile"])
    assert scores == {}
    assert "label" not in table
    assert "prediction_profile" not in table
    np.savez(tmp_path / "wrong.npz", labels=np.full(len(arrays["left"]), 10), **arrays)
    (tmp_path / "text.npz").write_text("nothing")
    for name, said in [("wrong", "from 0 to 9"), ("text", "no npz file"), ("missing", "does not exist")]:
        with pytest.raises(ModelError, match=said):
            read_arrays(tmp_path / f"{name}.npz", model)
    with pytest.raises(ModelError, match="no option of digits called 'root'"):
        read_split(model, "test", {"root": "elsewhere"})


def test_a_folder_without_a_model_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"model\.json"):
        load_model(tmp_path)
    (tmp_path / "model.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(ModelError):
        load_model(tmp_path)


def test_clean_frees_what_no_number_needs_and_leaves_what_is_trained_now(store: Store) -> None:
    assert list(waste(store)) == []
    runs = sorted(path.name for path in store.results.glob("runs/*") if not (path / "weights.safetensors").exists())
    failed, ended, orphan = store.run(runs[0]), store.run(runs[1]), store.run("0" * 16)
    for folder in (failed, ended):
        (folder.path / "checkpoint.pt").write_bytes(b"x" * 100)
    (failed.path / "final.json").write_text(FinalRecord(status="failed", reason="r").model_dump_json())
    orphan.path.mkdir()
    (orphan.path / "final.json").write_text(FinalRecord(status="done").model_dump_json())

    found = list(waste(store))
    assert [(each.path, each.bytes) for each in found] == [(ended.path / "checkpoint.pt", 100)]
    claim = store.claim(ended.path.name)
    assert claim is not None
    # Another process would hold it; within one process a second lock object is enough.
    assert remove(Store(store.results), found) == ([], 1)
    claim.release()
    assert remove(store, found) == (found, 0)
    assert not (ended.path / "checkpoint.pt").exists()
    assert (failed.path / "checkpoint.pt").exists()

    assert [each.path for each in waste(store, orphans=True)] == [orphan.path]
    remove(store, list(waste(store, orphans=True)))
    assert not orphan.path.exists()
    remove(store, list(waste(store, keep="none")))
    assert list(store.results.glob("runs/*/weights.safetensors")) == []
    assert len(load(store.results / "s")) == 8


def test_numbers_are_the_same_within_a_millionth() -> None:
    assert Number("a", 0.5, 0.5 + 9e-7).same
    assert not Number("a", 0.5, 0.5 + 2e-6).same
    assert Number("a", float("nan"), float("nan")).same
    assert not Number("a", 0.5, None).same


def test_a_run_is_found_by_the_beginning_of_its_hash(store: Store) -> None:
    whole = next(store.results.glob("runs/*")).name
    assert find_run(store, whole[:12]) == whole
    with pytest.raises(ReplayError, match="no single run"):
        find_run(store, "nothing")


def test_the_commands_export_predict_replay_and_clean(desk: Desk) -> None:
    code, out, err = desk.run("export", "s", "--label", "aug", "--to", "model")
    assert (code, err) == (0, "")
    assert "aug on digits, run" in out
    code, out, err = desk.run("predict", "model", "--split", "validation", "--without", "profile")
    assert (code, err) == (0, "")
    assert "accuracy" in out
    assert len(pd.read_csv(desk.folder / "predictions.csv")) > 50
    code, _, err = desk.run("predict", "nowhere")
    assert code == 2
    assert "holds no model" in err

    run = json.loads((desk.folder / "model" / "model.json").read_text())["hash"]
    code, out, err = desk.run("replay", run[:10], "--local")
    assert (code, err) == (0, "")
    assert "reproduced" in out
    final = desk.folder / "results" / "runs" / run / "final.json"
    record = json.loads(final.read_text())
    record["metrics"]["validation_accuracy"] += 0.01
    final.write_text(json.dumps(record))
    code, out, _ = desk.run("replay", run[:10], "--local")
    assert code == 1
    assert "NOT reproduced: 1 differ" in out

    code, out, err = desk.run("clean", "--keep", "none", "--dry-run")
    assert (code, err) == (0, "")
    assert "would be freed" in out
    assert (desk.folder / "results" / "runs" / run / "weights.safetensors").exists()
