"""The pages of methods: complete for every method, and read off declarations alone."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console
from support.command_desk import Desk

import methods
from methods.base.hyperparameters import Hyperparameters, declared, hyper
from methods.iprm import IPRM
from methods.joint import Joint
from sweep.commands import method_pages
from sweep.config import ConfigError, load

ROOT = Path(__file__).resolve().parents[3]
SHIPPED = ROOT / "sweeps.yaml"
SECTIONS = ("Source", "Hyperparameters", "Departures from the official code", "Cost")


class BareHyperparameters(Hyperparameters):
    speed: float = hyper(1.0, meaning="")


class Bare(IPRM):
    title = ""
    Hyperparameters = BareHyperparameters


class Baseline(Joint):
    """An idea.

    Cost: nothing."""


def columns(page: str, heading: str) -> list[list[str]]:
    """The rows of the table below a heading."""
    below = page.split(f"## {heading}\n\n")[1].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in below]


# Every method has a page ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", methods.names())
def test_every_method_is_documented(name):
    assert method_pages.missing_parts(methods.get(name)) == []


@pytest.fixture(scope="module")
def shipped():
    """The sweeps of the repository, read once."""
    return load(SHIPPED, None, [])


@pytest.mark.parametrize("name", methods.names())
def test_a_page_tells_all_that_is_declared(name, shipped):
    kind = methods.get(name)
    page = method_pages.method_page(kind, shipped)
    assert page.startswith(f"# {name}: {kind.title}\n\n{kind.paper}\n\n")
    for hyperparameter in declared(kind.Hyperparameters):
        assert f"\n| `{hyperparameter}` |" in page
    for section in [*(SECTIONS if kind.stages else ()), "Cost", "Sweeps"]:
        assert page.split(f"\n## {section}\n\n")[1].split("\n## ")[0].strip(), section
    assert "``" not in page
    assert ":meth:" not in page


def test_what_is_not_documented_is_named():
    assert method_pages.missing_parts(Bare) == [
        "Idea", "Source", "Departures from the official code", "Cost", "title", "meaning of speed"
    ]  # fmt: skip


def test_a_baseline_needs_idea_and_cost_alone():
    assert method_pages.missing_parts(Baseline) == []


def test_sections_are_paragraphs_with_a_heading():
    class Told(IPRM):
        """An idea of ``many``
        lines.

        Source: a paper: eqs. 1 to 2.

        Cost: one :meth:`step`.

        More of the idea.
        """

    assert method_pages.sections(Told) == {
        "Idea": "An idea of `many` lines.\n\nMore of the idea.",
        "Source": "A paper: eqs. 1 to 2.",
        "Cost": "One `step`.",
    }


# What a page says ----------------------------------------------------------------------------------------------


def test_hyperparameters_tell_default_values_range_and_condition():
    rows = {row[0]: row[1:] for row in columns(method_pages.method_page(methods.get("bss")), "Hyperparameters")}
    assert rows["`beta`"] == [
        "β", "0.6", "number from 0 to 1", "uniform [0.1, 1]",
        "weight of the new score in the remembered one (only with scheduler: learning)",
    ]  # fmt: skip
    assert rows["`lambda0`"][2] == "number above 0 to 1"
    assert rows["`rescore_every`"][1:3] == ["null", "whole number from 0, null"]
    assert rows["`replacement`"][1:3] == ["false", "true, false"]
    assert rows["`t_grow`"][1] == "0.333"
    assert "epochs, or a share of the budget" in rows["`t_grow`"][-1]


def test_fusions_passes_and_modalities():
    joint, lfa, igm = (method_pages.method_page(methods.get(name)) for name in ("joint", "lfa", "igm"))
    vectors = "concat, sum, weight, affine, gated, channel, ml_lstm"
    assert f"| fusions | {vectors}, etmc, late, late_transformer, attention |" in joint
    assert f"| fusions | {vectors}, late_transformer, attention |" in lfa
    assert "- `late`: lfa: fusion late needs late_train: joint" in lfa
    assert "| fusions | its own |" in igm
    assert "| forward passes a training sample | 1 |" in joint
    assert "| forward passes a training sample | 1 with 2 modalities, 0.667 with 3 modalities |" in igm
    assert "| modalities | 2 or more |" in joint


def test_sweeps_that_train_the_method_are_listed(shipped):
    page = method_pages.method_page(methods.get("aug"), shipped)
    listed = {line.split("`")[1] for line in page.split("## Sweeps\n\n")[1].split("\n\n")[0].splitlines()}
    assert listed == {sweep.name for sweep in shipped if "aug" in [entry.method for entry in sweep.methods]}
    assert "aug-sigma" in listed
    assert "iprm-alpha" not in listed


def test_bars_in_a_cell_do_not_break_the_table():
    assert method_pages._table(("a",), [["x | y"]]).splitlines()[-1] == "| x \\| y |"


# The listing and the command -----------------------------------------------------------------------------------


def test_an_unknown_method_is_refused_with_the_nearest():
    with pytest.raises(ConfigError, match="no method called 'iprn'; did you mean iprm"):
        method_pages.method_pages(["iprn"], SHIPPED)


def test_pages_without_a_sweeps_file_name_no_sweeps(tmp_path):
    (page,) = method_pages.method_pages(["aug"], tmp_path / "sweeps.yaml")
    assert "## Sweeps" not in page


def test_the_command_prints_markdown_into_a_pipe(tmp_path: Path):
    code, out, err = Desk(tmp_path).run("list", "method", "igm", "unimodal", "--file", str(SHIPPED))
    assert (code, err) == (0, "")
    assert out.strip() == "\n".join(method_pages.method_pages(["igm", "unimodal"], SHIPPED)).strip()


def test_on_a_terminal_pages_are_laid_out():
    out = io.StringIO()
    method_pages.print_pages(["# one\n\n`two`\n"], Console(file=out, force_terminal=True, width=80))
    assert "one" in out.getvalue()
    assert "# one" not in out.getvalue()


@pytest.mark.parametrize(
    ("name", "account"),
    [
        ("joint", ""),
        (
            "umt",
            "90 epochs, 60 of them beside the budget; 30 may be selected; their steps cost the forward passes of 90 ",
        ),
        (
            "di_mml",
            "34 epochs, 4 of them beside the budget; 4 may be selected; their steps cost the forward passes of 34 ",
        ),
        ("reconboost", "30 epochs; 14 may be selected; their steps cost the forward passes of 29 "),
    ],
)
def test_a_page_tells_the_account_of_a_staged_training_beside_joint_training(name, account):
    told = method_pages._account_text(methods.get(name))
    assert told.startswith(account)
    assert bool(told) is bool(account)
