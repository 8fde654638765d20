"""A loaded model: its inputs are checked, absent modalities are zeroed, broken folders are refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import data
import sweep
from sweep.inference.export import export_model
from sweep.inference.model import ModelError, load_model
from sweep.runs.store import Store


def test_a_loaded_model_checks_its_inputs_and_zeroes_absent_modalities(store: Store, tmp_path: Path) -> None:
    export_model(store, "s", tmp_path / "model", label="iprm")
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


def test_a_folder_without_a_model_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"model\.json"):
        load_model(tmp_path)
    (tmp_path / "model.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(ModelError):
        load_model(tmp_path)
