"""``vary: auto``: every declared range, but for what is fixed, varied by name or without effect."""

from __future__ import annotations

import pytest
from support.config_problems import problem_lines

from sweep.config import ConfigError, freeze, load, load_frozen

pytest_plugins = ["support.sweep_files"]

SEARCH = "search: {algorithm: tpe, configurations: 4}"


def varied(sweep):
    return {name: found.model_dump() for name, found in sweep.vary.items()}


def of(body):
    return f"sweeps: {{a: {{datasets: [toy], {body}}}}}"


def test_one_word_varies_every_declared_range(one, write):
    sweep = one(of(f"method: mixer, vary: auto, {SEARCH}"))
    assert varied(sweep) == {"alpha": "auto", "kind": "auto", "radius": "auto"}
    assert load_frozen(write(freeze(sweep), "frozen.yaml")) == sweep
    assert one(of(f"method: mixer, vary: {{alpha: auto}}, {SEARCH}"), "vary=auto") == sweep


def test_beside_other_names_the_star_stands_for_the_rest(one):
    sweep = one(
        of(f"method: mixer, vary: {{train.lr: {{uniform: [0.1, 1]}}, '*': auto, kind: {{grid: [flat]}}}}, {SEARCH}")
    )
    assert varied(sweep) == {
        "train.lr": {"uniform": [0.1, 1.0]}, "alpha": "auto", "radius": "auto", "kind": {"grid": ["flat"]}
    }  # fmt: skip
    added = one(of(f"method: mixer, vary: auto, {SEARCH}"), "vary.radius.left.uniform=[0.1, 0.2]")
    assert varied(added) == {"alpha": "auto", "kind": "auto", "radius.left": {"uniform": [0.1, 0.2]}}


def test_of_several_methods_each_has_its_own(one):
    text = of(f"methods: [mixer, {{method: ranker, hyperparameters: {{alpha: 1}}}}, joint], vary: auto, {SEARCH}")
    assert list(one(text).vary) == ["mixer.alpha", "mixer.kind", "mixer.radius", "joint.unimodal_loss_weight"]
    assert list(one(text, "vary={mixer.*: auto}").vary) == ["mixer.alpha", "mixer.kind", "mixer.radius"]


def test_what_has_no_effect_is_left_out(one, conditional):
    text = of(f"method: mixer, vary: auto, {SEARCH}, hyperparameters: {{alpha: 0.5, radius.left: 0.2, kind: %s}}")
    with pytest.raises(ConfigError, match="no method here declares a search range"):
        one(text % "round")
    assert list(one(text % "flat").vary) == ["slope", "smooth", "width"]
    assert list(one((text % "flat").replace("kind: flat", "kind: flat, smooth: false")).vary) == ["slope"]
    assert "width" in one(of(f"method: mixer, vary: auto, {SEARCH}")).vary


def test_without_a_search_choices_are_a_grid_and_ranges_are_refused(made, write):
    fixed = "method: mixer, datasets: [toy], vary: auto, hyperparameters: {alpha: 0.5, radius: 0.1}"
    (study,) = made(fixed).studies
    assert [c.values for c in study.configurations] == [{"kind": "round"}, {"kind": "flat"}]
    assert problem_lines(load, write(of("method: mixer, vary: auto"))) == [
        "sweeps.yaml:1: sweeps.a.vary: the ranges of alpha, radius need a search; give one, as in {algorithm: tpe, "
        "configurations: 40}, or vary by name"
    ]


@pytest.mark.parametrize(
    ("vary", "said"),
    [
        ("{'*': {grid: [1]}}", "sweeps.a.vary.*: * stands for declared ranges; write auto"),
        ("{mixr.*: auto}", "sweeps.a.vary.mixr.*: no method of this sweep is called 'mixr'; did you mean mixer?"),
        ("{'*': each}", "sweeps.a.vary.*: * stands for declared ranges; write auto"),
    ],
)
def test_a_star_that_stands_for_nothing_is_refused(write, vary, said):
    assert problem_lines(load, write(of(f"method: mixer, vary: {vary}, {SEARCH}"))) == [f"sweeps.yaml:1: {said}"]


def test_where_no_range_is_declared_there_is_nothing_to_vary(write):
    (line,) = problem_lines(load, write(of(f"method: ranker, hyperparameters: {{alpha: 1}}, vary: auto, {SEARCH}")))
    assert "no method here declares a search range of what is neither fixed nor varied by name" in line


def test_what_a_name_that_is_varied_beside_can_be_decides_what_has_an_effect(one, conditional):
    text = of(
        f"method: mixer, vary: {{'*': auto, kind: {{grid: [%s]}}}}, {SEARCH}, hyperparameters: {{mixer.radius: 1}}"
    )
    assert list(one(text % "round").vary) == ["alpha", "kind"]
    assert list(one(text % "round, flat").vary) == ["alpha", "slope", "smooth", "width", "kind"]
    # Each of two methods has its own name for it.
    text = text.replace("method: mixer", "methods: [mixer, joint]").replace("kind:", "mixer.kind:")
    assert "mixer.slope" not in one(text % "round").vary
    assert "mixer.slope" in one(text % "flat").vary


def test_what_is_fixed_is_fixed_for_its_method_alone(one):
    text = of(f"methods: [mixer, ranker], vary: auto, {SEARCH}, hyperparameters: {{%s: 0.5}}")
    assert [name for name in one(text % "alpha").vary if "alpha" in name] == []
    assert [name for name in one(text % "ranker.alpha").vary if "alpha" in name] == ["mixer.alpha"]
    entries = text.replace("ranker]", "{method: ranker, label: a}, {method: ranker, hyperparameters: {alpha: 1}}]")
    assert [name for name in one(entries % "mixer.radius").vary if "alpha" in name] == ["mixer.alpha"]


def test_a_mistake_of_a_name_that_was_not_written_is_told_where_the_star_was(write):
    lines = "sweeps:\n  a:\n    method: mixer\n    datasets: [toy]\n    hyperparameters: {alpha: 1}\n    vary:%s\n    "
    for star, said in [("\n      '*': auto", "7: sweeps.a.vary.*"), (" auto", "6: sweeps.a.vary")]:
        assert problem_lines(load, write(lines % star + SEARCH)) == [
            f"sweeps.yaml:{said}: flat mixing needs alpha below 1 (dataset toy)"
        ]


def test_other_mistakes_are_told_beside_a_star_without_adding_to_them(write):
    """What is missing may be what a mistake elsewhere was meant to be."""
    file = write(of("method: mixer, vary: auto, search: {algorithm: tp, configurations: 4}"))
    (line,) = problem_lines(load, file)
    assert line.startswith("sweeps.yaml:1: sweeps.a.search.algorithm: 'tp' is not possible")
