"""Settings of one method on one dataset."""

from __future__ import annotations

import pytest
from support import fake_declarations

from methods.base.hyperparameters import hyper
from sweep.config import ConfigError
from sweep.config.resolve import resolve, target, varied_names

pytest_plugins = ["support.sweep_files"]


pytestmark = pytest.mark.usefixtures("fakes")


@pytest.mark.parametrize(
    ("name", "room", "owner", "path"),
    [
        ("alpha", "hyperparameters", None, ("alpha",)),
        ("mixer.alpha", "hyperparameters", "mixer", ("alpha",)),
        ("radius.left", "hyperparameters", None, ("radius", "left")),
        ("mixer.radius.left", "hyperparameters", "mixer", ("radius", "left")),
        ("train.lr", "train", None, ("lr",)),
        ("train.schedule.every", "train", None, ("schedule", "every")),
        ("data.noise", "data", None, ("noise",)),
        ("data.toy.noise", "data", "toy", ("noise",)),
        ("encoders.left.width", "encoders", None, ("left", "width")),
        ("epochs", "epochs", None, ("epochs",)),
    ],
)
def test_a_varied_name_says_what_it_sets(name, room, owner, path):
    found = target(name)
    assert (found.section, found.owner, found.path) == (room, owner, path)


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
        "vary: {radius.left: {grid: [0.2]}, radius.audio: {grid: [0.3]}}}}"
    )
    assert varied_names(sweep, "mixer", "toy") == ["radius.left"]
    assert varied_names(sweep, "mixer", "files") == ["radius.audio"]


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
