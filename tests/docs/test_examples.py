"""The examples run from the root, as their readers run them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
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
    command = [sys.executable, f"docs/examples/{name}.py"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert ended.returncode == 0, ended.stderr
    assert re.fullmatch(PRINTED[name], ended.stdout)


def test_one_run_takes_ten_lines() -> None:
    lines = (ROOT / "docs/examples/one_run.py").read_text(encoding="utf-8").partition("import")[2].splitlines()
    assert len([line for line in lines if line.strip()]) <= 12
