"""The space of a search: its names, their conditions, its first points."""

from __future__ import annotations

import pytest

from methods.base.hyperparameters import Choice, Integer, LogUniform, Uniform
from sweep.config import ConfigError
from sweep.plan.space import value_in

pytest_plugins = ["support.sweep_files"]


def test_a_search_has_a_space_and_starts_from_the_defaults(made):
    found = made(
        "method: mixer, datasets: [toy], search: {algorithm: tpe, configurations: 4}, vary: {alpha: auto, kind: auto, "
        "steps: {int: [2, 9]}, train.lr: {loguniform: [0.1, 1]}, data.noise: {grid: [0, 1]}}",
        "vary.epochs={int: [1, 9]}",
    )
    (study,) = found.studies
    assert study.configurations == []
    assert study.space == {
        "alpha": Uniform(0.1, 0.9),
        "kind": Choice(("round", "flat")),
        "steps": Integer(2, 9),
        "train.lr": LogUniform(0.1, 1.0),
        "data.noise": Choice((0, 1)),
        "epochs": Integer(1, 9),
    }
    first = {"alpha": 0.8, "kind": "round", "steps": 3, "train.lr": 0.2, "data.noise": 0.0, "epochs": 7}
    assert study.first == [first]
    configuration = study.configuration({**first, "steps": 5, "epochs": 2})
    assert (configuration.template.hyperparameters["steps"], configuration.template.epochs) == (5, 2)
    assert configuration.values == {**first, "steps": 5, "epochs": 2}
    assert found.report_seeds == [100, 101, 102, 103, 104]
    with pytest.raises(ConfigError, match="flat mixing needs alpha below 1"):
        study.configuration({**first, "kind": "flat", "alpha": 1.0})


def test_defaults_outside_a_range_are_not_tried_first(made):
    text = (
        "method: mixer, datasets: [toy], search: {algorithm: tpe, configurations: 4}, vary: {alpha: {uniform: [0, %s]}}"
    )
    assert made(text % 0.8).studies[0].first == [{"alpha": 0.8}]
    assert made(text % 0.7).studies[0].first == []


def test_a_space_asks_for_what_a_condition_speaks_of_first_and_for_what_exists_only(made, conditional):
    text = (
        "method: mixer, datasets: [toy], search: {algorithm: tpe, configurations: 4}, "
        "vary: {width: auto, smooth: auto, train.lr: {uniform: [0.1, 1]}, kind: auto}"
    )
    (study,) = made(text).studies
    answers = {"kind": "flat", "smooth": True, "width": 3, "train.lr": 0.3}
    asked = []
    assert study.space.propose(lambda name, _: asked.append(name) or answers[name]) == answers
    assert asked.index("kind") < asked.index("smooth") < asked.index("width")
    answers["smooth"] = False
    assert study.space.propose(lambda name, _: answers[name]) == {"kind": "flat", "smooth": False, "train.lr": 0.3}
    answers["kind"] = "round"
    assert study.space.propose(lambda name, _: answers[name]) == {"kind": "round", "train.lr": 0.3}
    assert study.first == [{"train.lr": 0.2, "kind": "round"}]
    fixed = made(text.replace(", kind: auto", ""), "hyperparameters.kind=flat").studies[0]
    assert fixed.first == [{"smooth": False, "train.lr": 0.2}]
    assert fixed.space.conditional


def test_a_search_proposes_parts_of_a_mapping_each_on_its_own(made):
    text = (
        "method: mixer, datasets: [toy], search: {algorithm: tpe, configurations: 4}, "
        "vary: {radius.left: auto, radius.right: {uniform: [0, 1]}}"
    )
    (study,) = made(text).studies
    assert study.space == {"radius.left": LogUniform(1e-3, 1.0), "radius.right": Uniform(0.0, 1.0)}
    assert study.first == [{"radius.left": 0.1, "radius.right": 0.1}]
    found = study.configuration({"radius.left": 0.2, "radius.right": 0.3})
    assert found.template.hyperparameters["radius"] == {"left": 0.2, "right": 0.3}
    assert study.space.values_in(found.template) == found.values


def test_a_space_is_conditional_where_one_of_its_names_decides_about_another(made, conditional):
    search = "method: mixer, datasets: [toy], search: {algorithm: tpe, configurations: 4}"
    flat = f"{search}, hyperparameters: {{kind: flat}}"
    for text, expected in [
        (f"{search}, vary: {{alpha: auto}}", False),
        (f"{flat}, vary: {{slope: auto}}", False),
        (f"{search}, vary: {{slope: auto, kind: auto}}", True),
        (f"{flat}, vary: {{width: auto, smooth: auto}}", True),
    ]:
        assert made(text).studies[0].space.conditional is expected, text


def test_values_are_complete_with_every_name_that_exists_and_no_other_each_within_its_range(made, conditional):
    text = "method: mixer, datasets: [toy], search: {algorithm: tpe, configurations: 4}, "
    (study,) = made(text + "vary: {slope: auto, kind: auto, train.lr: {uniform: [0.1, 1]}}").studies
    space, flat = study.space, {"kind": "flat", "slope": 1.0, "train.lr": 0.2}
    assert space.complete(flat)
    assert space.complete({"kind": "round", "train.lr": 0.2})
    for wrong in (
        {**flat, "train.lr": 3.0},
        {**flat, "kind": "round"},
        {**flat, "alpha": 0.5},
        {"kind": "flat", "train.lr": 0.2},
        {"slope": 1.0},
        {},
    ):
        assert not space.complete(wrong), wrong
    assert space.holds(flat)
    assert space.holds({})
    assert not space.holds({"alpha": 0.5})
    assert not space.holds({"slope": 9.0})
    # What lies outside a range is left out of what is read off a run.
    run = study.configuration(flat).template
    assert space.values_in(run) == flat
    recipe = run.train.model_copy(update={"lr": 3.0})
    assert space.values_in(run.model_copy(update={"train": recipe})) == {"kind": "flat", "slope": 1.0}


def test_values_are_read_off_each_section_of_a_run(made):
    (study,) = made("method: mixer, datasets: [toy], encoders: {left: {width: 5}}, epochs: 4").studies
    run = study.configurations[0].template
    names = ["alpha", "mixer.steps", "radius.left", "train.schedule.every", "data.toy.noise", "encoders.left.width"]
    assert [value_in(run, name) for name in names] == [0.8, 3, 0.1, 0.5, 0.0, 5]
    assert (value_in(run, "epochs"), value_in(run, "beta"), value_in(run, "encoders.up.width")) == (4, None, None)
