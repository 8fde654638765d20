"""One file that cannot be imported, or one name too many, ends no command that does not ask for it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml
from support.command_desk import ROOT
from support.forked_programs import printed

PACKAGES = ("data", "methods", "models", "sweep")

DUPLICATE = """
from methods.iprm import IPRM


class Mine(IPRM):
    name = "iprm"
"""

COMMANDS = """
import contextlib, io, json, sys
from sweep.commands.main import main

told = []
for words in json.loads(sys.argv[1]):
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        code = main(words)
    told.append([code, out.getvalue(), err.getvalue()])
json.dump(told, sys.stdout)
"""

Said = list[tuple[int, str, str]]
"""Exit code, output and errors of some commands."""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the four packages, with a method that lacks a package, a dataset that is no Python, and two iprm."""
    folder = tmp_path_factory.mktemp("checkout")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, folder / package)  # with the bytecode, which is read where a file is the same
    (folder / "methods" / "unready.py").write_text("import package_of_tomorrow\n")
    (folder / "methods" / "mine.py").write_text(DUPLICATE)
    (folder / "data" / "unreadable.py").write_text("class Bad(:\n")
    return folder


def said(checkout: Path, method: str, *commands: list[str]) -> Said:
    """What is said to commands in one process, beside a sweep of a method."""
    sweep = {"method": method, "datasets": ["digits"], "epochs": 1, "seeds": [0], "references": False}
    (checkout / "sweeps.yaml").write_text(yaml.safe_dump({"sweeps": {method: sweep}}))
    out = printed(COMMANDS, json.dumps(commands), folder=checkout, environment={"COLUMNS": "200"})
    return [tuple(each) for each in json.loads(out)]


def reasons(checkout: Path) -> tuple[str, str, str]:
    folder = checkout / "methods"
    return (
        f"method 'iprm' cannot be used: 2 of this name are defined, in {folder / 'iprm.py'} and {folder / 'mine.py'}; "
        "rename all but one",
        f"method 'unready' cannot be used: {folder / 'unready.py'} cannot be imported (ModuleNotFoundError: No module "
        "named 'package_of_tomorrow')",
        f"dataset 'unreadable' cannot be used: {checkout / 'data' / 'unreadable.py'} cannot be imported (SyntaxError: "
        "invalid syntax, line 1)",
    )


def test_they_are_listed_with_their_reasons_and_a_file_that_does_not_ask_for_them_is_valid_and_runs(
    checkout: Path,
) -> None:
    commands = (["list", "methods"], ["list", "datasets"], ["validate"], ["run", "joint", "--local", "--no-report"])
    told = said(checkout, "joint", *commands)
    assert [(code, err) for code, _, err in told] == [(0, "")] * 4
    methods, datasets, valid, _ = (out for _, out, _ in told)
    iprm, unready, unreadable = reasons(checkout)
    assert iprm in methods
    assert unready in methods
    assert "joint" in methods
    assert unreadable in datasets
    assert valid.splitlines()[0].endswith("1 sweeps, no mistakes")
    assert {iprm, unready, unreadable} <= set(valid.splitlines())


@pytest.mark.parametrize(("name", "at"), [("iprm", 0), ("unready", 1)])
def test_a_file_that_asks_for_one_is_a_mistake_with_the_reason(checkout: Path, name: str, at: int) -> None:
    commands = (
        ["validate"],
        ["run", name, "--dry-run"],
        ["list", "method", name],
        ["list", "hyperparameters", name],
    )
    for words, (code, _, err) in zip(commands, said(checkout, name, *commands), strict=True):
        assert code == 2, words
        assert reasons(checkout)[at] in err
        assert "Traceback" not in err
