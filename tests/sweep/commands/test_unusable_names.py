"""One file that cannot be imported, or one name too many, ends no command that does not ask for it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from support.command_desk import ROOT

PACKAGES = ("data", "methods", "models", "sweep")

DUPLICATE = """
from methods.iprm import IPRM


class Mine(IPRM):
    name = "iprm"
"""

SWEEPS = {
    name: {"method": name, "datasets": ["digits"], "epochs": 1, "seeds": [0], "references": False}
    for name in ("joint", "iprm", "unready")
}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the four packages, with a method that lacks a package, a dataset that is no Python, and two iprm."""
    folder = tmp_path_factory.mktemp("checkout")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "methods" / "unready.py").write_text("import package_of_tomorrow\n")
    (folder / "methods" / "mine.py").write_text(DUPLICATE)
    (folder / "data" / "unreadable.py").write_text("class Bad(:\n")
    return folder


def run(checkout: Path, *words: str, sweeps: tuple[str, ...] = ("joint",)) -> tuple[int, str, str]:
    (checkout / "sweeps.yaml").write_text(yaml.safe_dump({"sweeps": {name: SWEEPS[name] for name in sweeps}}))
    environment = {**os.environ, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    command = [sys.executable, "-m", "sweep", *words]
    done = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


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


def test_they_are_listed_with_their_reasons(checkout: Path) -> None:
    iprm, unready, unreadable = reasons(checkout)
    code, out, err = run(checkout, "list", "methods")
    assert (code, err) == (0, "")
    assert iprm in out
    assert unready in out
    assert "joint" in out
    code, out, err = run(checkout, "list", "datasets")
    assert (code, err) == (0, "")
    assert unreadable in out


def test_a_file_that_does_not_ask_for_them_is_valid_and_runs(checkout: Path) -> None:
    code, out, err = run(checkout, "validate")
    assert (code, err) == (0, "")
    assert out.splitlines()[0].endswith("1 sweeps, no mistakes")
    assert set(reasons(checkout)) <= set(out.splitlines())
    code, out, err = run(checkout, "run", "joint", "--local", "--no-report")
    assert (code, err) == (0, "")


@pytest.mark.parametrize(("name", "at"), [("iprm", 0), ("unready", 1)])
def test_a_file_that_asks_for_one_is_a_mistake_with_the_reason(checkout: Path, name: str, at: int) -> None:
    for words in (
        ["validate"],
        ["run", name, "--dry-run"],
        ["list", "method", name],
        ["list", "hyperparameters", name],
    ):
        code, _, err = run(checkout, *words, sweeps=(name,))
        assert code == 2, words
        assert reasons(checkout)[at] in err
        assert "Traceback" not in err
