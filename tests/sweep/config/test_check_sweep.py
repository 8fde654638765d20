"""Mistakes that a schema cannot know, beside the many of broken_configurations.txt."""

from __future__ import annotations

import pytest
from support.config_problems import problem_lines

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
