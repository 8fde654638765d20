"""Declarations of hyperparameters: the text below each is its meaning, and epochs are counted alike everywhere."""

from __future__ import annotations

from typing import Any

import pytest

from methods.base.hyperparameters import Hyperparameters, declared, hyper


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
