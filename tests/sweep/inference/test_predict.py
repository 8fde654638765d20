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
