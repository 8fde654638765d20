"""Names of configurations in figures."""

from __future__ import annotations

import pandas as pd

from sweep.report.figures.names import LONGEST, figure_names

LONG = "alpha=0.474675, " + "beta=0.123456, " * 4 + "gamma=0.5"


def named(*rows: tuple[str, str]) -> list[str]:
    return list(figure_names(pd.DataFrame(rows, columns=["label", "point"])).values())


def test_a_name_says_what_was_varied_and_one_label_alone_is_not_said() -> None:
    assert named(("iprm", "alpha=0.1"), ("joint", "")) == ["iprm: alpha=0.1", "joint"]
    assert named(("iprm", "alpha=0.1"), ("iprm", "alpha=0.2")) == ["alpha=0.1", "alpha=0.2"]
    assert named(("joint", "")) == ["joint"]


def test_a_choice_of_a_search_is_named_by_its_method() -> None:
    assert named(("iprm", LONG), ("aug", "lam=1")) == ["iprm", "aug: lam=1"]
    assert named(("iprm", LONG)) == ["iprm"]


def test_forty_letters_are_not_too_long() -> None:
    for letters, expected in ((34, "iprm: " + "a" * 34), (35, "iprm")):
        assert named(("iprm", "a" * letters), ("joint", ""))[0] == expected


def test_long_names_of_one_method_are_cut_unless_they_would_be_the_same() -> None:
    first, second, third = named(("iprm", LONG), ("iprm", f"alpha=0.9, {LONG}"), ("aug", ""))
    assert first.startswith("iprm: alpha=0.474675")
    assert first.endswith(" …")
    assert len(first) <= LONGEST
    assert (second[:15], third) == ("iprm: alpha=0.9", "aug")
    assert named(("iprm", f"{LONG}1"), ("iprm", f"{LONG}2")) == [f"{LONG}1", f"{LONG}2"]
