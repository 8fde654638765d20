"""The examples run from the root, as their readers run them."""

from __future__ import annotations

import os
import re

import pytest
from support.prepared_commands import ROOT, commands

PRINTED = {
    "one_run": r"epoch \d+: test accuracy 0\.\d+\n",
    "own_method": r"joint: test accuracy 0\.\d+, profile alone 0\.\d+\n"
    r"weak_first: test accuracy 0\.\d+, profile alone 0\.\d+\n",
    "own_dataset": r"accuracy: 0\.\d+\naccuracy_wave: 0\.\d+\naccuracy_peak: 0\.\d+\n",
}
"""What each example prints."""


def test_every_example_is_tried() -> None:
    assert {path.stem for path in (ROOT / "docs/examples").glob("*.py")} == set(PRINTED)


@pytest.mark.parametrize("name", PRINTED)
def test_an_example_runs(name: str) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    code, out, err = commands.run((), ROOT, environment, ROOT / f"docs/examples/{name}.py")
    assert code == 0, err
    assert re.fullmatch(PRINTED[name], out)


def test_one_run_takes_ten_lines() -> None:
    lines = (ROOT / "docs/examples/one_run.py").read_text(encoding="utf-8").partition("import")[2].splitlines()
    assert len([line for line in lines if line.strip()]) <= 12
