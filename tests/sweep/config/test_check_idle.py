"""A patience and a grace that no run is long enough for."""

from __future__ import annotations

import pytest
from support.config_problems import problem_lines

from sweep.config import freeze, load_frozen

pytest_plugins = ["support.sweep_files"]
pytestmark = pytest.mark.usefixtures("fakes")

SEARCH = "vary: {alpha: auto}, search: {algorithm: tpe, configurations: 3}"


def text(keys: str, defaults: str = "") -> str:
    return f"defaults: {{{defaults}}}\nsweeps:\n  a:\n    {{method: mixer, datasets: [toy], {SEARCH}, {keys}}}\n"


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (
            "epochs: 3, patience: 3",
            "sweeps.a.patience: 3 epochs without a better value never come: no run has more than 3 epochs; give fewer, "
            "or leave patience out",
        ),
        (
            "epochs: 3, scheduler: {name: asha, grace: 500}",
            "sweeps.a.scheduler.grace: asha stops nothing in the first 500 epochs: no run has more than 3 epochs; give "
            "fewer, or leave scheduler out",
        ),
    ],
)
def test_what_can_never_end_a_run_is_refused_in_its_line(one, keys, said):
    (problem,) = problem_lines(one, text(keys))
    assert problem.endswith(f"sweeps.yaml:4: {said}")


@pytest.mark.parametrize(
    ("keys", "defaults", "overrides"),
    [
        ("epochs: 3, patience: 2, scheduler: {name: asha, grace: 2}", "", []),
        ("epochs: 3", "patience: 9, scheduler: {name: asha, grace: 9}", []),
        ("patience: 9", "epochs: 3", []),
        ("patience: 9, epochs: 20", "", ["epochs=2"]),
        ("epochs: 3", "", ["patience=9"]),
        ("epochs: 3, scheduler: asha", "", []),
        ("patience: 99, scheduler: {name: asha, grace: 99}", "", []),
        ("epochs: 3, patience: 9, points: [{epochs: 20}]", "", []),
    ],
)
def test_what_several_sweeps_share_or_a_trial_shortens_is_taken(one, write, keys, defaults, overrides):
    sweep = one(text(keys, defaults), *overrides)
    assert load_frozen(write(freeze(sweep), "frozen.yaml")) == sweep
