"""What pydantic finds wrong, in words."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from sweep.config.schema import Sweep
from sweep.config.schema_errors import describe_value, explain
from sweep.training.recipe import Recipe


@pytest.mark.parametrize(
    ("values", "path", "message", "suggestion"),
    [
        ({"lr": "0.1"}, ("lr",), "expected a number, not '0.1'", "take the quotes off"),
        ({"lr": -1.0}, ("lr",), "expected a number above 0, not -1", ""),
        ({"lrr": 1.0}, ("lrr",), "no key of train called 'lrr'", "did you mean lr?"),
        (
            {"optimizer": "sgdd"},
            ("optimizer",),
            "'sgdd' is not possible: expected sgd, adam, adamw",
            "did you mean sgd?",
        ),
        ({"betas": [0.9]}, ("betas",), "expected at least 2 values, not a list", ""),
        ({"schedule": {"factr": 0.1}}, ("schedule", "factr"), "no key called 'factr'", "did you mean factor?"),
    ],
)
def test_a_mistake_says_what_would_have_been_right(
    values: dict[str, Any], path: tuple[str, ...], message: str, suggestion: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        Recipe.model_validate(values)
    (mistake,) = explain(caught.value, Recipe, values, "key of train")
    assert (mistake.path, mistake.message, mistake.suggestion) == (path, message, suggestion)


def test_values_are_named_as_they_are_written() -> None:
    values = [None, True, 0.5, 3, "a", "", {}, [], [1]]
    words = ["null", "true", "0.5", "3", "'a'", "an empty text", "a mapping", "an empty list", "a list"]
    assert [describe_value(value) for value in values] == words


# Every kind of mistake -----------------------------------------------------------------------------------------------


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    size: int = Field(1, ge=1, lt=10, alias="extent")


class Circle(Inner):
    kind: Literal["circle"]


class Square(Inner):
    kind: Literal["square"]
    side: float


class Model(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    needed: int = Field(description="what is needed")
    bare: int = 3
    some: list[int] = Field([1], min_length=1, max_length=2)
    pair: list[int] = Field([1, 2], min_length=2)
    text: str = Field("x", min_length=1)
    share: float = Field(0.5, gt=0.25, le=1234567)
    flag: bool = False
    either: float | dict[str, float] | None = None
    word: Literal["alpha", "beta"] = "alpha"
    several: Literal["alpha", 3] | list[int] = "alpha"
    inner: Inner = Inner()
    inners: dict[str, Inner] = {}
    shape: Annotated[Circle | Square, Field(discriminator="kind")] | None = None
    own: int = 0

    @field_validator("own")
    @classmethod
    def _even(cls, value: int) -> int:
        if value % 2:
            raise ValueError(f"{value} is odd")
        return value


def mistakes(**values: Any) -> list[tuple[tuple[str | int, ...], str, str]]:
    found = {"needed": 1} | values
    with pytest.raises(ValidationError) as caught:
        Model.model_validate(found)
    return [tuple(each) for each in explain(caught.value, Model, found, "noun")]  # type: ignore[misc]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"bare": 1.5}, (("bare",), "expected a whole number, not 1.5", "")),
        ({"bare": "5"}, (("bare",), "expected a whole number, not '5'", "take the quotes off")),
        ({"flag": "true"}, (("flag",), "expected true or false, not 'true'", "take the quotes off")),
        ({"flag": "yes"}, (("flag",), "expected true or false, not 'yes'", "")),
        ({"text": 3}, (("text",), "expected a text, not 3", "")),
        ({"text": ""}, (("text",), "expected a text that is not empty, not an empty text", "")),
        ({"some": 3}, (("some",), "expected a list, not 3", "")),
        ({"some": []}, (("some",), "expected at least one value, not an empty list", "")),
        ({"some": [1, 2, 3]}, (("some",), "expected at most 2 values, not a list", "")),
        ({"pair": [1]}, (("pair",), "expected at least 2 values, not a list", "")),
        ({"some": [1, "x"]}, (("some", 1), "expected a whole number, not 'x'", "")),
        ({"share": 0.25}, (("share",), "expected a number above 0.25, not 0.25", "")),
        ({"share": 1e9}, (("share",), "expected a number at most 1,234,567, not 1e+09", "")),
        ({"inner": {"extent": 0}}, (("inner", "extent"), "expected a number at least 1, not 0", "")),
        ({"inner": {"extent": 10}}, (("inner", "extent"), "expected a number below 10, not 10", "")),
        ({"inner": 3}, (("inner",), "expected a mapping, not 3", "")),
        ({"inner": {"extend": 3}}, (("inner", "extend"), "no key called 'extend'", "did you mean extent?")),
        ({"inners": {"a": {"extend": 3}}},
         (("inners", "a", "extend"), "no key called 'extend'", "did you mean extent?")),
        ({"bar": 3}, (("bar",), "no noun called 'bar'", "did you mean bare?")),
        ({"needed": None}, (("needed",), "expected a whole number, not null", "")),
        ({"word": "alfa"}, (("word",), "'alfa' is not possible: expected alpha, beta", "did you mean alpha?")),
        ({"word": "x"}, (("word",), "'x' is not possible", "there are: alpha, beta")),
        ({"word": 3}, (("word",), "3 is not possible: expected alpha, beta", "")),
        ({"either": "x"}, (("either",), "expected a number or a mapping, not 'x'", "")),
        ({"either": {"a": "x"}}, (("either", "a"), "expected a number, not 'x'", "")),
        ({"several": "x"}, (("several",), "expected 'alpha' or 3 or a list, not 'x'", "")),
        ({"shape": {"extent": 3}}, (("shape", "kind"), "is missing", "there are: circle, square")),
        ({"shape": {"kind": "squar"}},
         (("shape", "kind"), "'squar' is not possible: expected circle, square", "did you mean square?")),
        ({"shape": {"kind": "square"}}, (("shape", "side"), "is missing", "")),
        ({"own": 3}, (("own",), "3 is odd", "")),
    ],
)  # fmt: skip
def test_each_kind_of_mistake_in_words(values: dict[str, Any], expected: tuple[Any, str, str]) -> None:
    assert mistakes(**values) == [expected]


def test_a_key_that_is_missing_says_what_it_is() -> None:
    with pytest.raises(ValidationError) as caught:
        Model.model_validate({})
    assert [tuple(each) for each in explain(caught.value, Model, {})] == [
        (("needed",), "is missing: what is needed", "")
    ]


def test_a_method_may_be_a_name_or_a_mapping() -> None:
    for entry, expected in [
        (3, (("methods", 0), "expected the name of a method, or a mapping, not 3", "")),
        ({"method": "a", "label": 3}, (("methods", 0, "label"), "expected a text, not 3", "")),
        ({"method": "a", "label": "a", "hyperparameters": 3},
         (("methods", 0, "hyperparameters"), "expected a mapping, not 3", "")),
    ]:  # fmt: skip
        values = {"methods": [entry]}
        with pytest.raises(ValidationError) as caught:
            Sweep.model_validate({"name": "a", **values})
        assert [tuple(each) for each in explain(caught.value, Sweep, values)] == [expected]
