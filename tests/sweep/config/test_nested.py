"""Values inside mappings and lists."""

from __future__ import annotations

from typing import Literal

import pytest

from sweep.config.nested import containers, spread_over, value_below, with_value_below


def test_a_value_is_read_and_written_below_mappings_and_lists():
    whole = {"a": {"b": [1, {"c": 2}]}, "d": 3}
    for path, value in [(("a", "b", "0"), 1), (("a", "b", "1", "c"), 2), (("d",), 3), ((), whole)]:
        assert value_below(whole, path) == value
    for path in [("a", "x"), ("a", "b", "2"), ("a", "b", "x"), ("d", "e"), ("x", "y")]:
        assert value_below(whole, path) is None
    assert with_value_below(whole, ("a", "b", "1", "c"), 9) == {"a": {"b": [1, {"c": 9}]}, "d": 3}
    assert with_value_below(whole, ("e", "f"), 9) == {**whole, "e": {"f": 9}}
    assert with_value_below(3, ("f",), 9) == {"f": 9}
    assert whole == {"a": {"b": [1, {"c": 2}]}, "d": 3}
    for position in ("2", "x", "-1"):
        with pytest.raises(IndexError, match=f"no entry {position} in a list of 2, counted from 0"):
            with_value_below(whole, ("a", "b", position), 9)


def test_one_value_stands_for_every_key_where_it_may_be_a_mapping():
    kind = float | dict[str, float]
    assert spread_over(0.1, ("a", "b"), kind) == {"a": 0.1, "b": 0.1}
    assert spread_over({"a": 0.1}, ("a", "b"), kind) == {"a": 0.1}
    assert spread_over(None, ("a", "b"), kind | None) is None
    assert spread_over(0.1, ("a", "b"), float) == 0.1
    assert value_below({"rho": 0.1}, ("rho", "a"), spread=True) == 0.1


def test_what_an_annotation_can_hold():
    assert containers(float | dict[str, float]) == {dict}
    assert containers(list[float] | None) == {list}
    assert containers(Literal["a"]) == containers(str) == set()
