"""Settings of one method on one dataset."""

from __future__ import annotations

from importlib import import_module

import pytest
from support import fake_declarations
from support.config_problems import problem_lines

from methods.base import Phase
from methods.base.hyperparameters import hyper
from sweep.config import ConfigError
from sweep.config.resolve import (
    _check_extent,
    epoch_budget,
    fixed_hyperparameters,
    point_values,
    refusal,
    resolve,
    varied_names,
)
from sweep.config.targets import target

pytest_plugins = ["support.sweep_files"]


pytestmark = pytest.mark.usefixtures("fakes")


SWEEP = """
sweeps:
  a:
    methods: [{method: mixer, label: mixer%s}]
    datasets: [toy]
    vary: {radius.left: {grid: [0.2, 0.3]}}
    hyperparameters: {%s}
"""


@pytest.mark.parametrize(
    ("fixed", "expected"),
    [
        ("", {"left": 0.2, "right": 0.1}),
        ("radius: 0.7", {"left": 0.2, "right": 0.7}),
        ("radius: {left: 0.8, right: 0.9}", {"left": 0.2, "right": 0.9}),
        ("radius.right: 0.4, radius: 0.7", {"left": 0.2, "right": 0.4}),
        ("mixer.radius.right: 0.4", {"left": 0.2, "right": 0.4}),
    ],
)
def test_a_part_of_a_mapping_is_varied_and_the_others_keep_what_stands_for_all(one, fixed, expected):
    sweep = one(SWEEP % ("", fixed))
    settings = resolve(sweep, sweep.methods[0], "toy", {"radius.left": 0.2}, lambda name: ("vary", name))
    assert settings.hyperparameters.radius == expected
    of_entry = one(SWEEP % (f", hyperparameters: {{{fixed.replace('mixer.', '')}}}", ""))
    settings = resolve(of_entry, of_entry.methods[0], "toy", {"radius.left": 0.2}, lambda name: ("vary", name))
    assert settings.hyperparameters.radius == expected


def test_a_part_of_a_list_is_set_by_its_position(one, with_list):
    sweep = one("sweeps: {a: {method: mixer, datasets: [toy], hyperparameters: {shares: [0.1, 0.2]}}}")

    def shares(values):
        return resolve(sweep, sweep.methods[0], "toy", values, lambda name: ("points", 0, name)).hyperparameters.shares

    assert shares({"shares.1": 0.9}) == [0.1, 0.9]
    with pytest.raises(ConfigError, match=r"shares has no entry 2 in a list of 2, counted from 0"):
        shares({"shares.2": 0.9})
    with pytest.raises(ConfigError, match=r"expected a number, not 'x'"):
        shares({"shares.1": "x"})


@pytest.fixture
def with_list(monkeypatch, fakes):
    class Hyperparameters(fake_declarations.Mixer.Hyperparameters):
        shares: list[float] | None = hyper(None, meaning="a share a step")

    monkeypatch.setattr(fake_declarations.Mixer, "Hyperparameters", Hyperparameters)


def test_a_modality_of_another_dataset_is_set_there_alone(one):
    sweep = one(
        "sweeps: {a: {method: mixer, datasets: [toy, files], data: {files: {root: x}}, "
        "vary: {radius.left: {grid: [0.2]}, radius.audio: {grid: [0.3]}, alpha: {grid: [0.4]}}}}"
    )
    assert varied_names(sweep, "mixer", "toy") == ["radius.left", "alpha"]
    assert varied_names(sweep, "mixer", "files") == ["radius.audio", "alpha"]


def test_a_point_sets_what_a_dataset_has(one):
    sweep = one("sweeps: {a: {method: mixer, datasets: [toy, files], data: {files: {root: x}}}}")
    left = {"encoders.left.width": 8}
    point = {**left, "encoders.audio": "cnn", "alpha": 0.5, "ranker.beta": 1, "data.files.size": 9}
    assert point_values(sweep, point, "mixer", "toy") == {**left, "alpha": 0.5}
    assert point_values(sweep, point, "ranker", "files") == {
        "encoders.audio": "cnn", "alpha": 0.5, "ranker.beta": 1, "data.files.size": 9
    }  # fmt: skip
    # What is left of it is nothing; what sets nothing is the defaults; encoders as a whole are everybody's.
    assert point_values(sweep, left, "mixer", "files") is None
    assert point_values(sweep, {}, "mixer", "files") == {}
    assert point_values(sweep, {"encoders": 1}, "mixer", "toy") == {"encoders": 1}


def test_channels_that_cannot_be_mixed_are_refused_with_the_dataset(one, monkeypatch):
    module, said = import_module("sweep.config.resolve"), list[object]([None])
    monkeypatch.setattr(fake_declarations.Mixer.Hyperparameters, "mixes_channels", "mmtm")
    monkeypatch.setattr(module.fusions, "channel_refusal", lambda kind, encoders, shapes: said[-1])
    sweep = one("sweeps: {a: {method: mixer, datasets: [toy]}}")
    settings, found = settings_of(sweep, {}), []
    for answer in (None, "they have no stages"):
        said.append(answer)
        found.append(refusal(sweep.methods[0], "toy", settings, {}))
    assert found == [None, "they have no stages (dataset toy)"]


def test_a_part_of_what_there_is_not_is_a_mistake(one):
    sweep = one("sweeps: {a: {method: mixer, datasets: [toy]}}")
    with pytest.raises(ConfigError, match="no hyperparameter of mixer called 'nobody'"):
        resolve(sweep, sweep.methods[0], "toy", {"nobody.left": 1}, lambda name: ("points", 0, name))


def test_the_command_line_replaces_what_entry_or_sweep_say_of_a_part(one):
    text = SWEEP.replace("vary:", "points:").replace("{radius.left: {grid: [0.2, 0.3]}}", "[]")

    def radius(text, *overrides):
        sweep = one(text, *overrides)
        return resolve(sweep, sweep.methods[0], "toy", {}, lambda name: ("vary", name)).hyperparameters.radius

    entry, shared = text % (", hyperparameters: {radius: 0.5}", ""), text % ("", "radius.left: 0.5")
    assert radius(entry, "hyperparameters.radius.left=0.9") == {"left": 0.9, "right": 0.5}
    assert radius(entry, "hyperparameters.mixer.radius.left=0.9") == {"left": 0.9, "right": 0.5}
    assert radius(entry, "hyperparameters.radius=0.9") == 0.9
    assert radius(shared) == {"left": 0.5, "right": 0.1}
    assert radius(shared, "hyperparameters.radius.left=0.9") == {"left": 0.9, "right": 0.1}
    assert radius(shared, "hyperparameters.radius=0.9") == 0.9


# What is wrong, and where --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (
            "resources: {workers: 3}",
            "resources.workers: a batch of 64 samples cannot be shared evenly by 3 workers; one of 63 can",
        ),
        (
            "resources: {workers: 40}",
            "resources.workers: a batch of 64 samples cannot be shared evenly by 40 workers; one of 80 can",
        ),
        (
            "resources: {workers: 5}, train: {batch_size: 4}",
            "train.batch_size: a batch of 4 samples cannot be shared evenly by 5 workers; one of 10 can",
        ),
        (
            "resources: {workers: 2}, vary: {train.batch_size: {grid: [2, 4]}}",
            "vary.train.batch_size: a batch of 2 gives a worker fewer than 2 samples; use at least 4",
        ),
        ("epochs: 0", "epochs: expected a number at least 1, not 0"),
        ("vary: {epochs: {grid: [0]}}", "vary.epochs: expected a whole number from 1 to 100,000, not 0"),
        ("vary: {epochs: {grid: [1.5]}}", "vary.epochs: expected a whole number from 1 to 100,000, not 1.5"),
        ("vary: {epochs: {grid: [true]}}", "vary.epochs: expected a whole number from 1 to 100,000, not true"),
        ("vary: {epochs: {grid: [100001]}}", "vary.epochs: expected a whole number from 1 to 100,000, not 100001"),
        ("data: {toy: {views: 3}}", "data.toy.views: expected a list, not 3"),
        ("vary: {data.noise: {grid: [-1]}}", "vary.data.noise: expected a number at least 0, not -1"),
        ("vary: {train.schedule.every: {grid: [0]}}", "vary.train.schedule.every: expected a number above 0, not 0"),
        (
            "encoders: {left: {wdth: 3}}",
            "encoders.left: no option of encoder mlp called 'wdth', nearest is 'width'; there are: width, depth, "
            "activation",
        ),
        (
            "vary: {encoders.left.wdth: {grid: [3]}}",
            "vary.encoders.left.wdth: no option of encoder mlp called 'wdth', nearest is 'width'; there are: width, "
            "depth, activation",
        ),
    ],
)
def test_each_is_told_where_it_was_written(one, keys, said):
    text = f"sweeps: {{a: {{method: mixer, datasets: [toy], {keys}}}}}"
    assert problem_lines(one, text) == [f"sweeps.yaml:1: sweeps.a.{said}"]


@pytest.mark.parametrize(
    "keys",
    [
        "resources: {workers: 2}, train: {batch_size: 4}",
        "resources: {workers: 32}",
        "vary: {epochs: {grid: [1, 100000]}}",
    ],
)
def test_the_bounds_themselves_are_taken(one, keys):
    assert one(f"sweeps: {{a: {{method: mixer, datasets: [toy], {keys}}}}}").name == "a"


# Encoders, recipe and budget -----------------------------------------------------------------------------------------


def settings_of(sweep, values, dataset="toy"):
    return resolve(sweep, sweep.methods[0], dataset, values, lambda name: ("vary", name))


def test_an_encoder_is_the_datasets_with_what_the_sweep_and_the_point_say_of_it(one):
    sweep = one(
        "sweeps: {a: {method: mixer, datasets: [toy], encoders: {left: {depth: 3}, right: {name: cnn}, audio: mlp}, "
        "data: {files: {root: x}}}}"
    )
    plain = settings_of(sweep, {}).encoders
    assert [(name, spec["name"], spec["width"]) for name, spec in plain.items()] == [
        ("left", "mlp", 16), ("right", "cnn", plain["right"]["width"])
    ]  # fmt: skip
    assert plain["left"]["depth"] == 3
    varied = settings_of(sweep, {"encoders.left.width": 4, "encoders.right": "mlp", "encoders.audio": "mlp"}).encoders
    assert (varied["left"]["width"], varied["left"]["depth"], varied["left"]["name"]) == (4, 3, "mlp")
    assert varied["right"]["name"] == "mlp"
    whole = settings_of(sweep, {"encoders.left": {"name": "mlp", "width": 5}}).encoders["left"]
    assert (whole["width"], whole["depth"]) == (5, 3)
    # Another encoder has no options of the one below it.
    other = settings_of(sweep, {"encoders.left": "cnn"}).encoders["left"]
    assert other == settings_of(sweep, {"encoders.right": "cnn"}).encoders["right"]


def test_a_hyperparameter_that_is_named_as_a_modality_is_no_encoder(one, monkeypatch):
    class Hyperparameters(fake_declarations.Mixer.Hyperparameters):
        left: float = hyper(0.1, meaning="of the left one")

    monkeypatch.setattr(fake_declarations.Mixer, "Hyperparameters", Hyperparameters)
    settings = settings_of(one("sweeps: {a: {method: mixer, datasets: [toy]}}"), {"left": 0.5})
    assert (settings.hyperparameters.left, settings.encoders["left"]["name"]) == (0.5, "mlp")


def test_the_budget_is_the_points_the_sweeps_or_the_datasets(one):
    own = one("sweeps: {a: {method: mixer, datasets: [toy, files], data: {files: {root: x}}, epochs: 4}}")
    plain = one("sweeps: {a: {method: mixer, datasets: [toy, files], data: {files: {root: x}}}}")
    assert [epoch_budget(sweep, name) for sweep in (own, plain) for name in ("toy", "files")] == [4, 4, 7, 30]
    assert [settings_of(own, values).epochs for values in ({}, {"epochs": 9})] == [4, 9]


def test_the_recipe_is_the_datasets_below_the_sweeps_below_the_points(one):
    sweep = one("sweeps: {a: {method: mixer, datasets: [toy], train: {schedule: {every: 3}}}}")
    settings = settings_of(sweep, {"train.weight_decay": 0.5, "data.noise": 0.2, "data.files.size": 9})
    assert (settings.train.lr, settings.train.weight_decay) == (0.2, 0.5)
    assert (settings.train.schedule.name, settings.train.schedule.every) == ("step", 3)
    assert (settings.options.noise, settings.modalities) == (0.2, ("left", "right"))
    replaced = settings_of(sweep, {"train.schedule": {"name": "cosine"}}).train.schedule
    assert replaced.name == "cosine"
    merged = settings_of(sweep, {"train.schedule": {"name": "step", "factor": 0.7}}).train.schedule
    assert (merged.every, merged.factor) == (3, 0.7)


def test_what_a_sweep_fixes_of_a_method_is_whole_values_that_are_its_own(one):
    sweep = one(
        "sweeps: {a: {methods: [{method: mixer, hyperparameters: {steps: 4, radius.left: 1}}, ranker], "
        "datasets: [toy], hyperparameters: {alpha: 0.2, ranker.beta: 0.3, mixer.radius.right: 2}}}"
    )
    assert fixed_hyperparameters(sweep, sweep.methods[0], "toy") == {"alpha": 0.2, "steps": 4}
    assert fixed_hyperparameters(sweep, sweep.methods[1], "toy") == {"alpha": 0.2, "beta": 0.3}


@pytest.mark.parametrize(
    ("name", "owner", "path"),
    [
        ("data.corrupt.left.noise", None, ("corrupt", "left", "noise")),
        ("data.toy.corrupt.left.noise", "toy", ("corrupt", "left", "noise")),
        ("data.corrupt", None, ("corrupt",)),
        ("data.toy.corrupt", "toy", ("corrupt",)),
        ("data", None, ()),
        ("epochs.x", None, ("epochs", "x")),
        ("mixer", None, ("mixer",)),
    ],
)
def test_what_stands_below_data_is_a_dataset_unless_it_is_the_corruption(name, owner, path):
    assert (target(name).owner, target(name).path) == (owner, path)


def test_a_training_has_at_most_so_many_phases_and_epochs(monkeypatch):
    def refused(counts):
        try:
            _check_extent([Phase(str(place), epochs) for place, epochs in enumerate(counts)])
        except ValueError as error:
            return str(error)
        return None

    module = import_module("sweep.config.resolve")
    monkeypatch.setattr(module, "MOST_PHASES", 3)
    monkeypatch.setattr(module, "MOST_EPOCHS", 10)
    assert refused([4, 4, 2]) is None
    assert refused([4, 4, 3]) == "its phases would have 11 epochs in all, of at most 10"
    assert refused([1, 1, 1, 1]) == "its training would have 4 phases, of at most 3"
