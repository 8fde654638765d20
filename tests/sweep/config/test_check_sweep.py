"""Mistakes that a schema cannot know, beside the many of broken_configurations.txt."""

from __future__ import annotations

import pytest
from support.config_problems import problem_lines

from methods.base.hyperparameters import Choice, Uniform
from sweep.config import check_sweep

pytest_plugins = ["support.sweep_files"]


pytestmark = pytest.mark.usefixtures("fakes")


def test_a_point_is_checked_as_a_whole(one):
    text = """
sweeps:
  a:
    method: mixer
    datasets: [toy]
    points:
      - {kind: flat}
      - {kind: flat, alpha: 1}
"""
    assert problem_lines(one, text) == [
        "sweeps.yaml:8: sweeps.a.points[1]: flat mixing needs alpha below 1 (dataset toy)"
    ]


def test_a_wrong_method_does_not_move_the_mistakes_of_the_others(one):
    text = """
sweeps:
  a:
    methods:
      - mixxer
      - {method: mixer, hyperparameters: {step: 2}}
      - {method: ranker, hyperparameters: {beta: 2}}
    datasets: [toy]
"""
    assert problem_lines(one, text) == [
        "sweeps.yaml:5: sweeps.a.methods[0]: no method called 'mixxer'; did you mean mixer?",
        "sweeps.yaml:6: sweeps.a.methods[1].hyperparameters.step: no hyperparameter of mixer called 'step'; "
        "did you mean steps?",
        "sweeps.yaml:7: sweeps.a.methods[2].hyperparameters.beta: expected a number at most 1, not 2",
    ]


MIXER = "method: mixer, datasets: [toy]"


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (
            f"{MIXER}, hyperparameters: {{alpha: 0.1}}, vary: {{mixer.alpha: {{grid: [0.2]}}}}",
            "hyperparameters.alpha: alpha is both fixed and varied; keep one of them",
        ),
        (
            f"{MIXER}, hyperparameters: {{radius.left: 0.1}}, vary: {{radius: {{grid: [0.2]}}}}",
            "hyperparameters.radius.left: radius.left is both fixed and varied; keep one of them",
        ),
        (
            f"{MIXER}, hyperparameters: {{alpha: 0.1}}, points: [{{alpha: 0.2}}, {{alpha: 0.3}}]",
            "hyperparameters.alpha: has no effect: every point sets it; leave it out",
        ),
        (
            f"{MIXER}, vary: {{radius: {{grid: [0.2]}}, radius.left: {{grid: [0.2]}}}}",
            "vary.radius.left: radius is varied too, and sets all of it; keep one of them",
        ),
        (f"{MIXER}, vary: {{alpha: {{grid: [0.2, 0.3, 0.2]}}}}", "vary.alpha.grid[2]: 0.2 stands twice; keep one"),
        (
            f"{MIXER}, vary: {{steps: auto}}, search: {{algorithm: tpe, configurations: 3}}",
            "vary.steps: mixer declares no range for steps; give one, as in {grid: [0.1, 0.5]}",
        ),
        (
            f"{MIXER}, vary: {{train.lr: auto}}, search: {{algorithm: tpe, configurations: 3}}",
            "vary.train.lr: only a hyperparameter has a declared range; give one, as in {grid: [0.1, 0.5]}",
        ),
        (
            f"{MIXER}, vary: {{alpha: {{uniform: [0.1, 0.2]}}}}",
            "vary.alpha: a range needs a search; give values, as in {grid: [0.1, 0.5]}, or a search, as in "
            "{algorithm: tpe, configurations: 40}",
        ),
        (f"{MIXER}, points: [{{alpha: 0.2}}, {{}}, {{alpha: 0.2}}]", "points[2]: repeats points[0]; keep one"),
        (
            f"{MIXER}, seeds: [1, 2], report_seeds: [3, 2]",
            "report_seeds: seed 2 is in both seeds and report_seeds; report seeds must be fresh ones",
        ),
        (
            f"{MIXER}, data: {{files: {{siz: 3}}}}",
            "data.files.siz: no option of files called 'siz'; did you mean size?",
        ),
        (f"{MIXER}, data: {{none: {{a: 3}}}}", "data.none: no dataset called 'none'; there are: files, toy"),
        (
            "methods: [mixer, {method: mixer, hyperparameters: {steps: 4}}], datasets: [toy]",
            "methods[1]: label 'mixer' stands twice; write {method: mixer, label: another name}",
        ),
        (
            "methods: [joint, {method: mixer, hyperparameters: {radius.lft: 3}}], datasets: [toy]",
            "methods[1].hyperparameters.radius.lft: radius of mixer has no 'lft'; did you mean left?",
        ),
        (
            "methods: [{method: mixer, hyperparameters: {steps: 4}}], datasets: [toy], vary: {steps: {grid: [1]}}",
            "methods[0].hyperparameters.steps: steps is both fixed and varied; keep one of them",
        ),
        # What is refused is told of the value that brings it about, or of the method where every value does.
        (
            f"{MIXER}, hyperparameters: {{alpha: 1}}, vary: {{kind: {{grid: [round, flat]}}}}",
            "vary.kind: flat mixing needs alpha below 1 (dataset toy)",
        ),
        (
            f"{MIXER}, hyperparameters: {{alpha: 1, kind: flat}}, vary: {{steps: {{grid: [1, 2]}}}}",
            "method: flat mixing needs alpha below 1 (dataset toy)",
        ),
        (
            f"{MIXER}, hyperparameters: {{alpha: 1, kind: flat}}",
            "method: flat mixing needs alpha below 1 (dataset toy)",
        ),
    ],
)
def test_each_is_told_at_its_key_with_its_remedy(one, keys, said):
    assert problem_lines(one, f"sweeps: {{a: {{{keys}}}}}") == [f"sweeps.yaml:1: sweeps.a.{said}"]


@pytest.mark.parametrize(
    "keys",
    [
        f"{MIXER}, hyperparameters: {{radius: 0.1}}, vary: {{radius.left: {{grid: [0.2]}}}}",
        f"{MIXER}, hyperparameters: {{alpha: 0.1}}, points: [{{alpha: 0.2}}, {{steps: 3}}]",
        f"{MIXER}, hyperparameters: {{alpha: 0.1}}, points: [{{alpha: 0.2}}], vary: {{steps: {{grid: [1, 2]}}}}",
        f"{MIXER}, data: {{files: {{size: 3}}}}, seeds: [1, 2], report_seeds: [3]",
        f"{MIXER}, vary: {{radius.left: {{grid: [0.2]}}, radius.right: {{grid: [0.2]}}}}",
        "methods: [mixer, ranker], datasets: [toy], hyperparameters: {ranker.alpha: 1}, "
        "vary: {mixer.alpha: {grid: [1]}}",
        "methods: [mixer, {method: mixer, label: other}], datasets: [toy]",
    ],
)
def test_what_goes_together_is_taken(one, keys):
    assert one(f"sweeps: {{a: {{{keys}}}}}").name == "a"


def test_a_grid_and_its_runs_are_counted_on_every_split(one, monkeypatch):
    monkeypatch.setattr(check_sweep, "MOST_POINTS", 6)
    monkeypatch.setattr(check_sweep, "MOST_RUNS", 12)
    grid = f"sweeps: {{a: {{{MIXER}, seeds: [0, 1], vary: {{steps: {{grid: [%s]}}, kind: {{grid: [flat, round]}}}}}}}}"
    assert one(grid % "1, 2, 3").name == "a"
    assert problem_lines(one, grid % "1, 2, 3, 4") == [
        "sweeps.yaml:1: sweeps.a.vary: a grid of 8 configurations; give fewer values, or a search"
    ]
    assert problem_lines(one, grid % "1, 2, 3", "seeds=[0, 1, 2]") == [
        "command line: seeds=[0, 1, 2]: 18 runs of one method, of at most 12; give fewer seeds"
    ]
    searched = (grid % "1, 2, 3, 4").replace("seeds", "search: {algorithm: tpe, configurations: 3}, seeds")
    assert one(searched).name == "a"


def test_values_that_stand_for_a_range_are_all_of_a_set_and_both_ends_of_others():
    assert check_sweep.representative_values(Choice((1, 2, 3))) == [1, 2, 3]
    assert check_sweep.representative_values(Uniform(0.1, 0.9)) == [0.1, 0.9]


def test_each_value_is_tried_beside_the_first_ones_of_the_others(one):
    sweep = one(f"sweeps: {{a: {{{MIXER}, points: [{{alpha: 0.3}}, {{ranker.alpha: 1}}]}}}}".replace(
        "method: mixer", "methods: [mixer, ranker]"))  # fmt: skip
    entry = sweep.methods[0]
    tried = list(check_sweep.attempts(sweep, entry, "toy", {"steps": [1, 2], "kind": ["flat", "round"]},
                                      dict(enumerate(sweep.points))))  # fmt: skip
    assert [(path, values) for path, values, _ in tried] == [
        (("vary", "steps"), {"steps": 1, "kind": "flat"}),
        (("vary", "steps"), {"steps": 2, "kind": "flat"}),
        (("vary", "kind"), {"steps": 1, "kind": "flat"}),
        (("vary", "kind"), {"steps": 1, "kind": "round"}),
        (("points", 0), {"alpha": 0.3}),
    ]
    assert [at("x") for _, _, at in tried] == [("vary", "x")] * 4 + [("points", 0, "x")]
    ((path, values, at),) = check_sweep.attempts(sweep, entry, "toy", {}, {1: {"ranker.alpha": 1}})
    assert (path, values, at("x")) == ((), {}, ("vary", "x"))
