"""A loaded model: its inputs are checked, absent modalities are zeroed, broken folders are refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from support.built_model import write_built_model
from support.toy_dataset import toy_dataset, toy_method

import data
import methods
import sweep
from sweep.inference.export import export_model
from sweep.inference.model import LARGEST_SAMPLE, ModelError, load_model
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
    with pytest.raises(ModelError, match=r"this machine has no device nowhere \(.*\); use --device cpu$"):
        load_model(tmp_path / "model", "nowhere")


# By hand -------------------------------------------------------------------------------------------------------------


def test_a_model_computes_what_its_network_does_in_the_mode_of_evaluation(tmp_path: Path) -> None:
    model, network = load_model(write_built_model(tmp_path / "m")), toy_method("joint", toy_dataset())
    test = toy_dataset().test
    assert (model.modalities, model.classes) == (("audio", "video"), tuple(f"class {k}" for k in range(4)))
    assert not model.method.training
    expected = network.eval().predict(test.gather(torch.arange(22), torch.device("cpu")))
    found = model.logits(test.inputs)
    assert list(found) == list(expected)
    for name, logits in found.items():
        torch.testing.assert_close(logits, expected[name].float())
        assert not logits.requires_grad
    torch.testing.assert_close(model.predict(test.inputs), found["multi"].softmax(-1))
    # Numbers of any precision, and plain lists of them, are the same samples.
    doubled = {name: np.asarray(values, np.float64) for name, values in test.inputs.items()}
    torch.testing.assert_close(model.logits(doubled)["multi"], found["multi"])


def test_modalities_that_are_not_used_have_no_part_and_no_logits(tmp_path: Path) -> None:
    model, inputs = load_model(write_built_model(tmp_path / "m")), toy_dataset().test.inputs
    alone = model.logits({"video": inputs["video"]})
    assert list(alone) == ["multi", "video"]
    for again in (
        model.logits(inputs, present=["video"]),
        model.logits({**inputs, "audio": 9 * inputs["audio"]}, ["video"]),
    ):
        assert list(again) == ["multi", "video"]
        torch.testing.assert_close(again["multi"], alone["multi"])
    # All of them in another order are all of them.
    torch.testing.assert_close(model.predict(inputs, ["video", "audio"]), model.predict(inputs))


def test_inputs_that_do_not_fit_are_told(tmp_path: Path) -> None:
    model, inputs = load_model(write_built_model(tmp_path / "m")), toy_dataset().test.inputs
    audio, video = inputs["audio"], inputs["video"]
    for wrong, said in [
        ({"text": audio}, "no modality called 'text'; the model reads audio, video"),
        ({}, "no input; the model reads audio, video"),
        ({"audio": audio[0, 0]}, "the same number of samples, at least one; there are: audio 0"),
        ({"audio": audio[:0], "video": video[:0]}, "there are: audio 0, video 0"),
        ({"audio": audio[:3], "video": video[:2]}, "there are: audio 3, video 2"),
        ({"audio": video}, r"a sample of audio has shape \(7,\), the model was trained on \(6,\)"),
        ({"audio": audio, "video": video / 0}, "video holds numbers that are not finite"),
    ]:
        with pytest.raises(ModelError, match=said):
            model.logits(wrong)
    with pytest.raises(ModelError, match="no input for modality 'video'; given: audio"):
        model.logits({"audio": audio}, present=["audio", "video"])
    assert model.logits({"audio": audio[:1], "video": video[:1]})["multi"].shape == (1, 4)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"shapes": {"audio": [6], "video": []}}, r"a sample of video cannot have shape \[\]"),
        ({"shapes": {"audio": [0], "video": [7]}}, r"a sample of audio cannot have shape \[0\]"),
        (
            {"shapes": {"audio": [LARGEST_SAMPLE + 1], "video": [7]}},
            rf"a sample of audio .* shape \[{LARGEST_SAMPLE + 1}\]",
        ),
        # Of two mistakes the first is told.
        ({"shapes": {"audio": [0], "video": []}}, r"a sample of audio cannot have shape \[0\]"),
        ({"shapes": {"audio": [6], "video": []}, "classes": ["a"]}, "its classes must be two or more, each once"),
        ({"classes": ["a", "b", "a", "c"]}, "its classes must be two or more, each once"),
        ({"shapes": {"audio": [6]}}, "modality video has no encoder, or no shape"),
        (
            {"shapes": {"audio": [6], "video": [7], **{name: [1] for name in "zyxwvutsrqpon"}}},
            "modality n has no encoder, or no shape",
        ),
    ],
)
def test_a_card_whose_parts_do_not_fit_is_told(tmp_path: Path, changes: dict[str, object], said: str) -> None:
    folder = write_built_model(tmp_path / "m", **changes)
    with pytest.raises(ModelError, match=rf"model\.json is not a model card: {said}; export it again$"):
        load_model(folder)


def test_a_sample_may_be_as_large_as_the_largest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sweep.inference.model.LARGEST_SAMPLE", 7)
    folder = write_built_model(tmp_path / "m")
    assert load_model(folder).modalities == ("audio", "video")
    monkeypatch.setattr("sweep.inference.model.LARGEST_SAMPLE", 6)
    with pytest.raises(ModelError, match="a sample of video cannot have shape"):
        load_model(folder)


def test_weights_need_no_pretrained_start_again(tmp_path: Path) -> None:
    """They are all in the file."""
    folder = write_built_model(tmp_path / "m")
    started = {"name": "mlp", "width": 8, "pretrained": "nowhere.pt"}
    _with(run__encoders={"audio": started, "video": started})(folder)
    assert load_model(folder).classes == tuple(f"class {k}" for k in range(4))


def test_a_method_that_is_there_but_cannot_be_used_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_built_model(tmp_path / "m")
    _with(run__method="nobody")(folder)
    with pytest.raises(ModelError, match=r"^the model was trained by method 'nobody', which is not installed here$"):
        load_model(folder)
    monkeypatch.setattr(methods, "refusal", lambda name: f"{name} cannot be imported: it is torn")
    with pytest.raises(ModelError, match=r"^nobody cannot be imported: it is torn$"):
        load_model(folder)


def test_whole_numbers_stay_whole_and_weights_of_whole_numbers_are_no_damage(tmp_path: Path) -> None:
    folder = write_built_model(tmp_path / "m")
    weights = load_file(folder / "model.safetensors")
    name = next(iter(weights))
    for value, said in [(float("nan"), f"model.safetensors: {name} holds numbers that are none"), (0.5, None)]:
        spoilt = weights[name].clone()
        spoilt.flatten()[0] = value
        save_file({**weights, name: spoilt}, folder / "model.safetensors")
        if said is not None:
            with pytest.raises(ModelError, match=said):
                load_model(folder)
    model = load_model(folder)
    split = model._split({"audio": torch.arange(12).view(2, 6), "video": torch.zeros(2, 7, dtype=torch.float64)})
    assert {name: values.dtype for name, values in split.inputs.items()} == {
        "audio": torch.int64,
        "video": torch.float32,
    }
    assert split.labels.tolist() == [0, 0]
    absent = model._split({"video": torch.zeros(3, 7)})
    assert list(absent.inputs) == ["audio", "video"]
    assert torch.equal(torch.as_tensor(absent.inputs["audio"]), torch.zeros(3, 6))


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        (RuntimeError("the first line\nthe last"), "the first line"),
        (RuntimeError(" "), "RuntimeError"),
        (KeyError("x"), "'x'"),
    ],
)
def test_whatever_keeps_a_model_from_being_built_is_told_in_its_first_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, raised: Exception, said: str
) -> None:
    def rebuild(*_: object) -> None:
        raise raised

    folder = write_built_model(tmp_path / "m")
    monkeypatch.setattr("sweep.inference.model._rebuild", rebuild)
    with pytest.raises(ModelError) as told:
        load_model(folder)
    assert str(told.value) == (
        f"the model that {folder / 'model.json'} describes cannot be built here ({said}); export it again, or "
        "use the version of the code that trained it"
    )


@pytest.mark.parametrize(
    ("raised", "said"), [(RuntimeError("the first line\n the last \n"), "the last"), (ValueError(), "ValueError")]
)
def test_weights_that_do_not_fit_are_told_in_the_last_line_of_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, raised: Exception, said: str
) -> None:
    def refuse(*_: object) -> None:
        raise raised

    folder = write_built_model(tmp_path / "m")
    monkeypatch.setattr(methods.get("joint"), "load_inference_state", refuse)
    with pytest.raises(ModelError) as told:
        load_model(folder)
    assert str(told.value) == (
        f"the weights do not fit method joint as it is here ({said}): it has changed since the model was trained; use "
        "that version of the code"
    )


def test_a_folder_that_cannot_be_read_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_built_model(tmp_path / "m")
    (folder / "model.safetensors").unlink()
    with pytest.raises(
        ModelError, match=r"holds no model \(model\.safetensors is missing\); see python -m sweep export$"
    ):
        load_model(folder)
    (folder / "model.json").unlink()
    (folder / "model.json").mkdir()
    with pytest.raises(ModelError, match=r"/m cannot be read: Is a directory$"):
        load_model(folder)
