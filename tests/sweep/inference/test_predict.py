"""Predictions of arrays in a file, with and without labels."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from sweep.inference.export import export_model
from sweep.inference.model import ModelError, load_model
from sweep.inference.predict import prediction_table, read_arrays, read_split
from sweep.runs.store import Store


def recorded(store: Store, run_hash: str) -> dict[str, float]:
    """Test metrics that the run left."""
    found: dict[str, dict[str, float]] = json.loads((store.run(run_hash).path / "test.json").read_text())
    return found["metrics"]


def test_arrays_of_a_file_are_predicted_with_and_without_labels(store: Store, tmp_path: Path) -> None:
    card = export_model(store, "s", tmp_path / "model", label="iprm")
    model = load_model(tmp_path / "model")
    test = read_split(model, "test", {})
    arrays = {name: np.asarray(values) for name, values in test.inputs.items()}
    np.savez(tmp_path / "known.npz", labels=np.asarray(test.labels), **arrays)
    np.savez(tmp_path / "unknown.npz", **arrays)
    table, scores = prediction_table(model, read_arrays(tmp_path / "known.npz", model), [])
    assert scores["accuracy"] == pytest.approx(recorded(store, card.hash)["test_accuracy"], abs=1e-6)
    assert (table["prediction"] == table["label"]).mean() == pytest.approx(scores["accuracy"], abs=1e-6)
    assert np.allclose(table[[f"p_{c}" for c in model.classes]].sum(axis=1), 1, atol=1e-5)
    table, scores = prediction_table(model, read_arrays(tmp_path / "unknown.npz", model), ["profile"])
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


def test_a_modality_to_leave_out_must_exist(store: Store, tmp_path: Path) -> None:
    export_model(store, "s", tmp_path / "model", label="iprm")
    model = load_model(tmp_path / "model")
    with pytest.raises(ModelError, match="no modality called 'lefft'; did you mean left"):
        prediction_table(model, read_split(model, "test", {}), ["lefft"])


def test_a_file_that_is_damaged_or_of_odd_arrays_is_told_in_a_line(store: Store, tmp_path: Path) -> None:
    export_model(store, "s", tmp_path / "model", label="iprm")
    model, path = load_model(tmp_path / "model"), tmp_path / "new.npz"
    inputs = read_split(model, "test", {}).inputs
    arrays = {name: np.asarray(inputs[name])[:5] for name in model.modalities}
    np.savez(path, **arrays)
    whole = path.read_bytes()
    for content in (b"", whole[:100], whole[:-30], whole[:60] + b"\xff" * 20 + whole[80:], b"\x93NUMPY\x01"):
        path.write_bytes(content)
        with pytest.raises(ModelError, match=r"new\.npz is no npz file of plain arrays") as told:
            read_arrays(path, model)
        assert "\n" not in str(told.value)
    for odd in (np.array(1.0), np.array(["a"] * 5), np.zeros((5, 2), "c8"), np.zeros((5, 2), "V3")):
        np.savez(path, **{**arrays, "left": odd})
        with pytest.raises(ModelError, match=r"left is .* a modality must be of numbers, one row a sample"):
            read_arrays(path, model)
    np.savez(path, **arrays, leftt=np.zeros(3))
    with pytest.raises(ModelError, match="no modality called 'leftt'; the model reads left, profile"):
        read_arrays(path, model)
    with pytest.raises(ModelError, match="cannot be read: Is a directory"):
        read_arrays(tmp_path, model)
