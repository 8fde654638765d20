"""Declarations of hyperparameters: the text below each is its meaning, and epochs are counted alike everywhere."""

from __future__ import annotations

from typing import Any

import pytest

from methods.base.hyperparameters import (
    MOST,
    MOST_EPOCHS,
    Choice,
    Declared,
    Hyperparameters,
    Integer,
    Uniform,
    declared,
    epoch_window,
    hyper,
    in_epochs,
)


class Told(Hyperparameters):
    alpha: float = hyper(0.5)
    """weight of what
    was there before"""
    beta: int = hyper(1, meaning="given as an argument")
    """not this text"""
    gamma: bool = hyper(False)
    delta: float = hyper(0.0)


class Narrowed(Told):
    alpha: float = hyper(0.9, low=0.0)
    beta: int = hyper(2)
    delta: float = hyper(0.1)
    """own words"""


class Counted(Hyperparameters):
    warmup: float = hyper(0.0, epochs=True)
    phases: list[float] | None = hyper(None, epochs=True)
    by_modality: float | dict[str, float] = hyper(1.0, epochs=True)
    plain: float = hyper(0.5)


def meanings(model: type[Hyperparameters]) -> dict[str, str]:
    return {name: found.meaning for name, found in declared(model).items()}


def test_the_text_below_a_hyperparameter_is_its_meaning() -> None:
    assert meanings(Told) == {
        "alpha": "weight of what was there before",
        "beta": "given as an argument",
        "gamma": "",
        "delta": "",
    }


def test_a_subclass_keeps_the_meanings_that_it_does_not_tell_anew() -> None:
    found = meanings(Narrowed)
    assert (found["alpha"], found["beta"]) == ("weight of what was there before", "given as an argument")
    assert found["delta"] == "own words"


def test_a_class_inside_a_function_is_read_too() -> None:
    class Inner(Hyperparameters):
        rate: float = hyper(1.0)
        """over
two lines, the second one without indent"""

    assert meanings(Inner) == {"rate": "over two lines, the second one without indent"}


def test_a_class_without_source_has_the_meanings_that_it_is_given() -> None:
    fields = {"__annotations__": {"x": int, "y": int}, "x": hyper(1, meaning="given"), "y": hyper(2)}
    assert meanings(type("Made", (Hyperparameters,), fields)) == {"x": "given", "y": ""}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("warmup", 1.5),
        ("warmup", -1.0),
        ("phases", [2.0, 2.5]),
        ("by_modality", {"audio": 1.0, "video": 3.5}),
    ],
)
def test_what_cannot_be_counted_in_epochs_is_refused(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"(?s){name}.*is neither a share in \(0, 1\) nor a whole number of epochs"):
        Counted.model_validate({name: value})


def test_shares_and_whole_numbers_of_epochs_are_taken_as_they_are() -> None:
    values = {"warmup": 0.25, "phases": [3.0, 0.5], "by_modality": {"audio": 4.0}, "plain": 1.5}
    assert Counted.model_validate(values).model_dump() == values
    assert Counted.model_validate({"phases": None}).phases is None


def test_epochs_are_shares_of_the_budget_below_one_and_whole_numbers_from_there() -> None:
    found = {value: in_epochs(value, 10) for value in (0, 0.01, 0.04, 0.26, 0.3, 0.96, 0.999, 1, 2.0, 11)}
    assert list(found.values()) == [0, 1, 1, 3, 3, 10, 10, 1, 2, 11]
    assert [type(value) for value in found.values()] == [int] * len(found)
    assert in_epochs(0.5, 1) == 1
    for wrong in (-1, -0.5, 1.5, 2.25):
        with pytest.raises(ValueError, match=f"{wrong} is neither a share"):
            in_epochs(wrong, 10)


def test_a_window_of_epochs_holds_its_first_and_its_last() -> None:
    assert list(epoch_window(0, None, 3)) == [0, 1, 2]
    assert list(epoch_window(1, 2, 4)) == [1, 2]
    assert list(epoch_window(2, 2, 4)) == [2]
    assert list(epoch_window(0.5, 0.75, 8)) == [4, 5, 6]
    assert not epoch_window(3, 1, 4)


class Bounded(Hyperparameters):
    count: int = hyper(1, symbol="n", low=1, high=4, search=Integer(1, 3))
    scale: float | None = hyper(None, above=0.0, only_if=("count", (2, 3)))
    steps: list[int] = hyper([1])
    start: float = hyper(0.5, low=0.0, epochs=True)
    """when"""
    kind: bool = hyper(True, search=Choice((False, True)))


def test_what_is_declared_is_listed() -> None:
    found = declared(Bounded)
    assert list(found) == ["count", "scale", "steps", "start", "kind"]
    assert found["count"] == Declared("count", "int", 1, 1, 4, "n", "", Integer(1, 3, log=False), None, False)
    assert found["scale"] == Declared("scale", "float | None", None, 0.0, None, "", "", None, ("count", (2, 3)), False)
    assert found["start"] == Declared("start", "float", 0.5, 0.0, None, "", "when", None, None, True)
    assert found["kind"].search == Choice((False, True)) != Uniform(0, 1)


def test_a_field_that_was_not_declared_by_hyper_has_neither_symbol_nor_range() -> None:
    class Undeclared(Hyperparameters):
        x: int = 3

    assert declared(Undeclared)["x"] == Declared("x", "int", 3, None, None, "", "", None, None, False)


@pytest.mark.parametrize(
    ("name", "taken", "refused"),
    [
        ("count", [1, 4], [0, 5, 2.0, "2", True]),
        ("scale", [1e-9, None], [0.0, -1.0, float("inf"), float("nan")]),
        ("steps", [[], [MOST]], [[MOST + 1], [1, 2 * MOST]]),
        ("start", [0.0, 0.25, 1.0, 100_000.0], [-0.5, 1.5, 100_001.0]),
    ],
)
def test_values_lie_within_the_bounds(name: str, taken: list[Any], refused: list[Any]) -> None:
    for value in taken:
        assert getattr(Bounded.model_validate({name: value}), name) == value
    for value in refused:
        with pytest.raises(ValueError, match=name):
            Bounded.model_validate({name: value})


def test_hyperparameters_are_fixed_and_know_no_other_names() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Bounded().count = 2
    with pytest.raises(ValueError, match="unheard_of"):
        Bounded.model_validate({"unheard_of": 1})
    assert Bounded().mixes_channels is None


def test_whole_numbers_and_epochs_are_at_most_a_hundred_thousand() -> None:
    assert MOST == MOST_EPOCHS == 100_000
    with pytest.raises(ValueError, match="expected at most 100,000 epochs, not 100001"):
        Bounded(start=100_001.0)
