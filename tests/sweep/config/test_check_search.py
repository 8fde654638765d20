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


TPE = "search: {algorithm: tpe, configurations: 3%s}"
ALPHA = f"vary: {{alpha: auto}}, {TPE}"


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (ALPHA % ", objectives: [accuracy, accuracy]", "search.objectives[1]: accuracy stands twice; keep one"),
        (
            ALPHA % ", objectives: [accuracy, seconds]" + ", scheduler: asha",
            "scheduler: cannot stop runs early by several objectives; leave one of them out",
        ),
        (
            ALPHA % ", objectives: [seconds]" + ", scheduler: asha",
            "scheduler: stops runs by accuracy, which is not what the search looks for; leave it out, or search for "
            "the metric",
        ),
        (
            ALPHA % ", objectives: [accuracy, seconds], racing: true",
            "search.racing: cannot compare configurations by several objectives; leave one of them out",
        ),
        (
            ALPHA % ", racing: true" + ", seeds: [1]",
            "search.racing: there is one seed only to race over; give at least two seeds",
        ),
        (ALPHA % ", warm_start: [b, c, b]", "search.warm_start[2]: b stands twice; keep one"),
        (ALPHA % ", warm_start: [b, a]", "search.warm_start[1]: a sweep cannot start from itself; name an earlier one"),
        (
            ALPHA % "" + ", points: [{alpha: 0.1}, {alpha: 0.2}, {alpha: 0.3}, {alpha: 0.4}]",
            "search.configurations: 3 configurations cannot hold the 4 points; use at least 4",
        ),
        (TPE % "", "search: there is nothing to search; give ranges in vary"),
        (
            "vary: {alpha: auto}, search: {algorithm: gp, configurations: 3, objectives: [accuracy, seconds]}",
            "search.objectives: gp looks for one objective only; use tpe, nsga2, random or qmc",
        ),
    ],
)
def test_each_is_told_at_its_key_with_its_remedy(one, keys, said):
    lines = problem_lines(one, f"sweeps: {{a: {{method: mixer, datasets: [toy], {keys}}}}}")
    assert lines == [f"sweeps.yaml:1: sweeps.a.{said}"]


@pytest.mark.parametrize(
    "keys",
    [
        ALPHA % "" + ", scheduler: asha, seeds: [1]",
        ALPHA % ", objectives: [accuracy]" + ", scheduler: asha",
        ALPHA % ", racing: true" + ", seeds: [1, 2]",
        ALPHA % "" + ", points: [{alpha: 0.1}, {alpha: 0.2}, {alpha: 0.3}]",
        ALPHA % ", warm_start: [b, c]",
    ],
)
def test_what_goes_together_is_taken(one, keys):
    assert one(f"sweeps: {{a: {{method: mixer, datasets: [toy], {keys}}}}}").search.configurations == 3


def test_a_mistake_in_one_key_makes_none_of_another(one):
    lines = problem_lines(one, f"sweeps: {{a: {{method: mixer, datasets: [toy], vary: {{alpha: 3}}, {TPE % ''}}}}}")
    assert len(lines) == 1
    assert ".vary.alpha: " in lines[0]
    text = SWEEP.format(search="algorithm: tpe, configurations: 1", more=", points: [{alpha: 0.1}, {alpha: 0.2}, 3]")
    assert [".points" in line for line in problem_lines(one, text)] == [True]


@pytest.mark.parametrize(
    ("keys", "lacking"),
    [
        ("vary: {slope: auto}", "slope: has no effect here: mixer uses it only with kind: flat; set kind in"),
        ("vary: {slope: auto, kind: {grid: [round]}}", "slope: has no effect here: mixer uses it only with kind"),
        ("vary: {slope: auto, kind: {grid: [flat, round]}}", None),
        ("hyperparameters: {kind: flat}, vary: {width: auto}", "width: has no effect here: mixer uses it only with"),
        ("hyperparameters: {kind: flat}, vary: {width: auto, smooth: auto}", None),
        ("vary: {width: auto, smooth: auto}", "smooth: has no effect here: mixer uses it only with kind: flat"),
        ("vary: {train.lr: {uniform: [0.1, 1]}}", None),
    ],
)
def test_what_has_no_effect_whatever_else_varies_is_refused(one, conditional, keys, lacking):
    text = f"sweeps: {{a: {{method: mixer, datasets: [toy], {keys}, {TPE % ''}}}}}"
    if lacking is None:
        assert one(text).name == "a"
        return
    assert any(line.startswith(f"sweeps.yaml:1: sweeps.a.vary.{lacking}") for line in problem_lines(one, text))


def test_what_has_an_effect_for_one_of_several_methods_is_varied(one, conditional):
    entries = "methods: [mixer, {method: mixer, label: flat, hyperparameters: {kind: flat}}]"
    text = f"sweeps: {{a: {{{entries}, datasets: [toy], vary: {{slope: auto}}, {TPE % ''}}}}}"
    assert one(text).name == "a"
    lines = problem_lines(one, text.replace("kind: flat", "kind: round"))
    assert all("set kind in hyperparameters, or vary it too" in line for line in lines)
