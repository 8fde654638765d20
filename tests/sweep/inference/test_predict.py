"""Predictions of arrays in a file, with and without labels."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from support.built_model import write_built_model
from support.toy_dataset import toy_dataset

import data
from data.base import DataError
from sweep.inference.export import export_model
from sweep.inference.model import Model, ModelError, load_model
from sweep.inference.predict import Samples, prediction_table, read_arrays, read_split
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
    for name, said in [
        ("wrong", r"wrong\.npz: labels\[0\] is 10; labels go from 0 to 9"),
        ("text", "no npz file"),
        ("missing", "does not exist"),
    ]:
        with pytest.raises((ModelError, DataError), match=said):
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
    other, cut = "it is of another format; write it by", "it is cut off or damaged; copy it again, or save it again by"
    for content, said in (
        (b"", other),
        (whole[:100], cut),
        (whole[:-30], cut),
        (whole[:60] + b"\xff" * 20 + whole[80:], ""),
        (b"\x93NUMPY\x01", other),
    ):
        path.write_bytes(content)
        with pytest.raises(ModelError, match=rf"new\.npz is no npz file of plain arrays: {said}") as told:
            read_arrays(path, model)
        assert "\n" not in str(told.value)
    for odd in (np.array(1.0), np.array(["a"] * 5), np.zeros((5, 2), "c8"), np.zeros((5, 2), "V3")):
        np.savez(path, **{**arrays, "left": odd})
        with pytest.raises(ModelError, match=r"left is .* a modality must be of numbers, one row a sample"):
            read_arrays(path, model)
    np.savez(path, profile=arrays["profile"], leftt=np.zeros(3))
    with pytest.raises(ModelError, match="no modality called 'leftt'; the model reads left, profile"):
        read_arrays(path, model)
    with pytest.raises(ModelError, match="cannot be read: Is a directory"):
        read_arrays(tmp_path, model)


# By hand -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def model(tmp_path: Path) -> Model:
    return load_model(write_built_model(tmp_path / "built"))


def test_a_table_has_a_row_a_sample_and_is_scored_where_labels_are_known(model: Model) -> None:
    test = toy_dataset().test
    table, scores = prediction_table(model, Samples(dict(test.inputs), test.labels), [])
    chances = [f"p_class {k}" for k in range(4)]
    own = ["prediction_audio", "prediction_video"]
    assert list(table) == ["prediction", "probability", "label", *own, *chances]
    assert (table.index.name, list(table.index)) == ("sample", list(range(22)))
    assert list(table["label"]) == [f"class {k}" for k in test.labels.tolist()]
    expected = model.predict(test.inputs).numpy()
    np.testing.assert_allclose(table[chances].to_numpy(), expected, rtol=1e-6)
    np.testing.assert_allclose(table["probability"], expected.max(1), rtol=1e-6)
    assert list(table["prediction"]) == [f"class {k}" for k in expected.argmax(1)]
    logits = model.logits(test.inputs)
    for modality in ("audio", "video"):
        assert list(table[f"prediction_{modality}"]) == [f"class {k}" for k in logits[modality].argmax(1).tolist()]
    named = {f"{metric}{part}" for metric in ("accuracy", "map", "macro_f1") for part in ("", "_audio", "_video")}
    assert scores.keys() == named
    assert scores["accuracy"] == pytest.approx((table["prediction"] == table["label"]).mean())
    assert scores["accuracy_audio"] == pytest.approx((table["prediction_audio"] == table["label"]).mean())
    table, scores = prediction_table(model, Samples(dict(test.inputs), None), ["video"])
    assert (list(table)[:4], scores) == (["prediction", "probability", "prediction_audio", chances[0]], {})


def test_arrays_are_read_by_the_names_of_modalities_and_labels(model: Model, tmp_path: Path) -> None:
    path, test = tmp_path / "new.npz", toy_dataset().test
    arrays = {name: np.asarray(values)[:3] for name, values in test.inputs.items()}
    np.savez(path, **arrays, labels=np.array([0, 3, 1], np.uint8))
    found = read_arrays(path, model)
    assert list(found.inputs) == ["audio", "video"]
    assert found.labels is not None
    assert (found.labels.dtype, found.labels.tolist()) == (torch.int64, [0, 3, 1])
    np.savez(path, audio=arrays["audio"])
    assert (list(read_arrays(path, model).inputs), read_arrays(path, model).labels) == (["audio"], None)


TOLD = "the model knows class 0, class 1, class 2, class 3: give these, in their order, or leave classes out"


@pytest.mark.parametrize(
    ("beside", "said"),
    [
        ({"labels": [0, 1]}, "labels has 2 samples, audio has 3"),
        ({"labels": [0, 1, 2, 3]}, "labels has 4 samples, audio has 3"),
        ({"labels": [0, 1, 4]}, "labels[2] is 4; labels go from 0 to 3; name all classes, in their order"),
        ({"labels": [-1, 0, 1]}, "labels[0] is -1; labels go from 0 to 3; name all classes, in their order"),
        ({"labels": [[0], [1], [2]]}, "labels is int64 [3, 1]; it must be a list of words or numbers"),
        ({"labels": ["class 0", "class 1", "class 9"]}, "labels[2]: unknown label 'class 9'; did you mean"),
        ({"classes": ["class 0", "class 1"]}, f"classes are class 0, class 1; {TOLD}"),
    ],
)
def test_what_stands_beside_the_modalities_fits_the_model(
    model: Model, tmp_path: Path, beside: dict[str, object], said: str
) -> None:
    path, inputs = tmp_path / "new.npz", toy_dataset().test.inputs
    arrays = {name: np.array(values) for name, values in beside.items()}
    np.savez(path, **arrays, **{name: np.asarray(values)[:3] for name, values in inputs.items()})
    with pytest.raises((ModelError, DataError), match=re.escape(f"{path}: {said}")):
        read_arrays(path, model)


@pytest.mark.parametrize("labels", [[2, 0, 3], [2.0, 0.0, 3.0], ["class 2", "class 0", "class 3"]])
def test_a_file_in_the_form_of_training_is_predicted_whole(model: Model, tmp_path: Path, labels: list[object]) -> None:
    path, inputs = tmp_path / "mine.npz", toy_dataset().test.inputs
    beside = {"labels": labels, "split": ["train", "val", "test"], "group": [5, 5, 6], "third": [0, 0, 0]}
    arrays = {name: np.asarray(values)[:3] for name, values in inputs.items()}
    np.savez(path, **{n: np.array(v) for n, v in beside.items()}, classes=np.array(model.classes), **arrays)
    found = read_arrays(path, model)
    assert list(found.inputs) == ["audio", "video"]
    assert found.labels is not None
    assert found.labels.tolist() == [2, 0, 3]
    assert found.notes == (
        f"{path}: split is not looked at: all 3 samples are predicted",
        f"{path}: not looked at, as the model reads audio, video: third",
    )


def test_names_of_classes_that_a_run_was_told_go_before_those_of_the_file(model: Model, tmp_path: Path) -> None:
    path, inputs = tmp_path / "mine.npz", toy_dataset().test.inputs
    model.card.run.data["classes"] = list(model.classes)
    np.savez(path, classes=np.array(["a", "b"]), **{name: np.asarray(values) for name, values in inputs.items()})
    assert read_arrays(path, model).labels is None


def test_each_split_of_the_dataset_is_read_with_the_options_of_its_run(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, toy = [], toy_dataset()
    monkeypatch.setattr(data, "load", lambda name, options: asked.append((name, options.train_samples)) or toy)
    for name, size in (("train", 45), ("validation", 21), ("test", 22)):
        found = read_split(model, name, {})  # type: ignore[arg-type]
        assert (len(found.inputs["audio"]), list(found.inputs)) == (size, ["audio", "video"])
        assert found.labels is not None
        assert torch.equal(found.labels, getattr(toy, name).labels)
    read_split(model, "test", {"train_samples": 99})
    assert asked == [("digits", model.card.run.data["train_samples"])] * 3 + [("digits", 99)]
    with pytest.raises(ModelError, match="no option of digits called 'train_sample'; did you mean train_samples"):
        read_split(model, "test", {"train_sample": 99})
    with pytest.raises(ModelError, match=r"^data\.train_samples: Input should be a valid integer"):
        read_split(model, "test", {"train_samples": "x"})


def test_data_of_other_classes_is_refused(model: Model) -> None:
    with pytest.raises(
        ModelError, match=r"^the data has classes 0, 1, .*, 9; the model knows class 0, class 1, class 2"
    ):
        read_split(model, "test", {})
