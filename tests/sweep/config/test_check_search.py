"""Keys of a search that do not go together, beside the many of broken_configurations.txt."""

from __future__ import annotations

import pytest
from support.config_problems import problem_lines

pytest_plugins = ["support.sweep_files"]

SWEEP = "sweeps: {{a: {{method: mixer, datasets: [toy], vary: {{alpha: auto}}, search: {{{search}}}{more}}}}}"


@pytest.mark.parametrize(
    ("search", "more", "words"),
    [
        ("algorithm: gp, configurations: 3, objectives: [accuracy, seconds]", "", "gp looks for one objective only"),
        ("algorithm: tpe, configurations: 3, racing: true", ", seeds: [4]", "one seed only to race over"),
        ("algorithm: tpe, configurations: 3, warm_start: [a]", "", "a sweep cannot start from itself"),
        (
            "algorithm: tpe, configurations: 3, objectives: [map]",
            ", scheduler: asha",
            "not what the search looks for",
        ),
        ("algorithm: tpe, configurations: 1", ", points: [{alpha: 0.1}, {alpha: 0.2}]", "cannot hold the 2 points"),
    ],
)
def test_keys_that_do_not_go_together_are_refused(one, search, more, words):
    (line,) = problem_lines(one, SWEEP.format(search=search, more=more))
    assert words in line


def test_no_search_chooses_a_severity(one):
    vary = "vary: {alpha: auto, data.toy.corrupt.left.noise: {grid: [0, 1]}}"
    (line,) = problem_lines(
        one, f"sweeps: {{a: {{method: mixer, datasets: [toy], {vary}, search: {{algorithm: tpe, configurations: 3}}}}}}"
    )
    assert "a severity is a condition, which no search can choose" in line
    assert "fix it in data, in a sweep for each" in line


def test_several_objectives_go_with_the_samplers_that_know_them(one):
    for algorithm in ("tpe", "nsga2", "random", "qmc"):
        text = SWEEP.format(search=f"algorithm: {algorithm}, configurations: 3, objectives: [map, seconds]", more="")
        assert one(text).search.objectives == ["map", "seconds"]
