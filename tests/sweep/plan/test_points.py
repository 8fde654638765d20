"""The points of a sweep, beside a grid or instead of one."""

from __future__ import annotations

import pytest

from sweep.plan.points import RefusedError, checked_settings, listed_points, search_examples

pytest_plugins = ["support.sweep_files"]


def values(study):
    return [configuration.values for configuration in study.configurations]


def test_a_grid_is_every_combination_in_the_order_written(made):
    found = made("method: mixer, datasets: [toy], vary: {kind: {grid: [flat, round]}, steps: {grid: [1, 2, 3]}}")
    (study,) = found.studies
    assert values(study) == [{"kind": k, "steps": s} for k in ("flat", "round") for s in (1, 2, 3)]
    assert study.space == {}
    assert [c.template.hyperparameters["steps"] for c in study.configurations] == [1, 2, 3, 1, 2, 3]
    assert len({c.key for c in study.configurations}) == 6


def test_points_stand_instead_of_or_beside_a_grid(made):
    points = "points: [{alpha: 0.1}, {alpha: 0.2, steps: 5}]"
    (study,) = made(f"method: mixer, datasets: [toy], hyperparameters: {{steps: 4}}, {points}").studies
    assert values(study) == [{"alpha": 0.1}, {"alpha": 0.2, "steps": 5}]
    assert [c.template.hyperparameters["steps"] for c in study.configurations] == [4, 5]
    (study,) = made(f"method: mixer, datasets: [toy], {points}, vary: {{kind: {{grid: [flat]}}}}").studies
    assert values(study) == [{"kind": "flat"}, {"alpha": 0.1}, {"alpha": 0.2, "steps": 5}]


def test_points_of_one_method_leave_the_others_alone(made):
    found = made("methods: [mixer, ranker], datasets: [toy], points: [{mixer.alpha: 0.1}, {}, {mixer.alpha: 0.2}]")
    assert [values(study) for study in found.studies] == [[{"mixer.alpha": 0.1}, {}, {"mixer.alpha": 0.2}], [{}]]


def test_examples_of_a_search_are_the_first_values_and_each_further_choice_of_encoder_or_data(one):
    vary = (
        "vary: {alpha: {uniform: [0.1, 0.9]}, kind: {choice: [flat, round]}, data.noise: {uniform: [0, 1]}, "
        "encoders.left: {choice: [mlp, cnn, gru]}}"
    )
    text = f"sweeps: {{a: {{method: mixer, datasets: [toy], {vary}, search: {{algorithm: tpe, configurations: 4}}}}}}"
    sweep = one(text)
    first = {"alpha": 0.1, "kind": "flat", "data.noise": 0.0, "encoders.left": "mlp"}
    assert list(search_examples(sweep, sweep.methods[0], "toy")) == [
        (first, ("vary",)),
        (first | {"data.noise": 1.0}, ("vary",)),
        (first | {"encoders.left": "cnn"}, ("vary",)),
        (first | {"encoders.left": "gru"}, ("vary",)),
    ]
    grid = one("sweeps: {a: {method: mixer, datasets: [toy], vary: {kind: {grid: [flat, round]}}}}")
    assert list(search_examples(grid, grid.methods[0], "toy")) == []


def test_a_search_lists_its_points_alone_and_one_with_nothing_to_vary_its_defaults(one):
    text = "sweeps: {a: {methods: [mixer, ranker], datasets: [toy], vary: {mixer.alpha: auto}, points: [%s], "
    text += "search: {algorithm: tpe, configurations: 4}}}"

    def listed(points):
        sweep = one(text % points)
        return [list(listed_points(sweep, entry, "toy")) for entry in sweep.methods]

    assert listed("") == [[], [({}, ("vary",))]]
    assert listed("{ranker.alpha: 1}, {mixer.alpha: 0.2}") == [
        [({"mixer.alpha": 0.2}, ("points", 1))],
        [({"ranker.alpha": 1}, ("points", 0))],
    ]
    grid = one("sweeps: {a: {method: mixer, datasets: [toy], points: [{alpha: 0.2}]}}")
    assert list(listed_points(grid, grid.methods[0], "toy")) == [({"alpha": 0.2}, ("points", 0))]


def test_a_refusal_names_the_values_and_those_that_have_no_effect(one, conditional):
    sweep = one("sweeps: {a: {method: mixer, datasets: [toy]}}")
    entry = sweep.methods[0]
    with pytest.raises(RefusedError) as told:
        checked_settings(sweep, entry, "toy", {"kind": "flat", "alpha": 1, "width": 3}, "vary")
    assert str(told.value) == (
        "sweeps.yaml:1: sweeps.a.vary: flat mixing needs alpha below 1 (dataset toy), with kind = flat, alpha = 1, "
        "width = 3"
    )
    assert (told.value.reason, told.value.idle) == ("flat mixing needs alpha below 1", ["width"])
    assert checked_settings(sweep, entry, "toy", {"kind": "flat"}, "vary").hyperparameters.kind == "flat"
    fixed = sweep.model_copy(update={"hyperparameters": {"kind": "flat", "alpha": 1}})
    with pytest.raises(RefusedError, match=r"needs alpha below 1 \(dataset toy\)$"):
        checked_settings(fixed, entry, "toy", {}, "vary")
