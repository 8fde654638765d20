"""The points of a sweep, beside a grid or instead of one."""

from __future__ import annotations

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
