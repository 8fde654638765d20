"""Listings: complete for every method and encoder, and read off declarations alone."""

from __future__ import annotations

import io
from typing import Literal

import pytest
from rich.console import Console
from rich.table import Table

import data
import methods
from data.base import USUAL_ENCODERS
from methods.base.hyperparameters import Hyperparameters, hyper
from models import encoders
from sweep.commands import listing
from sweep.config import ConfigError
from sweep.config.recipes import published_recipes


def printed(table: Table) -> str:
    console = Console(width=200, file=io.StringIO())
    console.print(table)
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (float | Literal["head"], "number from 0, head"),
        (dict[str, bool], "mapping"),
        (list[int] | None, "list, null"),
        (str | None, "text, null"),
        (Literal["a", "b"] | None, "a, b, null"),
        (float | dict[str, float], "number from 0, mapping"),
    ],
)
def test_values_of_a_type(kind, words):
    bounds = {"low": 0.0} if "number from" in words else {}
    model = type("H", (Hyperparameters,), {"__annotations__": {"x": kind}, "x": hyper(None, meaning="m", **bounds)})
    assert listing.values_text(model, "x") == words


def test_a_method_is_one_line_with_stages_and_paper():
    console = Console(width=160, file=io.StringIO())
    console.print(listing.methods_table())
    lines = {line.split()[0]: line for line in console.file.getvalue().splitlines() if line.strip()}
    assert set(methods.names()) <= set(lines)
    assert lines["iprm"].split()[1] == "feed-forward"
    assert "Yang et al., IJCAI 2025" in lines["iprm"]
    assert lines["joint"].split()[1] == "none"
    assert "naive baseline" in lines["joint"]


def test_every_option_of_every_encoder_is_listed() -> None:
    words = printed(listing.encoders_table()).split()
    for name, kind in encoders.ENCODERS.items():
        assert name in words
        assert set(kind.Options.model_fields) <= set(words)
        assert all(field.description for field in kind.Options.model_fields.values())


def test_encoders_are_listed_with_the_shapes_that_they_take() -> None:
    said = " ".join(printed(listing.encoders_table()).split())
    assert "takes [C, H, W] with H and W of at least 4; 3 stages for fusion: channel" in said
    assert "takes [3, 224, 224]" in said
    assert f"of arrays by shape, {USUAL_ENCODERS}" in said
    assert "takes any with at least one number" in said
    assert "model required text name of a network" in said


def test_every_recipe_is_listed_with_what_it_sets_and_its_source() -> None:
    text = printed(listing.recipes_table())
    assert all(name in text for name in published_recipes())
    assert listing.settings_text(published_recipes()["inforeg-2025"]) == (
        "optimizer sgd, lr 0.002, momentum 0.9, weight decay 0.0001, batch size 64, schedule (name step, every 30), "
        "epochs 50, crema_d (frames 3)"
    )


def test_every_dataset_is_listed_with_its_terms_of_use() -> None:
    words = printed(listing.datasets_table())
    assert set(data.names()) <= set(words.split())
    assert "signed release form" in words
    assert f"arrays: default encoders by shape, {USUAL_ENCODERS}" in " ".join(words.split())
    assert [name for name in data.names() if not data.get(name).terms] == ["arrays", "manifest"]


def test_hyperparameters_are_listed_for_all_methods_or_those_named() -> None:
    assert len(listing.hyperparameter_tables([])) == len(methods.names())
    (table,) = listing.hyperparameter_tables(["iprm"])
    assert set(methods.get("iprm").Hyperparameters.model_fields) <= set(printed(table).split())
    with pytest.raises(ConfigError, match="no method called 'iprn'; did you mean iprm"):
        listing.hyperparameter_tables(["iprn"])
