"""The data of a sweep is checked before anything runs: validation notes what is not here, planning refuses it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from sweep.config import ConfigError, load
from sweep.plan.build import plan
from sweep.plan.check_data import require_data
from sweep.plan.validate import validate

N = 300
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes a sweep of arrays, with other ``arrays`` and ``keys``, and gives its file."""
    monkeypatch.chdir(tmp_path)

    def write(arrays: dict[str, Any] | None = None, **keys: Any) -> Path:
        found = {"sound": np.zeros((N, 12), np.float32), "image": np.zeros((N, 1, 8, 8)), "labels": np.arange(N) % 3}
        np.savez("set.npz", **found | (arrays or {}))
        options = {"arrays": {"root": "set.npz", "modalities": ["sound", "image"]}}
        sweep = {"method": "joint", "datasets": ["arrays"], "data": options, "references": False, **keys}
        (tmp_path / "sweeps.yaml").write_text(yaml.safe_dump({"sweeps": {"s": sweep}}))
        return Path("sweeps.yaml")

    return write


def refused(act: Callable[[Path], Any], file: Path) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        act(file)
    return [str(problem) for problem in caught.value.problems]


def plan_of(file: Path) -> Any:
    return plan(load(file, None, [])[0])


def nan_in(row: int) -> dict[str, Any]:
    values = np.zeros((N, 12), np.float32)
    values[row] = np.inf
    return {"sound": values}


FAULTS: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({}, {"encoders": {"sound": "cnn"}}, "s.encoders.sound: encoder cnn cannot take a sample of shape [12]; it takes"),
    ({"image": np.zeros((N - 1, 1, 8, 8))}, {}, "s.data.arrays: set.npz: image has 299 samples, labels has 300"),
    ({"labels": np.arange(N) % 3 + 1}, {}, "s.data.arrays: set.npz: labels[2] is 3, and no sample has the label 0"),
    (nan_in(255), {}, "s.data.arrays: set.npz: sound[255] holds a number that is not finite; replace"),
    (
        {},
        {"hyperparameters": {"fusion": "channel", "channel_mode": "cen"}},
        "s.method: channel_mode cen exchanges channels between an encoder's stages, and mlp, the encoder of sound, has",
    ),
    (
        {"image": np.zeros((N, 2, 9), np.int32)},
        {},
        "s.encoders.image: encoder mlp cannot take token ids, whole numbers [2, 9]; it takes measured numbers; "
        "encoders that take it: bert, clip_text, m3ae_text",
    ),
    ({}, {"vary": {"encoders.sound": {"grid": ["mlp", "cnn"]}}}, "s.vary.encoders.sound: encoder cnn cannot take"),
    ({}, {"vary": {"encoders.sound": {"grid": [5]}}}, "expected the name of an encoder, or a mapping, not 5"),
    (
        {},
        {
            "vary": {"encoders.sound": {"choice": ["mlp", "cnn"]}},
            "search": {"algorithm": "random", "configurations": 3},
        },
        "s.vary.encoders.sound: encoder cnn cannot take a sample of shape [12]",
    ),
]


@pytest.mark.parametrize(("arrays", "keys", "said"), FAULTS)
def test_what_would_fail_every_run_is_refused_by_validation_and_planning_alike(
    write: Write, arrays: dict[str, Any], keys: dict[str, Any], said: str
) -> None:
    file = write(arrays, **keys)
    for act in (validate, plan_of, lambda path: require_data(load(path, None, []))):
        (problem,) = refused(act, file)
        assert said in problem
        assert problem.startswith("sweeps.yaml:")


def test_data_and_encoders_of_the_command_line_are_named_as_such(write: Write) -> None:
    file = write({"labels": np.arange(N - 1) % 3})
    Path("set.npz").rename("other.npz")
    write()
    for word, said in (
        ("data.arrays.root=other.npz", "other.npz: sound has 300 samples, labels has 299"),
        ("data.arrays.modalities=[sound, photo]", "set.npz: no array called photo; there are: image, labels, sound"),
        ("encoders.sound.name=cnn", "encoder cnn cannot take a sample of shape [12]"),
    ):
        (problem,) = refused(lambda path, word=word: require_data(load(path, None, [word])), file)  # type: ignore[misc]
        assert problem.startswith(f"command line: {word}: {said}")


def test_a_batch_that_no_training_fills_is_refused_where_the_method_drops_it(write: Write) -> None:
    split = {"split": np.repeat(["train", "val", "test"], N // 3)}
    said = "bss drops incomplete batches, and arrays has 100 training samples; use at most 100"
    fixed = write(split, method="bss", train={"batch_size": 101})
    assert refused(validate, fixed)[0].endswith(f"s.train.batch_size: {said}")
    varied = write(split, method="bss", vary={"train.batch_size": {"grid": [100, 101]}})
    assert [problem.partition(" ")[2] for problem in refused(plan_of, varied)] == [
        f"sweeps.s.vary.train.batch_size: {said}"
    ]
    validate(write(split, train={"batch_size": 5000}))


def test_what_only_the_whole_data_show_is_left_to_the_runs(write: Write) -> None:
    file = write(nan_in(256))
    assert [sweep.name for sweep in validate(file)] == ["s"]
    assert plan_of(file).expected_runs() == 3


def test_channels_are_mixed_where_every_encoder_has_stages(write: Write) -> None:
    picture = {"sound": np.zeros((N, 1, 8, 8))}
    keys = {"hyperparameters": {"fusion": "channel"}, "encoders": {"sound": "cnn", "image": "cnn"}}
    validate(write(picture, **keys))
    keys["hyperparameters"]["channel_mode"] = "cen"
    validate(write(picture, **keys))
    (problem,) = refused(validate, write({"sound": np.zeros((N, 1, 9, 8))}, **keys))
    assert "channels between maps of one size, and samples have: sound [9, 8], image [8, 8]; use mmtm" in problem


def test_what_an_array_gets_by_its_shape_is_what_its_runs_are_known_by(write: Write) -> None:
    series = {"sound": np.zeros((N, 3, 12), np.float32)}
    keys = [None, {"sound": "conv1d"}, {"sound": {"width": 8}}, {"sound": "mlp"}]
    found = [plan_of(write(series, **({"encoders": key} if key else {}))).studies[0].configurations[0] for key in keys]
    names = [[encoder["name"] for encoder in each.template.encoders.values()] for each in found]
    assert names == [["conv1d", "cnn"]] * 3 + [["mlp", "cnn"]]
    assert found[2].template.encoders["sound"]["width"] == 8
    assert found[0].key == found[1].key
    assert len({each.key for each in found}) == 3


def test_options_of_an_encoder_that_only_absent_data_tell_are_left_unchecked(write: Write) -> None:
    file, notes = write({"sound": np.zeros((N, 3, 12))}, encoders={"sound": {"kernel": 7}}), list[str]()
    validate(file)
    Path("set.npz").unlink()
    validate(file, (), notes.append)
    assert len(notes) == 1
    (problem,) = refused(plan_of, file)
    assert "set.npz: no such file" in problem


def test_data_that_is_not_here_is_noted_by_validation_and_refused_by_planning(write: Write) -> None:
    file, notes = write(), list[str]()
    Path("set.npz").unlink()
    document = yaml.safe_load(file.read_text())
    document["sweeps"]["again"] = document["sweeps"]["s"]
    file.write_text(yaml.safe_dump(document))
    assert len(validate(file, (), notes.append)) == 2
    (note,) = notes
    assert "data.arrays: set.npz: no such file; set root to an npz file or a folder of npy files (not checked: " in note
    (problem,) = refused(plan_of, file)
    assert problem.endswith("data.arrays: set.npz: no such file; set root to an npz file or a folder of npy files")
    assert len(refused(lambda path: require_data(load(path, None, [])), file)) == 2


WEIGHTS: list[tuple[dict[str, Any], str]] = [
    (
        {"encoders": {"image": {"name": "i3d", "pretrained": "rgb.pt"}}},
        "s.encoders.image: encoder i3d, pretrained: there is no file or folder rgb.pt",
    ),
    (
        {"method": "moka", "hyperparameters": {"pretrained": "./llama"}},
        "s.hyperparameters.pretrained: moka: pretrained: there is no file or folder ./llama",
    ),
    (
        {"method": None, "methods": [{"method": "moka", "hyperparameters": {"pretrained": "./llama"}}]},
        "s.methods[0].hyperparameters.pretrained: moka: pretrained: there is no file or folder ./llama",
    ),
]


@pytest.mark.parametrize(("keys", "said"), WEIGHTS)
def test_weights_that_are_not_here_are_noted_by_validation_and_refused_by_planning(
    write: Write, keys: dict[str, Any], said: str
) -> None:
    file, notes = write({"image": np.zeros((N, 3, 2, 32, 32), np.uint8)}, **keys), list[str]()
    document = yaml.safe_load(file.read_text())
    document["sweeps"]["s"] = {key: value for key, value in document["sweeps"]["s"].items() if value is not None}
    file.write_text(yaml.safe_dump(document))
    for act in (plan_of, lambda path: require_data(load(path, None, []))):
        assert any(said in problem for problem in refused(act, file))
    validate(file, (), notes.append)
    assert [
        said in note and note.endswith("(the weights are not here, and run would refuse it)") for note in notes
    ] == [True]


def test_a_default_encoder_that_does_not_fit_leaves_no_reference(write: Write) -> None:
    """It cannot be trained without what the sweep varies."""
    file = write(encoders={"sound": "cnn"}, vary={"encoders.sound": {"grid": ["mlp"]}}, references=True, method="iprm")
    assert plan_of(file).references == []


def test_a_description_is_asked_for_once(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    from data.arrays import ArraysSource

    asked, own = [], ArraysSource.describe

    def describe(options: Any) -> Any:
        asked.append(options)
        return own(options)

    monkeypatch.setattr(ArraysSource, "describe", describe)
    plan_of(write(vary={"train.lr": {"grid": [0.1, 0.2, 0.3]}}, references=True))
    assert len(asked) == 1
