"""Listings: complete for every method and encoder, and read off declarations alone."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Literal

import pytest
from rich.console import Console
from rich.table import Table
from support.synthetic_results import Results

import data
import methods
from data.base import USUAL_ENCODERS
from methods.base.hyperparameters import (
    Choice,
    Hyperparameters,
    Integer,
    LogUniform,
    SearchRange,
    Uniform,
    hyper,
)
from methods.joint import Joint
from models import encoders
from sweep.commands import listing
from sweep.config import ConfigError
from sweep.config.recipes import PublishedRecipe, published_recipes


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


# By hand -------------------------------------------------------------------------------------------------------------


def rows(table: Table) -> list[list[str]]:
    """The cells of a table, line by line."""
    return [list(cells) for cells in zip(*(list(map(str, column._cells)) for column in table.columns), strict=True)]


@pytest.mark.parametrize(
    ("paper", "short"),
    [
        ("Yang, Li, Wu: A Title, of Parts, IJCAI 2025", "Yang et al., IJCAI 2025"),
        ("Peng et al.: A Title, CVPR 2022", "Peng et al., CVPR 2022"),
        ("Peng: A Title, CVPR 2022", "Peng, CVPR 2022"),
        ("a naive baseline", "a naive baseline"),
    ],
)
def test_a_citation_is_shortened(paper: str, short: str) -> None:
    assert listing.short_citation(paper) == short


@pytest.mark.parametrize(
    ("space", "said"),
    [
        (Uniform(0.1, 1.0), "uniform [0.1, 1]"),
        (LogUniform(1e-4, 1.0), "loguniform [0.0001, 1]"),
        (Integer(1, 9), "int [1, 9]"),
        (Integer(1, 9, log=True), "int [1, 9] log"),
        (Choice((None, True, "a", 2)), "choice null, true, a, 2"),
        (None, ""),
    ],
)
def test_a_search_range_in_the_words_of_sweeps_yaml(space: SearchRange | None, said: str) -> None:
    assert listing.search_text(space) == said


class Told(Hyperparameters):
    rate: float = hyper(1 / 3, symbol="r", low=0.0, high=1.0, search=Uniform(0.1, 0.9), meaning="how fast")
    kind: Literal["a", "b"] = hyper("a", meaning="which")
    depth: int | None = hyper(None, low=1, only_if=("kind", ("a", True)), meaning="how deep")
    flag: bool = hyper(True, meaning="whether")


def test_a_hyperparameter_is_a_line_with_default_values_range_and_meaning() -> None:
    kind = type("Told", (Joint,), {"name": "told", "title": "T", "Hyperparameters": Told})
    table = listing._hyperparameter_table(kind)
    assert table.title == "told: T"
    assert rows(table) == [
        ["rate", "r", "0.333", "number from 0 to 1", "uniform [0.1, 0.9]", "how fast"],
        ["kind", "", "a", "a, b", "", "which"],
        ["depth", "", "null", "whole number from 1, null", "", "how deep (only with kind: a or true)"],
        ["flag", "", "true", "true, false", "", "whether"],
    ]


@pytest.mark.parametrize(
    ("least", "most", "said"), [(2, None, "2 or more"), (2, 2, "2"), (2, 3, "2 to 3"), (1, None, "1 or more")]
)
def test_numbers_of_modalities(least: int, most: int | None, said: str) -> None:
    kind = type("Told", (Joint,), {"min_modalities": least, "max_modalities": most})
    assert listing.modalities_text(kind) == said


def test_the_headings_and_captions_of_each_table() -> None:
    found = [listing.methods_table(), listing.datasets_table(), listing.encoders_table(), listing.recipes_table()]
    assert [(table.title, [str(column.header) for column in table.columns]) for table in found] == [
        ("methods", ["name", "stage", "modalities", "what it is", "source"]),
        ("datasets", ["name", "what it is", "terms", "options (default)"]),
        ("encoders", ["name", "option", "default", "values", "meaning"]),
        ("recipes", ["name", "what it is", "settings", "source"]),
    ]
    assert found[0].caption == "python -m sweep list method NAME tells all about one"
    assert str(found[1].caption).startswith("every dataset: corrupt ({}), modality -> {")
    assert {table.box for table in found} == {None}
    assert {table.title_justify for table in found} == {"left"}
    assert [table.caption_justify for table in found[:2]] == ["left", "left"]
    # Lines are not indented, and columns are two apart.
    assert {table.padding for table in found} == {(0, 2, 0, 0)}
    assert [column.no_wrap for column in found[0].columns] == [True] * 5
    assert {column.overflow for table in found[1:] for column in table.columns} == {"fold"}


def test_options_of_a_dataset_stand_with_their_defaults() -> None:
    lines = {row[0]: row for row in rows(listing.datasets_table())}
    assert lines["digits"][1] == data.get("digits").title
    assert "train_samples (" in lines["digits"][3]
    assert "corrupt" not in lines["digits"][3]
    assert lines["arrays"][2] == "yours"
    assert "root (required)" in lines["arrays"][3]


def test_sweeps_are_listed_with_their_runs_where_any_has_some(tmp_path: Path) -> None:
    file = tmp_path / "sweeps.yaml"
    file.write_text(
        "sweeps:\n  one: {method: iprm, datasets: [digits], title: T, reproduces: Figure 1}\n"
        "  two: {method: iprm, datasets: [digits]}\n"
    )
    table = listing.sweeps_table(file, str(tmp_path / "results"))
    assert table.title == str(file)
    assert [str(column.header) for column in table.columns] == ["name", "title", "reproduces"]
    assert rows(table) == [["one", "T", "Figure 1"], ["two", "", ""]]
    results = Results(tmp_path / "results")
    results.sweep("one")
    for seed in range(3):
        results.run("one", "iprm", seed)
    results.run("one", "iprm", 3, status="missing")
    table = listing.sweeps_table(file, str(results.path))
    assert [str(column.header) for column in table.columns] == ["name", "title", "reproduces", "runs"]
    # What the synthetic runs say of their code is not today's.
    assert rows(table) == [["one", "T", "Figure 1", "4, 3 of earlier code"], ["two", "", "", ""]]
    assert len(listing.sweeps_table(file, "s3://bucket/x").columns) == 3


def test_settings_of_a_recipe_in_words() -> None:
    recipe = PublishedRecipe.model_validate(
        {"title": "t", "source": "s", "train": {"lr": 0.001, "gradient_clip": None, "schedule": {"name": "step"}},
         "data": {"digits": {"train_samples": 3}}}
    )  # fmt: skip
    assert listing.settings_text(recipe) == (
        "lr 0.001, schedule (name step), gradient clip null, digits (train_samples 3)"
    )
