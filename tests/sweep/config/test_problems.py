"""Problems: their place, their order, and the nearest name."""

from __future__ import annotations

import pytest

from sweep.config.problems import COMMAND_LINE, ConfigError, Place, Problem, dotted_key, nearest


def test_a_problem_is_one_line_with_place_and_remedy() -> None:
    assert str(Problem("a.yaml", 3, "sweeps.a", "is wrong", "mend it")) == "a.yaml:3: sweeps.a: is wrong; mend it"
    assert str(Problem("", None, "", "is wrong")) == "is wrong"


def test_problems_come_once_each_the_command_line_first() -> None:
    last, first = Problem("a.yaml", 9, "k", "x"), Problem("a.yaml", 2, "k", "x")
    override = Problem(COMMAND_LINE, None, "k=1", "x")
    assert ConfigError([last, first, override, last]).problems == [override, first, last]
    assert str(ConfigError("no place")) == "no place"


def test_a_place_below_has_a_longer_key_but_an_override_stays_whole() -> None:
    assert Place("a.yaml", 1, "sweeps.a").problem("x", rest=("methods", 1)).key == "sweeps.a.methods[1]"
    assert Place(COMMAND_LINE, None, "epochs=x").problem("x", rest=("epochs",)).key == "epochs=x"
    assert dotted_key(("vary", "alpha", "grid", 2)) == "vary.alpha.grid[2]"


@pytest.mark.parametrize(
    ("name", "known", "hint"),
    [
        ("Joynt", ["joint", "iprm"], "did you mean joint?"),
        ("x", ["joint", "iprm"], "there are: joint, iprm"),
        ("x", [], ""),
        ("x", [f"name{i}" for i in range(20)], ""),
    ],
)
def test_the_nearest_name_or_those_there_are(name: str, known: list[str], hint: str) -> None:
    assert nearest(name, known) == hint
