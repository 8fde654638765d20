"""Problems: their place, their order, and the nearest name."""

from __future__ import annotations

import pytest

import methods
from sweep.config.problems import (
    COMMAND_LINE,
    LONGEST_KEY,
    ConfigError,
    Place,
    Problem,
    dotted_key,
    explain_absence,
    nearest,
    require_name,
)


def test_a_problem_is_one_line_with_place_and_remedy() -> None:
    assert str(Problem("a.yaml", 3, "sweeps.a", "is wrong", "mend it")) == "a.yaml:3: sweeps.a: is wrong; mend it"
    assert str(Problem("", None, "", "is wrong")) == "is wrong"


def test_problems_come_once_each_the_command_line_first() -> None:
    last, first = Problem("a.yaml", 9, "k", "x"), Problem("a.yaml", 2, "k", "x")
    override = Problem(COMMAND_LINE, None, "k=1", "x")
    whole, top = Problem("a.yaml", None, "k", "x"), Problem("a.yaml", 1, "k", "x")
    assert ConfigError([last, first, override, last]).problems == [override, first, last]
    assert ConfigError([top, whole, override]).problems == [override, whole, top]
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


def test_problems_are_in_the_order_of_files_and_lines_and_the_first_hundred_are_told() -> None:
    places = [("b.yaml", 1), ("a.yaml", 9), ("a.yaml", None), ("a.yaml", 2), (COMMAND_LINE, None)]
    found = ConfigError(Problem(origin, line, "", "x") for origin, line in places).problems
    assert [(each.origin, each.line) for each in found] == [places[n] for n in (4, 2, 3, 1, 0)]
    for count, last in [(100, "f:100: x"), (101, "and 1 more mistakes"), (1200, "and 1,100 more mistakes")]:
        lines = str(ConfigError(Problem("f", line, "", "x") for line in range(1, count + 1))).splitlines()
        assert (len(lines), lines[99], lines[-1]) == (min(count, 101), "f:100: x", last)


def test_a_long_key_is_cut_and_parts_that_are_empty_are_left_out() -> None:
    whole = "k" * LONGEST_KEY
    assert str(Problem("f", 1, whole, "x")) == f"f:1: {whole}: x"
    assert str(Problem("f", 1, whole + "k", "x")) == f"f:1: {whole}...: x"
    assert str(Problem("", None, "k", "x", "do")) == "k: x; do"
    assert str(Problem("f", 0, "", "x")) == "f:0: x"


def test_a_path_is_written_as_people_do() -> None:
    assert dotted_key(()) == ""
    assert dotted_key((0, "a")) == "[0].a"
    assert dotted_key(("b", 1), "a") == "a.b[1]"


def test_the_names_there_are_are_told_up_to_fifteen() -> None:
    names = [f"n{number:02d}" for number in range(16)]
    assert nearest("xxxxxx", names[:15]) == f"there are: {', '.join(names[:15])}"
    assert nearest("xxxxxx", names) == ""
    assert nearest("N07", names) == "did you mean n07?"


def test_a_name_that_cannot_be_used_says_why_or_what_was_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    assert explain_absence(methods.METHODS, "iprn") == ("no method called 'iprn'", "did you mean iprm?")
    told_of_all = explain_absence(methods.METHODS, "zzzz")
    assert told_of_all == ("no method called 'zzzz'", "python -m sweep list methods shows all")
    require_name(methods.METHODS, "iprm")
    with pytest.raises(ConfigError) as told:
        require_name(methods.METHODS, "iprn")
    assert str(told.value) == "no method called 'iprn'; did you mean iprm?"
    monkeypatch.setattr(methods.METHODS, "refusal", lambda name: f"{name} is torn")
    assert explain_absence(methods.METHODS, "iprn") == ("iprn is torn", "")
    with pytest.raises(ConfigError, match=r"^iprn is torn$"):
        require_name(methods.METHODS, "iprn")
