"""A loaded model: its inputs are checked, absent modalities are zeroed, broken folders are refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

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


def _with(**changes: object) -> Callable[[Path], None]:
    """Change keys of the card; ``run__KEY`` one of its run."""

    def change(folder: Path) -> None:
        card = json.loads((folder / "model.json").read_text())
        for key, value in changes.items():
            place = card["run"] if key.startswith("run__") else card
            place[key.removeprefix("run__")] = value
        (folder / "model.json").write_text(json.dumps(card))

    return change


def _damaged(name: str, damage: Callable[[bytes], bytes | None]) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        content = damage((folder / name).read_bytes())
        (folder / name).unlink()
        if content is not None:
            (folder / name).write_bytes(content)

    return change


def _nan(folder: Path) -> None:
    found = load_file(folder / "model.safetensors")
    name = next(name for name, value in found.items() if value.is_floating_point())
    save_file({**found, name: found[name] * float("nan")}, folder / "model.safetensors")


def _fewer(folder: Path) -> None:
    found = load_file(folder / "model.safetensors")
    save_file(dict(list(found.items())[1:]), folder / "model.safetensors")


FAULTS: dict[str, tuple[Callable[[Path], None], str]] = {
    "no card": (_damaged("model.json", lambda _: None), r"holds no model \(model.json is missing\)"),
    "empty card": (_damaged("model.json", lambda _: b""), "is not a model card"),
    "cut card": (_damaged("model.json", lambda content: content[:200]), "is not a model card"),
    "garbage card": (_damaged("model.json", lambda _: b"\xff\0"), "is not a model card"),
    "card of a list": (_damaged("model.json", lambda _: b"[]"), "is not a model card"),
    "card of a later version": (_with(later=1), "later: "),
    "no weights": (_damaged("model.safetensors", lambda _: None), r"holds no model \(model.safetensors is missing\)"),
    "empty weights": (_damaged("model.safetensors", lambda _: b""), "holds no weights, or is damaged"),
    "cut weights": (_damaged("model.safetensors", lambda content: content[:-8]), "holds no weights, or is damaged"),
    "garbage weights": (_damaged("model.safetensors", lambda _: b"\xff" * 64), "holds no weights, or is damaged"),
    "weights that are no numbers": (_nan, "holds numbers that are none"),
    "fewer weights": (_fewer, "do not fit method"),
    "unknown method": (_with(run__method="nobody"), "not installed here"),
    "unknown hyperparameter": (_with(run__hyperparameters={"nobody": 1}), "cannot be built here"),
    "unknown encoder": (
        _with(run__encoders={"left": {"name": "x"}, "profile": {"name": "x"}}),
        "cannot be built here",
    ),
    "no encoders": (_with(run__encoders={}), "has no encoder, or no shape"),
    "no shapes": (_with(shapes={}), "names no modality"),
    "huge shape": (_with(shapes={"left": [10**9, 10**9], "profile": [8, 4]}), "cannot have shape"),
    "negative shape": (_with(shapes={"left": [-1], "profile": [8, 4]}), "cannot have shape"),
    "other shape": (_with(shapes={"left": [3], "profile": [3]}), "cannot be built here|do not fit method"),
    "no classes": (_with(classes=[]), "two or more"),
    "classes twice": (_with(classes=["a", "a"]), "two or more"),
    "other classes": (_with(classes=["a", "b"]), "do not fit method"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_damaged_or_foreign_folder_is_told_in_a_line(store: Store, tmp_path: Path, fault: str) -> None:
    export_model(store, "s", tmp_path / "model", label="iprm")
    change, said = FAULTS[fault]
    change(tmp_path / "model")
    with pytest.raises(ModelError, match=said) as told:
        load_model(tmp_path / "model")
    assert "\n" not in str(told.value)


def test_a_folder_that_is_a_file_and_a_device_that_is_not_there_are_told(store: Store, tmp_path: Path) -> None:
    export_model(store, "s", tmp_path / "model", label="iprm")
    with pytest.raises(ModelError, match="cannot be read: Not a directory"):
        load_model(tmp_path / "model" / "model.json")
    with pytest.raises(ModelError, match="cannot be built here, on nowhere"):
        load_model(tmp_path / "model", "nowhere")
