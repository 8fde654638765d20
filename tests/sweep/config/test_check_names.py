"""Names that set nothing are refused, each with what was meant."""

from __future__ import annotations

import pytest
from support import fake_declarations
from support.config_problems import problem_lines

from methods.base.hyperparameters import hyper

pytest_plugins = ["support.sweep_files"]


pytestmark = pytest.mark.usefixtures("fakes")


def test_encoders_of_other_datasets_may_stay_in_the_file(one):
    text = "sweeps: {a: {method: mixer, datasets: [toy], encoders: {left: mlp}, data: {files: {root: x}}}}"
    assert one(text, "datasets=[files]").datasets == ["files"]
    assert problem_lines(one, text, "encoders.audio=mlp")[0].startswith("command line: encoders.audio=mlp: no modality")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("alfa", "no hyperparameter of mixer called 'alfa'; did you mean alpha?"),
        # A bare name may be that of a section; one below a method, or below hyperparameters, may not.
        ("epoch", "no hyperparameter of mixer called 'epoch'; did you mean epochs?"),
        ("", "no hyperparameter of mixer called ''; there are: alpha, kind, steps, radius, epochs"),
        ("mixer.epoch", "no hyperparameter of mixer called 'epoch'; there are: alpha, kind, steps, radius"),
        ("rankr.alpha", "no method or mapping of this sweep is called 'rankr'; did you mean train?"),
        ("x.y", "no method or mapping of this sweep is called 'x'; there are: mixer, train, data, encoders, radius"),
        ("ranker.alpha", "no method of this sweep is called 'ranker'; there are: mixer, train, data, encoders"),
        ("data.files.size", "no dataset of this sweep is called 'files'; there are: toy"),
        ("steps.x", "steps of mixer is no mapping, so nothing lies below it; write steps"),
        ("mixer.steps.x", "steps of mixer is no mapping, so nothing lies below it; write steps"),
        ("radius.lft", "radius of mixer has no 'lft'; did you mean left?"),
        ("mixer.radius.lft", "radius of mixer has no 'lft'; did you mean left?"),
        ("encoders.lft.width", "no modality called 'lft'; did you mean left?"),
        ("encoders", "no modality called ''; there are: left, right"),
        ("train.lrr", "no key of train called 'lrr'; did you mean lr?"),
        ("data.noisy", "no option of toy called 'noisy'; did you mean noise?"),
        ("data.toy.nois", "no option of toy called 'nois'; did you mean noise?"),
        ("data", "no option of toy called ''; there are: corrupt, noise, views"),
    ],
)
def test_a_varied_name_that_sets_nothing_says_what_there_is(one, name, said):
    text = f"sweeps: {{a: {{method: mixer, datasets: [toy], vary: {{'{name}': {{grid: [1]}}}}}}}}"
    assert problem_lines(one, text) == [f"sweeps.yaml:1: sweeps.a.vary.{name}: {said}"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("epoch", "no hyperparameter of mixer called 'epoch'; there are: alpha, kind, steps, radius"),
        ("train.lr", "train.lr is no hyperparameter; write it under train"),
        ("epochs", "epochs is no hyperparameter; write it under epochs"),
        ("x.y", "no method or mapping of this sweep is called 'x'; there are: mixer, radius"),
    ],
)
def test_a_fixed_name_is_that_of_a_hyperparameter(one, name, said):
    text = f"sweeps: {{a: {{method: mixer, datasets: [toy], hyperparameters: {{{name}: 1}}}}}}"
    assert problem_lines(one, text) == [f"sweeps.yaml:1: sweeps.a.hyperparameters.{name}: {said}"]


@pytest.mark.parametrize(
    ("name", "lacking"), [("beta", "mixer"), ("radius", "ranker"), ("radius.left", "ranker"), ("steps", "ranker")]
)
def test_a_name_of_some_methods_alone_is_written_with_one_of_these(one, name, lacking):
    text = f"sweeps: {{a: {{methods: [mixer, ranker], datasets: [toy], vary: {{{name}: {{grid: [1]}}}}}}}}"
    having = {"mixer": "ranker", "ranker": "mixer"}[lacking]
    (line,) = problem_lines(one, text)
    first = name.partition(".")[0]
    said = f"no hyperparameter of {lacking} called {first!r}; write {having}.{name} where {having} alone is meant"
    assert line == f"sweeps.yaml:1: sweeps.a.vary.{name}: {said}"


def test_a_part_of_a_mapping_is_a_modality_or_a_key_that_is_written_of_it(one, monkeypatch):
    class Hyperparameters(fake_declarations.Mixer.Hyperparameters):
        weights: dict[str, float] = hyper({"first": 1.0}, meaning="a weight a term")

    monkeypatch.setattr(fake_declarations.Mixer, "Hyperparameters", Hyperparameters)
    text = "sweeps: {a: {methods: [{method: mixer, hyperparameters: {weights: {third: 0.1}}}, joint], datasets: [toy], "
    text += "hyperparameters: {mixer.weights: {second: 0.1}}, points: [{mixer.weights.%s: 0.5}]}}"
    for key in ("left", "right", "first", "second", "third"):
        assert one(text % key).points == [{f"mixer.weights.{key}": 0.5}]
    assert problem_lines(one, text % "x") == [
        "sweeps.yaml:1: sweeps.a.points[0].mixer.weights.x: weights of mixer has no 'x'; there are: left, right, "
        "first, second, third"
    ]


def test_a_part_of_a_list_is_a_position(one, monkeypatch):
    class Hyperparameters(fake_declarations.Mixer.Hyperparameters):
        shares: list[float] = hyper([0.1, 0.2], meaning="a share a step")

    monkeypatch.setattr(fake_declarations.Mixer, "Hyperparameters", Hyperparameters)
    text = "sweeps: {a: {method: mixer, datasets: [toy], points: [{shares.%s: 0.5}]}}"
    assert one(text % 1).points == [{"shares.1": 0.5}]
    assert problem_lines(one, text % "x") == [
        "sweeps.yaml:1: sweeps.a.points[0].shares.x: shares of mixer is a list, so it has no 'x'; write shares.0 for "
        "its first entry"
    ]


def test_an_encoder_is_of_a_modality_that_some_dataset_has(one):
    text = "sweeps: {a: {method: mixer, datasets: [toy], %sencoders: {%s: mlp}}}"
    for modality, hint in [("lft", "did you mean left?"), ("x", "there are: left, right")]:
        said = f"sweeps.yaml:1: sweeps.a.encoders.{modality}: no modality called {modality!r}; {hint}"
        assert problem_lines(one, text % ("", modality)) == [said]
    assert one(text % ("data: {files: {root: x}}, ", "audio")).encoders == {"audio": {"name": "mlp"}}
