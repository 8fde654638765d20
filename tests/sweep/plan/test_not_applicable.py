"""Configurations that their method refuses are left out where a sweep says so, and refused where it does not."""

from __future__ import annotations

import pytest
from support.config_problems import problem_lines

from sweep.config import ConfigError, load
from sweep.plan.build import plan
from sweep.plan.not_applicable import NotApplicable, not_applicable
from sweep.plan.validate import validate

pytest_plugins = ["support.sweep_files"]

GRID = "method: mixer, datasets: [toy], vary: {kind: {grid: [round, flat]}, alpha: {grid: [0.5, 1]}}"
REASON = "flat mixing needs alpha below 1"


def test_a_refused_configuration_is_no_part_of_the_plan_but_named_with_its_reason(made):
    found = made(f"{GRID}, not_applicable: skip, seeds: [0, 1], references: false")
    (study,) = found.studies
    assert [tuple(c.values.values()) for c in study.configurations] == [("round", 0.5), ("round", 1), ("flat", 0.5)]
    assert found.not_applicable == [NotApplicable("mixer", "toy", {"kind": "flat", "alpha": 1}, REASON)]
    assert found.expected_runs() == 6
    assert made(f"{GRID}, not_applicable: refuse", "vary.alpha={grid: [0.5]}").not_applicable == []
    for refusing in (GRID, f"{GRID}, not_applicable: refuse"):
        with pytest.raises(ConfigError, match=REASON):
            made(refusing)


def test_a_point_is_left_out_once_and_without_what_has_no_effect_there(made, conditional):
    found = made(
        "method: mixer, datasets: [toy], not_applicable: skip, hyperparameters: {kind: flat}, "
        "points: [{alpha: 1, width: 3}, {alpha: 1, width: 4}, {alpha: 0.5}]"
    )
    assert found.not_applicable == [NotApplicable("mixer", "toy", {"alpha": 1}, REASON)]
    assert len(found.studies[0].configurations) == 1


@pytest.fixture
def for_two(monkeypatch, fakes):
    from support.fake_declarations import Mixer

    monkeypatch.setattr(Mixer, "max_modalities", 2, raising=False)


MANY = "methods: [mixer, ranker], datasets: [toy, files], data: {toy: {views: [a, b, c]}, files: {root: .}}"
TOO_MANY = "mixer needs exactly 2 modalities, the dataset gives 3: a, b, c"


def test_a_method_is_left_out_of_a_dataset_that_it_is_not_defined_for(made, write, for_two):
    write("x", "content")
    found = made(f"{MANY}, not_applicable: skip, report_seeds: [9]")
    assert [(study.label, study.dataset) for study in found.studies] == [
        ("mixer", "files"), ("ranker", "toy"), ("ranker", "files")
    ]  # fmt: skip
    assert found.not_applicable == [NotApplicable("mixer", "toy", {}, TOO_MANY)]
    assert found.report_runs() == 3 + 2 * 4


def test_a_search_is_left_out_whole_where_nothing_of_it_can_be_trained(made, write, for_two):
    write("x", "content")
    search = "vary: {alpha: {uniform: [0.2, 0.5]}}, search: {algorithm: tpe, configurations: 4}"
    found = made(f"{MANY}, {search}, not_applicable: skip, references: false")
    assert len(found.searches) == 3
    assert found.not_applicable == [NotApplicable("mixer", "toy", {}, TOO_MANY)]
    in_part = made(
        "method: mixer, datasets: [toy], not_applicable: skip, search: {algorithm: tpe, configurations: 4}, "
        "vary: {alpha: {grid: [1, 0.5]}, kind: {grid: [flat, round]}}"
    )
    assert in_part.not_applicable == []
    assert len(in_part.searches) == 1


def test_a_sweep_of_which_nothing_is_left_is_refused(write):
    file = write(f"sweeps: {{a: {{{GRID.replace('[round, flat]', '[flat]').replace('0.5, 1', '1')}, "
                 "not_applicable: skip}}")  # fmt: skip
    (sweep,) = load(file)
    assert not_applicable(sweep) == [NotApplicable("mixer", "toy", {"kind": "flat", "alpha": 1}, REASON)]
    for call in (lambda: validate(file), lambda: plan(sweep)):
        (line,) = problem_lines(call)
        assert line == f"sweeps.yaml:1: sweeps.a.not_applicable: nothing of this sweep is left: {REASON}"


def test_a_mistake_of_another_kind_is_never_left_out(made):
    with pytest.raises(ConfigError, match="expected a number at most 1"):
        made("method: mixer, datasets: [toy], not_applicable: skip, vary: {alpha: {grid: [0.5, 2]}}")
    with pytest.raises(ConfigError, match=r"expected refuse or skip|did you mean skip"):
        made("method: mixer, datasets: [toy], not_applicable: skipp")


def test_each_is_every_modality_of_the_dataset_at_hand(made, write, monkeypatch, fakes):
    from support import fake_declarations

    from methods.base.hyperparameters import hyper

    class Hyperparameters(fake_declarations.Mixer.Hyperparameters):
        modality: str | None = hyper(None, meaning="one of them")

    monkeypatch.setattr(fake_declarations.Mixer, "Hyperparameters", Hyperparameters)
    write("x", "content")
    text = "method: mixer, datasets: [toy, files], data: {files: {root: .}}, vary: {modality: each}, references: false"
    found = made(text)
    assert [[c.values["modality"] for c in study.configurations] for study in found.studies] == [
        ["left", "right"], ["audio", "image"]
    ]  # fmt: skip
    more = made(text, "data.toy.views=[a, b, c]", "vary.mixer.modality=each", "vary={modality: each}")
    assert [c.values["modality"] for c in more.studies[0].configurations] == ["a", "b", "c"]
    searched = made(f"{text}, search: {{algorithm: random, configurations: 2}}")
    assert [study.space["modality"].values for study in searched.studies] == [("left", "right"), ("audio", "image")]
